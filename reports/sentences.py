"""Sentences that state what the data show: the answer, and the finding of each caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy, Normalisation
from analysis.claims import ClaimVerdict
from analysis.figures import scale_range
from analysis.intervals import Verdict
from analysis.sensitivity import Heatmap
from reports import words
from reports.blocks import Run, strong

LEADS = {
    Verdict.REPRODUCED: "Yes: in this study the early scales need depth more than the late ones.",
    Verdict.CONTRADICTED: "No: in this study the late scales need depth more than the early ones.",
    Verdict.DISAGREE: "It depends on the metric: some say that the early scales need depth more, "
    "others the late ones.",
    Verdict.INCONCLUSIVE: "Not shown: no metric of the samples tells the early scales' need for "
    "depth from the late ones'.",
    Verdict.UNTESTED: "Not tested: the study has no finished pair of early and late windows.",
}


def verdict_words(claim: ClaimVerdict) -> str:
    """The verdict, and how far it reaches."""
    if claim.network_only and claim.verdict is not Verdict.UNTESTED:
        return f"{claim.verdict.value}, for this network only"
    return claim.verdict.value


def estimate_of(a: Asymmetry) -> str:
    """A with its 95 % interval, as text."""
    return words.estimate(a.difference.estimate, a.difference.low, a.difference.high)


def answer_text(claim: ClaimVerdict, study: AsymmetryStudy, *, quick: bool) -> list[str | Run]:
    """The answer in a paragraph: lead, evidence, dissent, reach."""
    text: list[str | Run] = [strong("Quick run, not a result."), " "] if quick else []
    text += [strong(LEADS[claim.verdict]), " "]
    if claim.verdict is Verdict.UNTESTED:
        return text
    early, late = (
        f"{'scale' if len(study.windows[w]) == 1 else 'scales'} {scale_range(study.windows[w])}"
        for w in ("early", "late")
    )
    text.append(
        f"We ran half the layers ({study.half_depth}) on the early scales only ({early}), then on "
        f"the late scales only ({late}), and compared the damage {PRIMARY.value} by the statistic "
        "A (positive when early scales need depth more; 95 % interval): "
    )
    said = [f"{a.metric.label} {estimate_of(a)}" for a in claim.evidence]
    text.append(words.listed(said) + ". ")
    positive = sum(a.sign > 0 for a in claim.evidence)
    negative = sum(a.sign < 0 for a in claim.evidence)
    total = len(claim.evidence)
    text.append(
        f"After Holm's correction A is significantly positive for {positive} of "
        f"{words.counted(total, 'deciding metric')} and significantly negative for {negative}. "
    )
    if claim.dissent:
        text.append(" ".join(claim.dissent) + " ")
    else:
        text.append("No other normalisation gives another verdict. ")
    if claim.network_only:
        text.append(
            "With one base network the intervals run over its sample sets and the verdict is about "
            "this network only: base networks differ as much by seed as by size."
        )
    else:
        used = max(a.base_seeds for a in claim.evidence)
        of = f" of {study.base_seeds} (the others lack a window)" if used < study.base_seeds else ""
        text.append(f"The intervals run over {words.counted(used, 'base network')}{of}.")
    return text


def counts_finding(data: Heatmap) -> str:
    """How many cells of a heatmap are worse, better, undecided, failed."""
    known = ~np.isnan(data.values)
    worse = int((data.significant & (data.values > 0)).sum())
    better = int((data.significant & (data.values < 0)).sum())
    parts = [f"{worse} of {words.counted(int(known.sum()), 'cell')} significantly worse"]
    if better:
        parts.append(f"{better} significantly better")
    if data.failed.any():
        parts.append(f"{int(data.failed.sum())} failed")
    return ", ".join(parts)


def _worst(data: Heatmap) -> tuple[int, int] | None:
    if np.isnan(data.values).all():
        return None
    row, column = np.unravel_index(np.nanargmax(data.values), data.values.shape)
    return int(row), int(column)


def _value(data: Heatmap, at: tuple[int, int]) -> str:
    unit = f" {data.unit}" if data.unit else ""
    return words.estimate(data.values[at], data.low[at], data.high[at]) + unit


def scale_depth_caption(name: str, pairs: Sequence[tuple[Heatmap, Heatmap]]) -> list[str | Run]:
    """What the scale x depth heatmap shows, from its first metric, and how to read it."""
    per_scale, per_token = pairs[0]
    text: list[str | Run] = []
    worst, worst_token = _worst(per_scale), _worst(per_token)
    if worst is not None and worst_token is not None:
        text.append(
            strong(
                f"By {name}, the largest damage is at scale {per_scale.columns[worst[1]]}, depth "
                f"{per_scale.rows[worst[0]]}; per token, at scale {per_token.columns[worst_token[1]]}."
            )
        )
        text.append(f" The former is {_value(per_scale, worst)} ({counts_finding(per_scale)}). ")
    text.append(
        "Damage against the full network when one scale (column) runs at a depth (row) and every "
        "other scale in full: left for the scale, right divided by its tokens. " + MARKS
    )
    return text


MARKS = (
    "Numbers in brackets are not significant after Holm's correction within their panel; hatched "
    "cells failed; pale cells are not part of the study."
)


def switch_depth_caption(
    name: str, quality: Heatmap, savings: Sequence[Heatmap], *, depth: int
) -> list[str | Run]:
    """What moving the switch buys at `depth` (or the nearest of the map), and how to read it."""
    text: list[str | Run] = []
    row = min(range(len(quality.rows)), key=lambda i: abs(int(quality.rows[i]) - depth))
    there = np.flatnonzero(~np.isnan(quality.values[row]))
    if there.size > 1:
        first, last = (row, int(there[0])), (row, int(there[-1]))
        moved = [
            f"the {quality.title} from {_value(quality, first)} to {_value(quality, last)}",
            *(
                f"the {s.title} from {words.percent(s.values[first])} to "
                f"{words.percent(s.values[last])}"
                for s in savings
            ),
        ]
        text.append(
            strong(
                f"At depth {quality.rows[row]}, a switch after scale {quality.columns[last[1]]} "
                f"instead of {quality.columns[first[1]]} moves {words.listed(moved)}."
            )
        )
        text.append(" ")
    text.append(
        f"Two-zone plans: all layers up to the switch (column), a subnet of that depth (row) after "
        f"it; switch 0 is a subnet everywhere. By {name}, {counts_finding(quality)}. The last "
        "panels are what the plan saves of the full network's cost, counted exactly. " + MARKS
    )
    return text


def propagation_caption(data: Heatmap) -> list[str | Run]:
    """Whether damage stays at the scale that lost depth, and how to read the map."""
    own = np.diag(data.values)
    later = np.where(np.triu(np.ones_like(data.values), 1) > 0, data.values, np.nan)
    text: list[str | Run] = []
    if not np.isnan(own).all() and not np.isnan(later).all():
        spread = (data.significant & (np.nan_to_num(later) > 0)).sum()
        possible = int((~np.isnan(later)).sum())
        row, column = np.unravel_index(np.nanargmax(later), later.shape)
        text.append(
            strong(
                f"{spread} of {possible} pairs of a scale and a later one show significant damage to the "
                "later."
            )
        )
        text.append(
            f" The largest such effect is of scale {row + 1} on scale {column + 1}, "
            f"{_value(data, (int(row), int(column)))}; the largest on a scale itself is "
            f"{words.number(float(np.nanmax(own)), signed=True)} {data.unit} "
            f"(scale {int(np.nanargmax(own)) + 1}). "
        )
    before = np.where(np.tril(np.ones_like(data.values), -1) > 0, data.values, np.nan)
    if not np.isnan(before).all():
        text.append(
            strong(
                "Scales before the one that lost depth changed, which causality forbids: the model or "
                "the evaluation has an error. "
            )
        )
    text.append(
        f"{data.title} (rows), seen at each scale (columns), teacher-forced on test images. A scale "
        "cannot see later ones, so nothing stands before the diagonal. Later scales read the "
        "shallower keys and values but are fed the true tokens: errors in sampled tokens, which "
        "would propagate further, do not show here. " + MARKS
    )
    return text


def asymmetry_caption(study: AsymmetryStudy) -> list[str | Run]:
    """The verdict under each normalisation, and how to read the figure."""
    verdicts = [f"{n.value}: {study.verdict(n).value}" for n in Normalisation if study.under(n)]
    if not verdicts:
        return [strong("No pair of early and late windows finished, so A is not known.")]
    return [
        strong("Claim C1 " + "; ".join(verdicts) + "."),
        (
            f" Above: damage when all scales of a window run at depth {study.half_depth}, the others in "
            "full, with 95 % interval. Below: the asymmetry A under each normalisation, divided by the "
            "sum of its terms' sizes so that metrics share an axis (+1: all damage is early; "
            "intervals are cut at the axis' ends). Filled marks are significant after Holm's "
            "correction over the deciding metrics; grey diamonds are teacher-forced NLL, which never "
            "decides."
        ),
    ]
