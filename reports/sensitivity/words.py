"""Sentences that state what the data show: the answer, and the finding of each caption."""

from collections.abc import Sequence

import numpy as np

from analysis.claims.c1 import dissent, nll_dissent
from analysis.figures.asymmetry import scale_range
from analysis.maps.heatmap import Heatmap
from analysis.metrics import Metric
from analysis.statistics.asymmetry import MIB, PRIMARY, AsymmetryStudy, Normalisation
from analysis.statistics.intervals import Verdict
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
LEADS = {
    Verdict.REPRODUCED: "Yes: in this study the early scales need depth more than the late ones.",
    Verdict.CONTRADICTED: "No: in this study the late scales need depth more than the early ones.",
    Verdict.DISAGREE: "It depends on the metric: some say that the early scales need depth more, "
    "others the late ones.",
    Verdict.INCONCLUSIVE: "Not shown: no metric of the samples tells the early scales' need for "
    "depth from the late ones'.",
    Verdict.UNTESTED: "Not tested: the study has no finished pair of early and late windows.",
}


def verdict_words(found: Findings) -> str:
    """The verdict, and how far it reaches."""
    verdict, over_seeds = found.claim.verdict, found.main.asymmetry.over_seeds
    reach = "" if over_seeds or verdict is Verdict.UNTESTED else ", for this network only"
    return f"{verdict.value}{reach}"


def answer_text(found: Findings) -> Text:
    """The answer in a paragraph: lead, evidence, the other normalisations, reach."""
    study, verdict = found.main.asymmetry, found.claim.verdict
    if verdict is Verdict.UNTESTED:
        return [strong(LEADS[verdict]), " "]
    other = f" That is {PRIMARY.value}; what damage is divided by changes the verdict here."
    early, late = (_scales(study.windows[side]) for side in ("early", "late"))
    said = [f"{a.metric.label} {words.interval(a.difference)}" for a in study.evidence]
    signs = [a.sign for a in study.evidence]
    used = max(a.base_seeds for a in study.evidence)
    of = f" of {study.networks} (the others lack a window)" if used < study.networks else ""
    return [
        strong(LEADS[verdict] + (other if dissent(study) else "")),
        f" We ran half the layers ({study.half_depth}) on the early scales only ({early}), then on "
        f"the late scales only ({late}). Damage is how much worse than the full network a metric "
        "gets, and A is early damage minus late damage, each divided as said: A above zero means "
        f"that early scales need depth more. {PRIMARY.sentence_start} "
        f"({_divided(study, PRIMARY)}; this study's primary reading) A is, with 95 % interval, "
        f"{words.listed(said)}. After Holm's correction it is significantly positive for "
        f"{signs.count(1)} of {words.counted(len(signs), 'deciding metric')} and significantly "
        f"negative for {signs.count(-1)}. ",
        _other_verdicts(study),
        [f"{sentence} " for sentence in nll_dissent(study)],
        "With one base network the intervals run over its sample sets, so the verdict is about "
        "this network only; one trained from another seed may differ."
        if not study.over_seeds
        else f"The intervals run over {words.counted(used, 'base network')}{of}.",
    ]


def _scales(window: Sequence[int]) -> str:
    return f"{'scale' if len(window) == 1 else 'scales'} {scale_range(window)}"


def _other_verdicts(study: AsymmetryStudy) -> Text:
    """The verdict under each normalisation but the primary one, and what it divides by."""
    text: list[Text] = ["The same by other normalisations: "]
    for normalisation, verdict in study.verdicts.items():
        if normalisation is not PRIMARY:
            said = f"{normalisation.value} ({_divided(study, normalisation)}) "
            text += [said, strong(verdict.value), "; "]
    early, late = (len(study.windows[side]) for side in ("early", "late"))
    same = f"Both windows have {words.counted(early, 'scale')}, so per scale and per window are "
    return [*text[:-1], ". ", f"{same}the same test. " if early == late else ""]


def _divided(study: AsymmetryStudy, normalisation: Normalisation) -> str:
    """What early and late damage are divided by, with the numbers."""
    a = study.under(normalisation)[0]
    early, late = a.early_divisor, a.late_divisor
    match normalisation:
        case Normalisation.SCALE:
            return f"divided by the window's scales, {early:.0f} and {late:.0f}"
        case Normalisation.WINDOW:
            return "undivided, the paper's own comparison"
        case Normalisation.TOKEN:
            return f"divided by the window's tokens, {early:.0f} and {late:.0f}"
        case Normalisation.KV:
            saved = f"{words.size(early * MIB)} and {words.size(late * MIB)}"
            return f"divided by what the window's plan saves of the KV cache's peak, {saved}"


def basis(found: Findings, metrics: Sequence[Metric] | None = None) -> str:
    """What the numbers of `metrics`, or of all of quality, rest on: sets, counts, networks."""
    metrics = found.metrics if metrics is None else metrics
    groups: dict[str, list[str]] = {}
    for metric in metrics:
        if metric.name in found.levels.index:
            row = found.levels.loc[metric.name]
            size = round(row["count"] / (row["sets"] * row["base_seeds"]))
            of = "test images" if metric.kind == "nll" else "samples"
            sets = words.counted(round(row["sets"]), "disjoint set")
            groups.setdefault(f"{sets} of {size} {of}", []).append(metric.short)
    said = [f"{words.listed(names)} from {sets}" for sets, names in groups.items()]
    if extractors := sorted({m.extractor for m in metrics if m.extractor}):
        said.append(f"distances on features of {words.listed(extractors)}")
    seeds = [str(seed) for seed in found.seeds]
    said.append(f"base {'seed' if len(seeds) == 1 else 'seeds'} {words.listed(seeds)}")
    text = "; ".join(said) + "."
    return text[0].upper() + text[1:]


MARKS = (
    "Numbers in brackets are not significant after Holm's correction within their panel; hatched "
    "cells failed; pale cells are not part of the study. "
)


def counts_finding(data: Heatmap) -> str:
    """How many cells of a heatmap are worse, better, undecided, failed."""
    worse, better = ((data.significant & side).sum() for side in (data.values > 0, data.values < 0))
    known, failed = int((~np.isnan(data.values)).sum()), data.failed.sum()
    better_said = f", {better} significantly better" if better else ""
    failed_said = f", {failed} failed" if failed else ""
    return (
        f"{worse} of {words.counted(known, 'cell')} significantly worse{better_said}{failed_said}"
    )


def _largest(data: Heatmap, where: np.ndarray | bool = True) -> tuple[int, int] | None:
    """Row and column of the largest value there."""
    values = np.where(where, data.values, np.nan)
    if np.isnan(values).all():
        return None
    row, column = divmod(int(np.nanargmax(values)), values.shape[1])
    return row, column


def _value(data: Heatmap, at: tuple[int, int]) -> str:
    unit = f" {data.unit}" if data.unit else ""
    return words.estimate(data.values[at], data.low[at], data.high[at]) + unit


def scale_depth_caption(name: str, pairs: Sequence[tuple[Heatmap, Heatmap]]) -> Caption:
    """What the scale x depth heatmap shows, from its first metric, and how to read it."""
    per_scale, per_token = pairs[0]
    lead = finding = ""
    worst, of_token = _largest(per_scale), _largest(per_token)
    if worst and of_token:
        scale, depth = per_scale.columns[worst[1]], per_scale.rows[worst[0]]
        lead = (
            f"By {name}, the largest damage is at scale {scale}, depth {depth}; for each token "
            f"of the scale, at scale {per_token.columns[of_token[1]]}."
        )
        finding = f" At scale {scale} it is {_value(per_scale, worst)} (95 % interval); "
        finding += f"{counts_finding(per_scale)}. "
    reading = (
        "Damage against the full network when one scale (column) runs at a depth (row) and every "
        "other scale in full: left as measured, right divided by the tokens of that scale. "
    )
    return lead, [finding, reading, MARKS]


def switch_depth_caption(name: str, mine: SelectorFindings) -> Caption:
    """What moving the switch buys at half depth or the nearest of the map, and how to read it."""
    lead = ""
    quality, depth = mine.switches[0], mine.asymmetry.half_depth
    row = min(range(len(quality.rows)), key=lambda i: abs(int(quality.rows[i]) - depth))
    there = np.flatnonzero(~np.isnan(quality.values[row])).tolist()
    if len(there) > 1:
        first, last = (row, there[0]), (row, there[-1])
        moved = [f"the {quality.title} from {_value(quality, first)} to {_value(quality, last)}"]
        for saving in mine.savings:
            ends = (words.percent(saving.values[at]) for at in (first, last))
            moved.append(f"the {saving.title} from {' to '.join(ends)}")
        lead = (
            f"At depth {quality.rows[row]}, a switch after scale {quality.columns[last[1]]} "
            f"instead of {quality.columns[first[1]]} moves {words.listed(moved)}. "
        )
    reading = (
        "Two-zone plans: all layers up to the switch (column), a subnet of that depth (row) after "
        f"it; switch 0 is a subnet everywhere. By {name}, {counts_finding(quality)}. The last "
        "panels are what the plan saves of the full network's peak KV cache and FLOPs, counted "
        "exactly. "
    )
    return lead, [reading, MARKS]


def propagation_caption(data: Heatmap) -> Caption:
    """Whether damage stays at the scale that lost depth, and how to read the map."""
    ones = np.ones(data.values.shape, dtype=bool)
    after = np.triu(ones, 1)
    own, later = _largest(data, np.eye(len(ones), dtype=bool)), _largest(data, after)
    lead = finding = ""
    if own and later:
        spread = (data.significant & after & (data.values > 0)).sum()
        pairs = (after & ~np.isnan(data.values)).sum()
        lead = (
            f"{spread} of {pairs} pairs of a scale and a later one show significant damage to "
            "the later."
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
    before = _largest(data, np.tril(ones, -1))
    return lead, [finding, strong(broken) if before else "", reading, MARKS]


def asymmetry_caption(study: AsymmetryStudy) -> Caption:
    """The verdict under each normalisation, and how to read the figure."""
    verdicts = [f"{n.value} {verdict.value}" for n, verdict in study.verdicts.items()]
    if not verdicts:
        return "No pair of early and late windows finished, so A is not known.", ""
    reading = (
        f" Above: damage when all scales of a window run at depth {study.half_depth}, the "
        "others in full, with 95 % interval (higher is worse; some intervals are narrower than "
        "their mark). Below: the asymmetry A under each normalisation, divided by the sum of "
        "its terms' sizes so that metrics share an axis (+1: all damage is early, "
        f"{words.MINUS}1: all is late; intervals are cut at the axis' ends). Filled marks are "
        "significant after Holm's correction over the deciding metrics; grey diamonds are "
        "teacher-forced NLL, which never decides. "
    )
    return f"Claim C1 is {words.listed(verdicts)}.", reading


def _windows(study: SensitivityFile) -> list[str]:
    return [f"{name} {scale_range(scales)}" for name, scales in study.windows.items()]


def plans_measured(study: SensitivityFile) -> str:
    """Depths, selectors and windows."""
    windows = ", ".join(_windows(study))
    measured = grid(study, study.depths, study.selectors)
    return f"{measured}; windows (scales) {windows} at half depth {study.half_depth}"


def sample_caption(found: Findings) -> str:
    """How to read the sample sheet, with the plan names spelled out."""
    layers, windows = found.study.geometry.depth, words.listed(_windows(found.study))
    return (
        f"Rows are plans of the network of base seed {found.seeds[0]}: full runs all {layers} "
        "layers; \u201cd4 on early\u201d runs 4 layers on the scales of that window (scales "
        f"{windows}); \u201cd4@2\u201d runs all layers up to scale 2 and 4 after it. Images of "
        "a column share class and uniforms, so that a column shows what the plan alone changes."
    )


def limits(found: Findings) -> list[str]:
    """What the study cannot say."""
    networks = found.main.asymmetry.networks
    one = (
        "One base network. Its intervals say how well this network was measured, not how much "
        "networks trained alike differ; several base seeds say that."
    )
    few = (
        f"{networks} base networks leave {words.counted(networks - 1, 'degree')} of freedom, so "
        "intervals are wide."
    )
    return [
        one if not found.main.asymmetry.over_seeds else few if networks < 5 else "",
        words.analogue("The claim was", found.study.dataset.name),
        "Fréchet distance and KID speak of one extractor's features, not of people's eyes. Fréchet "
        "distance is biased upwards at the sample counts used; paired differences at equal counts "
        "lose most of that bias, not all.",
        "Teacher-forced NLL feeds every scale the true earlier tokens. It resolves small "
        "differences but hides how errors propagate, so it never decides.",
        "No plan was trained: a network fine-tuned for its plan would lose less, and perhaps "
        "elsewhere.",
        "Inconclusive is not a finding of no asymmetry; the intervals show what sizes remain "
        "possible."
        if found.claim.verdict is Verdict.INCONCLUSIVE
        else "",
    ]
