"""Sentences that state what the data show: the answer, and the finding of each caption."""

from collections.abc import Sequence

import numpy as np

from analysis import numbers
from analysis.claims.rows import Kind
from analysis.figures.asymmetry import scale_range
from analysis.maps.heatmap import Heatmap, largest
from analysis.metrics import Metric
from analysis.statistics.asymmetry import PRIMARY
from analysis.statistics.intervals import Verdict
from analysis.statistics.units import LEAST_UNITS, NOTHING
from analysis.study_file import SensitivityFile
from reports.parts import words
from reports.parts.page import Text, strong
from reports.parts.protocol import grid
from reports.sensitivity.findings import Findings, SelectorFindings

Caption = tuple[str, Text]
"""What a figure shows, in bold, and how to read it."""

QUESTION = (
    "Which scales of a visual autoregressive network need depth? A VAR draws an image as token "
    "maps of growing side, and a depth plan says which of its layers run at each of these scales. "
    "The VARiant paper reports that early scales need all layers and late ones do not. We lower "
    "the depth of a trained network scale by scale, without further training, and measure what "
    "gets worse."
)
ASYMMETRY = (
    "The asymmetry A, undivided as published and as rates.",
    " A is divided by the sum of its terms' sizes so that metrics share an axis (+1: all "
    f"damage is early, {numbers.MINUS}1: all is late; intervals are cut at the axis' ends). "
    "Filled marks differ from zero at p < 0.05, unadjusted; grey diamonds are teacher-forced "
    "NLL, which never decides. Only A per window bears on claim C1; the others are statements "
    "about efficiency. ",
)
"""The caption of the figure of normalisations."""
LEADS = {
    Verdict.REPRODUCED: "Yes: in this study the early scales need depth more than the late ones.",
    Verdict.CONTRADICTED: "No: in this study the late scales need depth more than the early ones.",
    Verdict.DISAGREE: "It depends on the metric: one feature space says that the early scales need "
    "depth more, the other the late ones.",
    Verdict.INCONCLUSIVE: "Not shown: sample quality does not tell the early scales' need for "
    "depth from the late ones'.",
    Verdict.UNRESOLVED: "Cannot be said: this study could not resolve the difference.",
    Verdict.UNTESTED: "Not tested: the study has no finished pair of early and late windows.",
}


def answer_text(found: Findings) -> Text:
    study, claim = found.main.asymmetry, found.main.claim
    estimates = [a for a in study.under(PRIMARY) if a.metric in found.judging]
    if claim.verdict is Verdict.UNTESTED or not estimates:
        return [strong(LEADS[claim.verdict]), " "]
    early, late = (_scales(study.windows[side]) for side in ("early", "late"))
    said = [f"{a.metric.label} {numbers.interval(a.difference)}" for a in estimates]
    [quality] = claim.of(Kind.QUALITY)
    units = max(len(a.observed.units) for a in estimates)
    few = f"; a verdict needs {LEAST_UNITS}" if units < LEAST_UNITS else ""
    lost = len(found.units) - units
    without = f" ({words.counted(lost, 'other')} lack a window)" if lost else ""
    return [
        strong(LEADS[claim.verdict]),
        f" We ran half the layers ({study.half_depth}) on the early scales only ({early}), then on "
        f"the late scales only ({late}). Damage is how much worse than the full network a metric "
        "gets, and A is early damage minus late damage: A above zero means that early scales need "
        f"depth more. A is, with 95 % interval over {words.counted(units, 'unit')}{without}{few}, "
        f"{words.listed(said)}. ",
        f"(It rests on: {quality.reason}.) " if quality.reason else "",
        "Sample quality decides; teacher-forced NLL is shown and never decides. Other splits into "
        "early and late scales are in the triangle of signs, which is descriptive.",
    ]


def _scales(window: Sequence[int]) -> str:
    return f"{'scale' if len(window) == 1 else 'scales'} {scale_range(window)}"


def windows_caption(found: Findings) -> str:
    """How to read the main figure."""
    study = found.main.asymmetry
    return (
        f"Left: damage when all scales of a window run at depth {study.half_depth} and the others "
        "in full, with 95 % interval (higher is worse; some are narrower than their mark). Right, "
        "descriptive: the sign of damage of scales 1 to a (row) minus that of scales b to "
        f"{len(found.study.geometry.patch_nums)} (column), at the same depth. Blue and plus: the "
        "early scales need depth more; wine and minus: the late ones; pale where the 95 % interval "
        "over units holds zero, without any correction, or where one unit speaks. "
    )


def basis(found: Findings, metrics: Sequence[Metric] | None = None, *families: str) -> str:
    """What the numbers of `metrics`, or of all main ones, rest on: counts, feature space, units.

    Of plans of `families`, where these were not measured in every unit.
    """
    metrics = found.metrics if metrics is None else metrics
    groups: dict[str, list[str]] = {}
    for metric in metrics:
        own = found.damages.full.get(metric.name, NOTHING)
        if own:
            of = "test images" if metric.kind == "nll" else "samples"
            each = round(own.count / len(own.units))
            groups.setdefault(f"{each:,} {of} a unit", []).append(metric.short)
    said = [f"{words.listed(names)} from {count}" for count, names in groups.items()]
    if extractors := sorted({m.extractor for m in metrics if m.extractor}):
        said.append(f"distances on features of {words.listed(extractors)}")
    units = [str(unit) for unit in found.damages.units_of(*families) or found.units]
    alone = ": intervals over its samples, for this network only" if len(units) == 1 else ""
    said.append(f"{'unit' if len(units) == 1 else 'units'} {words.listed(units)}{alone}")
    text = "; ".join(said) + "."
    return text[0].upper() + text[1:]


def place(found: Findings, family: str, said: str = ", in {}") -> str:
    """`, in unit 0`, where plans of a family were measured in some units alone."""
    units = found.damages.units_of(family)
    alone = words.listed([f"unit {unit}" for unit in units])
    return "" if units == found.units else said.format(alone)


def splits(found: Findings) -> str:
    """In which units the other splits were measured, where that is not in all."""
    return place(found, "prefix", " The claim's own split is of all units, the others of {}.")


def marks(maps: Sequence[Heatmap]) -> str:
    """What the cells' looks say, of those that there are."""
    said = ["Descriptive; in brackets: not significant after Holm's correction within a panel"]
    if any(data.failed.any() for data in maps):
        said.append("hatched cells failed")
    return f"{'; '.join(said)}; each panel has a colour scale of its own. "


def counts_finding(data: Heatmap) -> str:
    """How many cells of a heatmap are worse, better, undecided, failed."""
    worse, better, failed = (cells.sum() for cells in (data.worse, data.better, data.failed))
    said = f"{worse} of {words.counted(int(data.measured.sum()), 'cell')} significantly worse"
    said += f", {better} significantly better" if better else ""
    return said + (f", {failed} failed" if failed else "")


def _value(data: Heatmap, at: tuple[int, int]) -> str:
    unit = f" {data.unit}" if data.unit else ""
    return numbers.estimate(data.values[at], data.low[at], data.high[at]) + unit


def scale_depth_caption(name: str, pairs: Sequence[tuple[Heatmap, Heatmap]], where: str) -> Caption:
    """What the scale x depth heatmap shows, from its first metric, and how to read it."""
    per_scale, per_token = pairs[0]
    lead = finding = ""
    worst, of_token = largest(per_scale.values), largest(per_token.values)
    if worst and of_token:
        scale, depth = per_scale.columns[worst[1]], per_scale.rows[worst[0]]
        lead = (
            f"By {name}, the largest damage is at scale {scale}, depth {depth}; for each token "
            f"of the scale, at scale {per_token.columns[of_token[1]]}{where}."
        )
        finding = f" At scale {scale} it is {_value(per_scale, worst)} (95 % interval); "
        finding += f"{counts_finding(per_scale)}. "
    reading = (
        "Damage against the full network when one scale (column) runs at a depth (row) and every "
        "other scale in full: left as measured, right divided by the tokens of that scale. "
    )
    return lead, [finding, reading, marks([data for pair in pairs for data in pair])]


def switch_depth_caption(name: str, mine: SelectorFindings, where: str) -> Caption:
    """What moving the switch buys at half depth or the nearest of the map, and how to read it."""
    lead = ""
    quality, depth = mine.switches[0], mine.asymmetry.half_depth
    row = min(range(len(quality.rows)), key=lambda i: abs(int(quality.rows[i]) - depth))
    there = np.flatnonzero(quality.measured[row]).tolist()
    if len(there) > 1:
        first, last = (row, there[0]), (row, there[-1])
        moved = [f"the {quality.title} from {_value(quality, first)} to {_value(quality, last)}"]
        for saving in mine.savings:
            ends = (numbers.percent(saving.values[at]) for at in (first, last))
            moved.append(f"the {saving.title} from {' to '.join(ends)}")
        lead = (
            f"At depth {quality.rows[row]}, switch point {quality.columns[last[1]]} in place of "
            f"{quality.columns[first[1]]} moves {words.listed(moved)}{where}. "
        )
    reading = (
        "Two-zone plans: all layers up to the switch (column), a subnet of that depth (row) after "
        f"it; switch 0 is a subnet everywhere. By {name}, {counts_finding(quality)}. The last "
        "panels are what the plan saves of the full network's peak KV cache and FLOPs, counted "
        "exactly. "
    )
    return lead, [reading, marks(mine.switches)]


def propagation_caption(data: Heatmap, where: str) -> Caption:
    """Whether damage stays at the scale that lost depth, and how to read the map."""
    ones = np.ones(data.values.shape, dtype=bool)
    after, diagonal = np.triu(ones, 1), np.eye(len(ones), dtype=bool)
    own, later = (largest(np.where(at, data.values, np.nan)) for at in (diagonal, after))
    lead = finding = ""
    if own and later:
        spread, pairs = ((after & cells).sum() for cells in (data.worse, data.measured))
        lead = (
            f"{spread} of {pairs} pairs of a scale and a later one show significant damage to "
            f"the later{where}."
        )
        finding = (
            f" The largest such effect is of scale {later[0] + 1} on scale {later[1] + 1}, "
            f"{_value(data, later)} (95 % interval); the largest on a scale itself is "
            f"{_value(data, own)} (scale {own[0] + 1}). "
        )
    broken = (
        "Scales before the one that lost depth changed, which causality forbids: the model or the "
        "evaluation has an error. "
    )
    reading = (
        f"{data.title} (rows), seen at each scale (columns), teacher-forced on test images. A "
        "scale cannot see later ones, so nothing stands before the diagonal. Later scales read the "
        "shallower keys and values but are fed the true tokens: errors in sampled tokens, which "
        "would propagate further, do not show here. "
    )
    before = (data.measured & np.tril(ones, -1)).any()
    return lead, [finding, strong(broken) if before else "", reading, marks([data])]


def _windows(study: SensitivityFile) -> list[str]:
    return [f"{name} {scale_range(scales)}" for name, scales in study.windows.items()]


def plans_measured(study: SensitivityFile) -> str:
    windows = ", ".join(_windows(study))
    measured = grid(study, study.depths, study.selectors)
    return f"{measured}; windows (scales) {windows} at half depth {study.half_depth}"


def sample_caption(found: Findings) -> str:
    """How to read the sample sheet, with the plan names spelled out."""
    study, windows = found.study, words.listed(_windows(found.study))
    layers, middle = study.geometry.depth, len(study.geometry.patch_nums) // 2
    half, least = study.half_depth, min(study.depths, default=study.half_depth)
    return (
        f"Rows are plans of the network of unit {found.units[0]}: full runs all {layers} "
        f"layers; \u201cd{half} on early\u201d runs {half} layers on the scales of that window "
        f"(scales {windows}); \u201cd{least}@{middle}\u201d runs all layers up to scale {middle} "
        f"and {least} after it. Images of "
        "a column share class and uniforms, so that a column shows what the plan alone changes."
    )


def limits(found: Findings) -> list[str]:
    return [
        words.ONE_UNIT if len(found.units) == 1 else "",
        "One data set, one tokenizer, one feature space that decides: the verdict holds for these "
        "alone.",
        words.analogue("The claim was", found.study.dataset.name),
        "Fréchet distance and KID speak of one network's features, not of people's eyes. Fréchet "
        "distance is biased upwards at the sample counts used; differences at equal counts lose "
        "most of that bias, not all.",
        "Teacher-forced NLL feeds every scale the true earlier tokens. It resolves small "
        "differences but hides how errors propagate, so it never decides.",
        "No plan was trained: a network fine-tuned for its plan would lose less, and perhaps "
        "elsewhere.",
        "Inconclusive is not a finding of no asymmetry; the intervals show what sizes remain "
        "possible."
        if found.main.claim.verdict is Verdict.INCONCLUSIVE
        else "",
    ]
