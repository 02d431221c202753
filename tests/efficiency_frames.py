"""A synthetic efficiency study, whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from pareto_frames import PAPER_COST

from analysis.efficiency_file import (
    COLUMNS,
    OURS,
    REFERENCE,
    STAGES,
    EfficiencyFile,
    checked_measured,
)
from studies.grid.costs import plan_facts
from varant import DepthPlan, Geometry

GEOMETRY = Geometry.official(30)
PLANS = ("full", "d16@6", "d8@6", "d2@6", "d16@7")
SPEEDUPS = {"full": 1.0, "d16@6": 1.7, "d8@6": 2.6, "d2@6": 3.5, "d16@7": 1.8}
REPEATS = 6
FULL_SECONDS, REFERENCE_FACTOR = 2.0, 2.0


def efficiency_file(**other: Any) -> EfficiencyFile:
    """Of VAR-d30 on a GPU."""
    hardware = {"cpu": "a processor", "cores": 2, "threads_per_process": 1, "workers": 1}
    sides = GEOMETRY.patch_nums
    plans = {text: DepthPlan.parse(text, sides, 30) for text in PLANS}
    facts = {"study": "efficiency", "quick": False, "command": "python -m studies.efficiency"}
    facts |= {"code_version": "0.1.0", "created": "2026-01-02T03:04:05Z"}
    facts |= {"versions": {"python": "3.12"}, "question": "What does it cost?"}
    facts |= {"hardware": hardware | {"device": "cuda", "platform": "Linux", "gpu": "a GPU"}}
    facts |= {
        "frame_sha256": "f" * 64,
        "config": {},
        "config_digest": "c0ffee",
        "seconds": 1.0,
        "parts": ["sampling"],
    }
    facts |= {"name": "d30", "geometry": GEOMETRY, "precision": "bfloat16", "batches": [64]}
    facts |= {
        "plans": {name: plan_facts(GEOMETRY, plan, "bfloat16") for name, plan in plans.items()}
    }
    facts |= {"paper_cost": PAPER_COST, "failed": {}}
    return EfficiencyFile.model_validate(facts | other)


def efficiency_frame(
    study: EfficiencyFile,
    *,
    speedups: dict[str, float] = SPEEDUPS,
    lost: Sequence[float] = (0.001, -0.002, 0.0, 0.003, -0.001, 0.001),
) -> pd.DataFrame:
    """Generations of `FULL_SECONDS` over `speedups`, 1 % apart; `lost` turn by turn to switching.

    Each stage of a scale takes an equal part, all memory is the cache, decoding holds nothing.
    """
    rows: list[dict[str, Any]] = [
        {"part": "machine", "subject": "machine", "metric": metric, "value": 1e12}
        for metric in ("matrix_flops_per_second", "copied_bytes_per_second")
    ]
    scales = len(study.geometry.patch_nums)

    def add(style: str, plan: str, metric: str, value: float, **more: object) -> None:
        of = {"part": "sampling", "style": style, "subject": plan, "batch": study.batches[0]}
        rows.append(of | {"metric": metric, "value": value} | more)

    for style, plan in ((REFERENCE, study.full), *((OURS, plan) for plan in study.plans)):
        facts = study.plans[plan]
        kv = facts.kv_bytes if style == OURS else facts.kv_bytes_reference
        places = [(s, k) for k in range(1, scales + 1) for s in STAGES[1:5]]
        places = [("condition", 1), *places, ("decode", scales)]
        for repeat in range(REPEATS):
            seconds = FULL_SECONDS * (1 + 0.01 * repeat / REPEATS)
            seconds *= REFERENCE_FACTOR if style == REFERENCE else 1 / speedups[plan]
            add(style, plan, "seconds", seconds, repeat=repeat)
            for stage, scale in places:
                part = seconds / len(places)
                add(style, plan, "seconds", part, repeat=repeat, stage=stage, scale=scale)
        for stage, scale in places:
            held = study.batches[0] * (0 if stage == "decode" else facts.kv_course[scale - 1])
            for metric in ("bytes/peak", "bytes/predicted"):
                add(style, plan, metric, held, stage=stage, scale=scale)
        add(style, plan, "bytes/kv", study.batches[0] * kv)
        for metric, value in (("bytes/weights", 1e9), ("launches", 10), ("waits", 1)):
            add(style, plan, metric, value)
        if style == OURS:
            for repeat, share in enumerate(lost):
                add(style, plan, "switched", 1 + share, repeat=repeat)
    add(OURS, study.full, "recompilations", 0)
    return checked_measured(pd.DataFrame(rows).reindex(columns=list(COLUMNS)))
