"""What a generation will hold and take, before anything of its size is allocated or run.

Bytes are those of a run on tensors without content. Seconds are what products of matrices take
(FLOPs over a rate, weights and cache over the copy bandwidth), what all other operations move,
and what each launch costs by itself; the rates come from a calibration of about a second.
"""

import os
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch

from analysis.efficiency_file import REFERENCE, STAGES
from studies.cells.gauge import Subject
from studies.cells.machine import Rates
from studies.cells.samplers import Sampler, predicted_stages, stand_ins
from studies.cells.tracing import StageTrace, Trace
from studies.grid.costs import plan_facts, tokenizer_flops
from varant.devices import is_cuda
from varant.errors import UserError
from varant.model.cost import plan_cost, training_bytes
from varant.model.tokenizer import Tokenizer

SPARE = 1.05  # of what is predicted: kernels have scratch of their own


class Forecast(NamedTuple):
    """Of a sampler's stages, over all scales: the largest in bytes, and the sum of seconds."""

    bytes: dict[str, int]
    seconds: dict[str, float]


def forecast(subject: Subject, sampler: Sampler, batch: int, rates: Rates) -> Forecast:
    stages = predicted_stages(sampler, batch)
    geometry, reference = subject.geometry, sampler.style == REFERENCE
    facts = plan_facts(geometry, sampler.plan, sampler.precision)
    head = 2 * geometry.width * geometry.vocab_size * geometry.tokens * (2 if reference else 1)
    flops = facts.flops_reference if reference else facts.flops
    decoding, _ = tokenizer_flops(subject.tokenizer)
    work = {"blocks": flops - head, "head": head, "decode": decoding}  # FLOPs of an image
    moved = facts.traffic_bytes + batch * facts.kv_traffic_bytes
    seconds = {}
    for stage in STAGES:
        rate = rates.convolution_flops if stage == "decode" else rates.matrix_flops
        spent = batch * work.get(stage, 0) / rate
        if stage == "blocks":
            spent += moved / rates.copied_bytes  # few rows wait for weights, many for products
        if stage == "sampling":
            spent = batch * geometry.tokens / rates.drawn_tokens
        mine = [one for one in stages if one.stage == stage]
        if stage != "sampling":
            spent += sum(one.touched_bytes for one in mine) / rates.copied_bytes
        seconds[stage] = spent + sum(one.launches for one in mine) / rates.launches
    held = {stage: _peak(one for one in stages if one.stage == stage) for stage in STAGES}
    return Forecast(held, seconds)


def _peak(stages: Iterable[StageTrace]) -> int:
    return max((one.peak_bytes for one in stages), default=0)


def check_fits(subject: Subject, batch: int) -> None:
    """Raise `UserError` unless the largest batch fits into what is free, saying which would."""
    reference, full = stand_ins(subject)[:2]  # every other plan holds less
    weights = full.weight_bytes
    if subject.precision != "float32":  # else both are one
        weights += reference.weight_bytes
    free = free_bytes(subject.device)

    def need(images: int) -> float:
        peaks = (_peak(predicted_stages(one, images)) for one in (reference, full))
        return SPARE * (weights + max(peaks))

    wanted = need(batch)
    if wanted <= free:
        return
    fits, fixed, needed = batch, need(1), wanted
    while fits > 1 and needed > free:  # nearly linear in the batch
        share = max(0.0, free - fixed) / (needed - fixed)
        fits = max(1, min(fits - 1, int(fits * share)))
        needed = need(fits)
    said = f"the largest that fits is {fits}" if needed <= free else "not even one image fits"
    raise UserError(
        f"--batch {batch}: needs {wanted / 2**30:.1f} GiB on {subject.device}, of which "
        f"{free / 2**30:.1f} GiB are free; {said}"
    )


def check_training_fits(subject: Subject, batch: int) -> None:
    """Raise `UserError` unless what training takes at least is free."""
    needed, free = training_bytes(subject.geometry, batch), free_bytes(subject.device)
    if needed > free:
        raise UserError(
            f"--part training: needs at least {needed / 2**30:.1f} GiB on {subject.device} at "
            f"batch {batch}, of which {free / 2**30:.1f} GiB are free; leave it out, as in --part "
            "sampling,overheads"
        )


def training_lines(subject: Subject, batch: int, rates: Rates) -> list[str]:
    """For `--dry-run`: a step under each plan."""
    seconds = {
        plan.name: 3 * batch * plan_cost(subject.geometry, plan, guidance=False).flops
        for plan in subject.plans
    }
    said = (f"{name} {flops / rates.matrix_flops:.2f} s" for name, flops in seconds.items())
    least = _mib(training_bytes(subject.geometry, batch))
    return [f"training: at least {least}; a step of {batch} images: {', '.join(said)}"]


def free_bytes(device: str) -> int:
    """Memory that a process may take now."""
    if is_cuda(device):
        return int(torch.cuda.mem_get_info(device)[0])
    known = Path("/proc/meminfo")
    if known.exists():
        lines = dict(line.split(":") for line in known.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def rate_line(rates: Rates) -> str:
    """For `--dry-run`: what its seconds rest on."""
    return (
        f"calibrated: matrix {rates.matrix_flops / 1e9:,.0f} GFLOP/s, convolution "
        f"{rates.convolution_flops / 1e9:,.0f} GFLOP/s, copy {rates.copied_bytes / 1e9:.1f} GB/s"
    )


def sampling_lines(subject: Subject, batches: Sequence[int], rates: Rates) -> list[str]:
    """For `--dry-run`: every stage of every sampler, tokenising, and the whole."""
    _, encoding = tokenizer_flops(subject.tokenizer)
    lines = [
        f"{'':24}{'weights':>10}" + "".join(f"{stage:>23}" for stage in STAGES) + f"{'all':>23}"
    ]
    total = 0.0
    for batch, sampler in product(batches, stand_ins(subject)):
        held, seconds = forecast(subject, sampler, batch, rates)
        style = "reference style" if sampler.style == REFERENCE else sampler.plan.name
        whole = sum(seconds.values())
        total += whole
        cells = [f"{_mib(held[s])} {seconds[s]:8.2f} s" for s in STAGES]
        cells.append(f"{_mib(max(held.values()))} {whole:8.2f} s")
        name, weights = f"{style}, batch {batch}", _mib(sampler.weight_bytes)
        lines.append(f"{name:24}{weights:>10}" + "".join(f"{c:>23}" for c in cells))
    lines += [
        "",
        f"tokenising: {encoding / rates.convolution_flops:.2f} s an image, "
        f"{_mib(_encoding_bytes(subject))} for it",
        # Each is drawn once for memory, once untimed, then `repeats` times; switching as often
        # thrice.
        f"sampling: about {total * (2 + 4 * subject.repeats):,.0f} s in all",
    ]
    return lines


def _encoding_bytes(subject: Subject) -> int:
    """That tokenising one image holds at once, in float32."""
    with torch.device("meta"), torch.inference_mode():
        tokenizer, side = Tokenizer(subject.tokenizer), subject.tokenizer.image_side
        image = torch.empty(1, 3, side, side)
        with Trace() as trace:
            tokenizer.encode(image)
    return _peak(trace.stages)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB" if size >= 2**20 else f"{size / 2**20:.1f} MiB"
