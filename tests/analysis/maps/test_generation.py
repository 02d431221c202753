"""Tables of what generations cost, of frames whose truth is known."""

import pytest
from efficiency_frames import (
    FULL_SECONDS,
    REFERENCE_FACTOR,
    REPEATS,
    SPEEDUPS,
    efficiency_file,
    efficiency_frame,
)

from analysis.efficiency_file import OURS, REFERENCE, STAGES, TRANSFORMER
from analysis.maps.generation import Sampling, sampling_of

STUDY = efficiency_file()
BATCH = STUDY.batches[0]
MEDIAN = 1 + 0.01 * (REPEATS - 1) / 2 / REPEATS  # of the repeats, whose slowest is 1 % slower
PLACES = 4 * len(STUDY.geometry.patch_nums) + 2


@pytest.fixture(scope="module")
def found() -> Sampling:
    (one,) = sampling_of(STUDY, efficiency_frame(STUDY))
    return one


@pytest.mark.parametrize("plan", SPEEDUPS)
def test_speed_is_told_turn_by_turn_and_held_against_flops(found: Sampling, plan: str) -> None:
    row, facts = found.latency.loc[OURS, plan], STUDY.plans[plan]
    seconds = FULL_SECONDS * MEDIAN / SPEEDUPS[plan]
    assert row["seconds"] == pytest.approx(seconds)
    assert row["images_per_second"] == pytest.approx(BATCH / seconds)
    for name, ratio in (("speedup", 1), ("over_reference", REFERENCE_FACTOR)):
        ends = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
        assert ends == pytest.approx([ratio * SPEEDUPS[plan]] * 3), "a slow turn is slow for both"
    ceiling = STUDY.plans["full"].flops / facts.flops
    assert row["flops_ratio"] == pytest.approx(ceiling)
    assert row["of_ceiling"] == pytest.approx(SPEEDUPS[plan] / ceiling)


def test_use_of_the_machine_counts_what_the_transformer_takes(found: Sampling) -> None:
    """At a rate of 1e12 FLOPs and bytes a second."""
    facts, row = STUDY.plans["d8@6"], found.latency.loc[OURS, "d8@6"]
    stages = set(TRANSFORMER)
    parts = sum(
        count
        for stage, count in [(s, (PLACES - 2) // 4) for s in STAGES[1:5]]
        + [("condition", 1), ("decode", 1)]
        if stage in stages
    )
    spent = FULL_SECONDS * MEDIAN / SPEEDUPS["d8@6"] * parts / PLACES
    assert row["mfu"] == pytest.approx(BATCH * facts.flops / spent / 1e12)
    moved = facts.traffic_bytes + BATCH * facts.kv_traffic_bytes
    assert row["mbu"] == pytest.approx(moved / spent / 1e12)


def test_the_reference_has_its_own_flops_and_cache(found: Sampling) -> None:
    reference, full = found.latency.loc[REFERENCE, "full"], STUDY.plans["full"]
    assert reference["over_reference"] == pytest.approx(1)
    assert reference["flops_ratio"] == pytest.approx(full.flops / full.flops_reference)
    memory = found.memory
    assert memory.loc[(REFERENCE, "full"), "kv_live"] == BATCH * full.kv_bytes_reference
    for plan, facts in STUDY.plans.items():
        row = memory.loc[(OURS, plan)]
        assert row["kv_analytic"] == row["kv_live"] == BATCH * facts.kv_bytes
        assert row["peak"] == row["predicted"] == BATCH * max(facts.kv_course)
        assert row["stage"] != "decode", "which holds nothing here"


def test_a_batch_whose_memory_was_not_followed_is_left_out() -> None:
    frame = efficiency_frame(STUDY)
    assert sampling_of(STUDY, frame[frame["metric"] != "bytes/peak"]) == []
