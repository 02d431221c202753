"""The paper's claims C1 to C7, and what a study that trains says of each: the ledger.

Source of claims and published figures: VARiant, arXiv 2511.16546v1 and its CVPR 2026 version. All
rules and margins of this module were written before any run.

*What decides.* The Frechet distance of samples (FID with Inception features), the paper's own kind
of metric, and teacher-forced test NLL, which resolves best and may decide here because the networks
were trained for the plans that are compared. KID and accuracy are reported and decide nothing.

*Which plans.* The analogue of the paper's d16 and d8 of 30 layers are half and a quarter of the
layers, at the switch point that the models were trained for. Other switch points never decide.

*Intervals* run over training seeds, paired by seed. With fewer than `LEAST_SEEDS` a claim that
needs training is at most inconclusive, whatever the numbers.

*Directions* (C2, C3's subnet) are two-sided paired t tests. *No loss* (C3's full network, C4, C7)
is equivalence by two one-sided tests within a margin; a loss whose interval lies beyond the margin
contradicts. Holm's correction runs over all tests of a claim. What is neither is inconclusive.
A metric reproduces a claim when all of its components do and contradicts it when one does;
metrics that say both disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from analysis.frame import FINISHED, find_metric, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.fronts import fixed_gap, is_fixed
from analysis.statistics.intervals import (
    SIGNIFICANCE,
    Interval,
    Verdict,
    equivalence,
    holm,
    paired_t,
)
from analysis.statistics.levels import CONTROL, paired_values, schedules_of

LEAST_SEEDS = 5
# Full networks count as equal within 5 % of the control's Frechet distance: retraining alone moves
# FID by 1-2 % (arXiv 2606.20536), and the published full networks lie within 1 %. In nats a
# fiftieth, a tenth of what half the layers cost the small network without training.
FULL_MARGIN_SHARE, FULL_MARGIN_NATS = 0.05, 0.02
# "Nearly free": the published losses are 5 and 9 % of FID.
FREE_MARGIN_SHARE, FREE_MARGIN_NATS = 0.10, 0.05
# C5's published percentages are rounded, to 5 for the ranges.
MEMORY_TOLERANCE = 0.015
PROGRESSIVE = "progressive"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper with the figures it published."""

    id: str
    sentence: str
    published: str


C1 = Claim(
    id="C1",
    sentence=(
        "Early scales need depth and late ones do not: running half the layers on the early "
        "scales hurts more than on the late scales, without any training."
    ),
    published=(
        "ImageNet, VAR-d30, per window: FID 1.95 (full) rises to 12.91 with half the layers on "
        "scales 1\u20133, to 8.5 on 4\u20136, to 5.42 on 7\u201310"
    ),
)
C2 = Claim(
    id="C2",
    sentence="A fixed subnet share trades the full network against the subnets.",
    published="FID at share 0.1: full 1.96, subnet 2.68; at share 1: full 2.32, subnet 2.15",
)
C3 = Claim(
    id="C3",
    sentence="The progressive schedule breaks that frontier, without loss to the full network.",
    published="FID: full about 1.95, subnet about 2.05 (d16)",
)
C4 = Claim(
    id="C4",
    sentence="Subnets of half and a quarter of the layers are nearly free in quality.",
    published="FID 2.05 (d16) and 2.12 (d8) against 1.95",
)
C5 = Claim(
    id="C5",
    sentence="Memory falls by 40-65 % (half, quarter depth) and 80 % (d2).",
    published="KV 16,092 MB (d16) of 28,677 MB; 40-65 % and 80 % in the abstract",
)
C6 = Claim(
    id="C6",
    sentence="Latency falls by 1.7 (d16), 2.6 (d8) and 3.5 times (d2).",
    published="3.62 s to 2.12 s for d16",
)
C7 = Claim(
    id="C7",
    sentence="One model serves every depth, switched at run time, at no cost.",
    published="a single checkpoint of 2.0 billion parameters",
)


@dataclass(frozen=True, kw_only=True)
class Component:
    """One test of a claim.

    Attributes:
        label: what is estimated, such as "full network, share 1 against 0.1".
        metric: None for arithmetic.
        interval: of the estimate; positive is worse for differences, beyond the front for gaps.
        margin: of equivalence; None for a direction.
        p_value, p_holm: of the direction; for a margin, of equivalence or of a loss beyond it,
            whichever is smaller (`note` says so for the latter).
        outcome: +1 supports the claim, -1 contradicts it, 0 neither.
        seeds: training seeds behind it.
        note: what else a reader has to know.
    """

    label: str
    metric: Metric | None = None
    interval: Interval | None = None
    margin: float | None = None
    p_value: float = math.nan
    p_holm: float = math.nan
    outcome: int = 0
    seeds: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A claim beside what this study says of it.

    Attributes:
        setting: "analogue on shapes", or "the paper's setting".
        reason: why the verdict is not more, or what it rests on.
        rests_on: schedules, plans and seeds behind the estimates.
    """

    claim: Claim
    setting: str
    verdict: Verdict
    components: tuple[Component, ...] = ()
    reason: str = ""
    rests_on: str = ""


def deciding_metrics(frame: pd.DataFrame) -> tuple[Metric, ...]:
    """The metrics that decide claims of trained networks."""
    return tuple(m for m in headline_metrics(frame) if m.kind in ("fd", "fid", "nll"))


def judge_claims(frame: pd.DataFrame, facts: Mapping[str, Any]) -> tuple[LedgerRow, ...]:
    """C1 to C7 by the rules of this module; `facts` is the study's `study.json`."""
    setting = f"analogue on {facts.get('dataset', {}).get('name', 'this data')}"
    rows = (
        LedgerRow(
            claim=C1,
            setting=setting,
            verdict=Verdict.UNTESTED,
            reason="needs no training: python -m studies.sensitivity tests it",
        ),
        _judge_c2(frame, facts, setting),
        _judge_c3(frame, facts, setting),
        _judge_c4(frame, facts, setting),
        _judge_c5(frame, facts),
        _judge_c6(facts),
        _judge_c7(frame, setting),
    )
    if len(facts.get("seeds", ())) == 1:
        said = "with one training seed no claim is called reproduced"
        rows = tuple(
            replace(row, verdict=Verdict.INCONCLUSIVE, reason=f"{row.reason}; {said}")
            if row.verdict is Verdict.REPRODUCED
            else row
            for row in rows
        )
    if facts.get("quick"):
        rows = tuple(_capped(row, "a quick run: not a result") for row in rows)
    return rows


def _capped(row: LedgerRow, reason: str) -> LedgerRow:
    if row.verdict is Verdict.UNTESTED or all(c.metric is None for c in row.components):
        return row  # nothing was tested, or it is arithmetic
    return replace(row, verdict=Verdict.INCONCLUSIVE, reason=reason)


def subnet_cells(facts: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The trained cells of half and of a quarter of the layers; None where not measured."""
    depth, switch, depths = int(facts["geometry"]["depth"]), facts["train_switch"], facts["depths"]
    return tuple(
        f"d{wanted}@{switch}" if wanted in depths else None
        for wanted in (max(1, depth // 2), max(1, depth // 4))
    )


def _level(frame: pd.DataFrame, schedule: str, cell: str, metric: Metric) -> float:
    mine = frame[
        (frame["status"] == FINISHED)
        & (frame["schedule"] == schedule)
        & (frame["cell"] == cell)
        & (frame["metric"] == metric.name)
    ]
    return float(mine["value"].mean()) if len(mine) else math.nan


def margin_of(
    frame: pd.DataFrame, metric: Metric, *, share: float, nats: float, reference: str = CONTROL
) -> float:
    """The margin in the metric's unit: nats, or a share of the reference's full network."""
    if metric.kind == "nll":
        return nats
    return share * _level(frame, reference, "full", metric)


def _direction(
    label: str, metric: Metric, values: np.ndarray, seeds: Sequence[int], note: str = ""
) -> Component:
    interval = paired_t(values)
    return Component(
        label=label,
        metric=metric,
        interval=interval,
        p_value=interval.p_value,
        seeds=tuple(seeds),
        note=note,
    )


def _no_loss(
    label: str, metric: Metric, values: np.ndarray, seeds: Sequence[int], margin: float
) -> Component:
    interval = paired_t(values)
    p_value = math.nan
    if margin > 0:
        p_value = equivalence(values, margin=margin).p_value
    return Component(
        label=label,
        metric=metric,
        interval=interval,
        margin=margin,
        p_value=p_value,
        seeds=tuple(seeds),
    )


def _beyond(component: Component) -> float:
    """One-sided p of a loss that is larger than the margin; NaN where that is not asked."""
    interval, margin = component.interval, component.margin
    if margin is None or not margin > 0 or not interval.standard_error > 0:
        return math.nan
    t = (interval.estimate - margin) / interval.standard_error
    return float(stats.t.sf(t, interval.degrees_of_freedom))


def _decided(components: Sequence[Component]) -> tuple[Component, ...]:
    """The components with Holm's correction over them, and their outcomes.

    For a margin both questions are asked, equivalent and beyond. Unless the loss is the margin
    exactly, one of the two null hypotheses is false and only the other can be rejected wrongly: so
    a component counts once, with the smaller of its two p values.
    """
    asked, beyond = [], []
    for component in components:
        p_beyond = _beyond(component)
        beyond.append(p_beyond < component.p_value)
        if beyond[-1]:
            component = replace(component, p_value=p_beyond, note="p of a loss beyond the margin")
        asked.append(component)
    decided = []
    for component, loses, p in zip(asked, beyond, holm([c.p_value for c in asked]), strict=True):
        outcome = 0
        if p < SIGNIFICANCE:
            outcome = -1 if loses else 1
            if component.margin is None:
                outcome = int(np.sign(component.interval.estimate))
        decided.append(replace(component, p_holm=float(p), outcome=outcome))
    return tuple(decided)


def _combined(components: Sequence[Component], *, tests: int) -> Verdict:
    """The verdict over metrics of `tests` components each; see this module's docstring."""
    if not components:
        return Verdict.UNTESTED
    metrics: dict[str, list[int]] = {}
    for component in components:
        metrics.setdefault(component.metric.name, []).append(component.outcome)
    whole = [outcomes for outcomes in metrics.values() if len(outcomes) == tests]
    supports = any(all(o > 0 for o in outcomes) for outcomes in whole)
    contradicts = any(any(o < 0 for o in outcomes) for outcomes in metrics.values())
    match supports, contradicts:
        case True, True:
            return Verdict.DISAGREE
        case True, False:
            return Verdict.REPRODUCED
        case False, True:
            return Verdict.CONTRADICTED
        case _:
            return Verdict.INCONCLUSIVE


def _row(
    claim: Claim,
    setting: str,
    components: Sequence[Component],
    *,
    tests: int,
    missing: str,
    rests_on: str,
) -> LedgerRow:
    """The row of a claim that takes `tests` components of a metric."""
    if not components:
        return LedgerRow(claim=claim, setting=setting, verdict=Verdict.UNTESTED, reason=missing)
    decided = _decided(components)
    row = LedgerRow(
        claim=claim,
        setting=setting,
        verdict=_combined(decided, tests=tests),
        components=decided,
        rests_on=rests_on,
    )
    seeds = min(len(c.seeds) for c in decided)
    if seeds < LEAST_SEEDS:
        said = (
            "one training seed: training variance is not measured"
            if seeds == 1
            else f"{seeds} training seeds; a verdict needs {LEAST_SEEDS}"
        )
        return _capped(row, said)
    reason = f"t over {seeds} training seeds, Holm over {len(decided)} tests"
    if all(sum(c.metric == d.metric for d in decided) < tests for c in decided):
        reason += "; only part of the claim was measured"
    return replace(row, reason=reason)


def fixed_ends(frame: pd.DataFrame) -> tuple[str, str] | None:
    """The fixed schedules of the smallest and of the largest share, where there are two."""
    fixed = frame[frame["schedule"].map(is_fixed, na_action="ignore").fillna(False).astype(bool)]
    shares = fixed.dropna(subset=["share"]).drop_duplicates("schedule").sort_values("share")
    if len(shares) < 2:
        return None
    return str(shares["schedule"].iloc[0]), str(shares["schedule"].iloc[-1])


def _judge_c2(frame: pd.DataFrame, facts: Mapping[str, Any], setting: str) -> LedgerRow:
    ends, (half, _) = fixed_ends(frame), subnet_cells(facts)
    components = []
    if ends is not None and half is not None:
        low, high = ends
        for metric in deciding_metrics(frame):
            for label, one, other in (
                (f"full: {high} worse than {low}", (high, "full"), (low, "full")),
                (f"{half}: {low} worse than {high}", (low, half), (high, half)),
            ):
                values, seeds = paired_values(frame, one, other, metric.name)
                if len(values):
                    components.append(_direction(label, metric, values, seeds))
    return _row(
        C2,
        setting,
        components,
        tests=2,
        missing="needs two fixed shares and a subnet of half the layers",
        rests_on=f"{ends[0]} and {ends[1]}: full and {half}" if ends else "",
    )


def _judge_c3(frame: pd.DataFrame, facts: Mapping[str, Any], setting: str) -> LedgerRow:
    ends, (half, _) = fixed_ends(frame), subnet_cells(facts)
    components = []
    if ends is not None and half is not None and PROGRESSIVE in schedules_of(frame):
        for metric in deciding_metrics(frame):
            gaps, seeds, clamped = fixed_gap(frame, metric, half, PROGRESSIVE)
            if not len(gaps):
                continue
            note = f"beyond the ends of the front in {clamped} of {len(gaps)} seeds"
            components.append(
                _direction(
                    f"{half}: beyond the front of fixed shares",
                    metric,
                    gaps,
                    seeds,
                    note if clamped else "",
                )
            )
            values, seeds = paired_values(
                frame, (PROGRESSIVE, "full"), (ends[0], "full"), metric.name
            )
            if len(values):
                margin = margin_of(
                    frame, metric, share=FULL_MARGIN_SHARE, nats=FULL_MARGIN_NATS, reference=ends[0]
                )
                label = f"full: no worse than {ends[0]}"
                components.append(_no_loss(label, metric, values, seeds, margin))
    fixed = [s for s in schedules_of(frame) if is_fixed(s)]
    return _row(
        C3,
        setting,
        components,
        tests=2,
        missing="needs the progressive schedule, two fixed shares and half the layers",
        rests_on=f"{PROGRESSIVE} against {', '.join(fixed)}: full and {half}",
    )


def _judge_c4(frame: pd.DataFrame, facts: Mapping[str, Any], setting: str) -> LedgerRow:
    components = []
    cells = [cell for cell in dict.fromkeys(subnet_cells(facts)) if cell is not None]
    for metric in deciding_metrics(frame):
        for cell in cells:
            values, seeds = paired_values(
                frame, (PROGRESSIVE, cell), (CONTROL, "full"), metric.name
            )
            if len(values):
                margin = margin_of(frame, metric, share=FREE_MARGIN_SHARE, nats=FREE_MARGIN_NATS)
                label = f"{cell} of {PROGRESSIVE} against the control's full network"
                components.append(_no_loss(label, metric, values, seeds, margin))
    return _row(
        C4,
        setting,
        components,
        tests=len(set(subnet_cells(facts))),
        missing="needs the control, the progressive schedule and its subnets",
        rests_on=f"{PROGRESSIVE} {', '.join(cells)} against {CONTROL} full",
    )


def _judge_c5(frame: pd.DataFrame, facts: Mapping[str, Any]) -> LedgerRow:
    """Arithmetic for VAR-d30, trusted as far as our sampler's measured cache equals it."""
    cost = facts.get("paper_cost", {})
    wanted = {"d16@6": (0.40, 0.65), "d8@6": (0.40, 0.65), "d2@6": (0.80, 0.80)}
    if not cost.keys() >= {"full", *wanted}:
        return LedgerRow(
            claim=C5,
            setting="the paper's setting",
            verdict=Verdict.UNTESTED,
            reason="the study wrote no costs of VAR-d30",
        )
    components = []
    for plan, (least, most) in wanted.items():
        saved = 1 - cost[plan]["kv_mib_reference"] / cost["full"]["kv_mib_reference"]
        inside = least - MEMORY_TOLERANCE <= saved <= most + MEMORY_TOLERANCE
        exact = Interval(
            estimate=saved,
            low=saved,
            high=saved,
            standard_error=0.0,
            degrees_of_freedom=0,
            p_value=math.nan,
            observations=1,
        )
        components.append(
            Component(
                label=f"{plan}: KV saved, reference style",
                interval=exact,
                outcome=1 if inside else -1,
            )
        )
    verdict = (
        Verdict.REPRODUCED if all(c.outcome > 0 for c in components) else (Verdict.CONTRADICTED)
    )
    return LedgerRow(
        claim=C5,
        setting="the paper's setting",
        verdict=verdict,
        components=tuple(components),
        reason="arithmetic, no interval",
        rests_on=_measured_kv(frame),
    )


def _measured_kv(frame: pd.DataFrame) -> str:
    """Whether the measured cache is the computed one, in every cell of this study."""
    finished = frame[frame["status"] == FINISHED]
    peak, analytic = (
        finished[finished["metric"] == name].set_index("cell_digest")["value"]
        for name in ("kv_bytes/peak", "kv_bytes/analytic")
    )
    if find_metric(frame, "kv_bytes/peak") is None or peak.empty:
        return "the arithmetic alone"
    peak, analytic = (v[~v.index.duplicated()] for v in (peak, analytic))
    equal = int((peak == analytic.reindex(peak.index)).sum())
    return f"measured KV equals the arithmetic in {equal} of {len(peak)} cells here"


def _judge_c6(facts: Mapping[str, Any]) -> LedgerRow:
    cost = facts.get("paper_cost", {})
    bounds = [
        f"{plan} {1 / cost[plan]['flops_share']:.1f}"
        for plan in ("d16@6", "d8@6", "d2@6")
        if plan in cost
    ]
    return LedgerRow(
        claim=C6,
        setting="the paper's setting",
        verdict=Verdict.UNTESTED,
        reason="needs a GPU and the official weights"
        + (f"; FLOPs alone would allow {', '.join(bounds)} times" if bounds else ""),
    )


def _judge_c7(frame: pd.DataFrame, setting: str) -> LedgerRow:
    components = []
    for metric in deciding_metrics(frame):
        values, seeds = paired_values(frame, (PROGRESSIVE, "full"), (CONTROL, "full"), metric.name)
        if len(values):
            margin = margin_of(frame, metric, share=FULL_MARGIN_SHARE, nats=FULL_MARGIN_NATS)
            label = f"full network of {PROGRESSIVE} against the control's"
            components.append(_no_loss(label, metric, values, seeds, margin))
    return _row(
        C7,
        setting,
        components,
        tests=1,
        missing="needs the control and the progressive schedule",
        rests_on=f"{PROGRESSIVE} full against {CONTROL} full, of one budget",
    )
