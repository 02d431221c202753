"""The sentences of the regime report: verdict, answer, captions, limits."""

from collections import Counter

import numpy as np

from analysis import numbers
from analysis.claims.rows import Kind
from analysis.claims.rules import undecided
from analysis.maps.heatmap import Heatmap, largest
from analysis.metrics import NLL
from analysis.statistics.intervals import Verdict
from analysis.statistics.units import Observations
from analysis.study_file import RegimeFile
from reports.parts import words
from reports.parts.page import Text, strong
from reports.parts.tables import votes
from reports.regime.findings import NAMES, RegimeFindings

LIMITS = (
    "Likelihood alone: no sample is drawn, and sample quality need not follow it.",
    "Cosines are of gradients on one small set of select images, the same for full network and "
    "subnets, so that its chance is shared: they lean towards agreement, the more the smaller the "
    "gradients are. Ages and rates compare, one number alone does not.",
    "The correlation of conflict and benefit runs over a few regimes; it is no cause.",
)


DECAYING = (
    "Schedules differ in when they train subnets, and rates decay: progressive spends its subnet "
    "steps at low rates and reversed at high ones, so that order in time and weight by rate are "
    "one contrast. --lr-schedule constant parts them."
)


def verdict(found: RegimeFindings) -> str:
    said = [
        f"{NAMES[zone]} better in {data.better.sum()} and worse in {data.worse.sum()} of "
        f"{data.measured.sum()} regimes"
        for zone, data in found.deciding.items()
    ]
    what = f"progressive against fixed at its mean share: {'; '.join(said)}"
    return words.unless(undecided(found.study, NLL, found.units), what)


def answer(found: RegimeFindings) -> Text:
    said: list[Text] = [f"{words.ONE_UNIT} " if len(found.study.units) == 1 else ""]
    for zone, data in found.deciding.items():
        best, worst = largest(-data.values), largest(data.values)
        said.append(strong(f"{NAMES[zone].capitalize()}: "))
        if best is None or worst is None:
            said.append("no regime has numbers. ")
            continue
        said.append(
            f"better {_where(data, data.better)}, worse {_where(data, data.worse)}; progressive "
            f"less fixed is from {_cell(found, data, best)} to {_cell(found, data, worst)}, in "
            "nats/token. "
        )
    counts = Counter(line.verdict for line in found.claim.of(Kind.LIKELIHOOD))
    verdicts = [f"{one.value} in {counts[one]}" for one in Verdict if counts[one]]
    said += [strong("C3"), f" by likelihood: {words.listed(verdicts)}. "]
    told = [f"{NAMES[zone]} {_bounded(rho)}" for zone, rho in found.because.items() if rho]
    if told:
        said += [
            strong("Conflict: "),
            "over regimes, the rank correlation between the cosine of gradients and how much worse "
            f"progressive is, above 0 if conflict is the reason: {', '.join(told)}.",
        ]
    return said


def _where(data: Heatmap, cells: np.ndarray) -> str:
    """`from bases of 8,000 (at 0.0001, 0.001) and 32,000 (at 0.001) images`; `nowhere`."""
    rows = [
        f"{name} (at {', '.join(np.array(data.columns)[row])})"
        for name, row in zip(data.rows, cells, strict=True)
        if row.any()
    ]
    return f"from bases of {words.listed(rows)} images" if rows else "nowhere"


def _bounded(rho: Observations) -> str:
    """A correlation, its interval cut to what one can be."""
    i = rho.interval()
    low, high = np.clip([i.low, i.high], -1.0, 1.0).tolist()
    return numbers.estimate(i.estimate, low, high)


def _cell(found: RegimeFindings, data: Heatmap, place: tuple[int, int]) -> str:
    """`−0.027 [−0.036, −0.018] (base of 12,000 images, rate 0.003)`; with a star if significant."""
    row, column = place
    ends = (data.values[place], data.low[place], data.high[place])
    marked = data.significant[place] and votes(found.study, NLL.name, found.units, ())
    star = words.STAR if marked else ""
    where = f"base of {data.rows[row]} images, rate {data.columns[column]}"
    return f"{numbers.estimate(*ends)}{star} ({where})"


def training(study: RegimeFile) -> str:
    """What the protocol says of training."""
    rates = ", ".join(f"{rate:g}" for rate in study.rates)
    ages = ", ".join(f"{age:,}" for age in study.ages)
    return (
        f"bases of {ages} images, each to the end of its own rate schedule, of a unit's seed; from "
        f"each, {study.budget_images:,} image passes a model in batches of {study.batch}, peak "
        f"learning rate {rates}, {study.lr_schedule}, with the unit's seed; subnet steps drawn "
        "stratified: shares hold over every short window"
    )


def maps_caption(found: RegimeFindings) -> str:
    """How to read the main figure."""
    return (
        "How much worse NLL of test images is, from the same base (rows: its training images) at "
        "the same peak learning rate (columns) and with the same data order; "
        "negative is better. Subnets: their mean at the trained switch point. In brackets: not "
        f"different from zero at p < 0.05 after Holm's correction over the map, by {found.over}."
    )


def limits(study: RegimeFile) -> list[str]:
    """What the study cannot say."""
    decaying = "" if study.lr_schedule == "constant" else DECAYING
    return ["" if len(study.units) > 1 else words.ONE_UNIT, decaying, *LIMITS]
