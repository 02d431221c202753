"""What is alive, launched and waited for, on known operations."""

import pytest
import torch

from studies.cells.tracing import AllocatorTrace, Trace

KIB = 1024


def tensor(kib, device="cpu"):
    return torch.zeros(kib * KIB // 4, device=device)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_bytes_are_of_what_is_alive_at_once(device):
    weights = tensor(64, device)
    with Trace() as trace:
        trace.watch("first", 0)
        a = tensor(8, device)
        b = a + 1  # both alive
        del a
        view = b[:4]  # a view and what was there before take nothing
        weights.view(2, -1).t()
        trace.watch("second", 1)
        view.mul_(2)
        del b  # its view keeps it
        c = tensor(2, device)
        trace.watch("third", 2)
        del view, c
        tensor(1, device)
        trace.watch("end", 2)
    peaks = {stage.stage: stage.peak_bytes for stage in trace.stages}
    assert peaks == {"": 0, "first": 16 * KIB, "second": 10 * KIB, "third": 10 * KIB, "end": 0}


def test_launches_are_what_computes():
    a = torch.ones(4, 4)
    with Trace() as trace:
        b = a.t().reshape(2, 8)  # a copy
        b.view(4, 4)[:2].unsqueeze(0)
        torch.empty(3)
        a @ b.view(4, 4)
    assert trace.stages[0].launches == 2
    assert trace.stages[0].touched_bytes == 2 * 64  # of the copy, read and written


def test_waits_are_what_goes_between_host_and_device():
    from_host = torch.ones(4)
    with Trace() as trace:
        there = from_host.to("meta")
        there.sum().item()
        there + there
    assert trace.stages[0].waits == 2


def test_attention_on_meta_takes_its_output_alone():
    q = torch.zeros(1, 2, 64, 8, device="meta")
    with Trace() as trace:
        torch.nn.functional.scaled_dot_product_attention(q, q, q)
    assert trace.stages[0].peak_bytes == q.numel() * 4


def test_a_devices_allocator_is_read_stage_by_stage(monkeypatch):
    """With a stand-in: no GPU is at hand."""
    held = {"now": 100, "peak": 100}

    def reset(device):
        held["peak"] = held["now"]

    def allocate(size):
        held["now"] += size
        held["peak"] = max(held.values())

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: held["now"])
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: held["peak"])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    with AllocatorTrace("cuda") as trace:
        allocate(10)
        trace.watch("blocks", 0)
        allocate(30)
        allocate(-35)
        trace.watch("head", 0)
        allocate(1)
    assert [(one.stage, one.peak_bytes) for one in trace.stages] == [
        ("", 10),
        ("blocks", 40),
        ("head", 6),
    ]
