"""Power before cost: what a study could show, from the variance components of `studies.noise`.

For a line of the ledger that tests a loss against a margin: the margin in the metric's unit (the
share times the untrained damage), the smallest loss that a one-sided 5 % test over the units shows
with a chance of 80 %, the power (the chance to show that a plan loses less than the margin when it
loses nothing), and the units that 80 % would take: at the components' estimates and at the upper
limits of their 95 % intervals, all at once, which is cautious. Of claims that rest on
several such tests the worst counts. For claims of a direction there is no margin, only the smallest
difference that would be shown.

A claim that asks for a gain too (C3) has the smallest gain that one of its tests would show with a
chance of 80 %, after Holm, beside it: the power is that of showing no loss, and of no gain.

Where two schedules are compared, of which the noise study has one, they are taken to differ as two
training seeds of one schedule do; a direction borrows the spread of their test of no loss, which is
a little wider than its own. C4's fewest layers and C8 have a plan where the noise study measured
theirs: so few layers, networks trained for that switch point. No other plan stands in, whose
untrained damage, and what it moves by, is another.
"""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

from analysis.claims import c1, c2, c3, c4, c7a, c8
from analysis.claims.rules import Question
from analysis.instrument_file import Component, NoiseFacts, NoiseTable
from analysis.metrics import NLL, Metric
from analysis.statistics.intervals import SIGNIFICANCE
from analysis.statistics.power import (
    NOTHING_COMMON,
    Common,
    UnitSpread,
    detectable,
    power_of,
    units_needed,
)
from analysis.study_file import SpreadFacts

SAMPLE_STEP = 500
EVALUATION_SHARE = 0.25  # of a unit's other variance: what measuring may add


@dataclass(frozen=True)
class Rests:
    """What a line of the ledger, or of a report, rests on.

    Attributes:
        quantities: of the noise table, all of them.
        direction: asks which way a difference points, so that it has no margin.
        gain: asks for a gain on one of them, beside no loss.
    """

    quantities: tuple[str, ...]
    direction: bool = False
    gain: bool = False


Lines = Mapping[str, Rests]
"""By the line's key in `StudyFile.power`."""

RETRAINED = ("retrained full", "retrained half")
ASYMMETRY: Lines = {Question(claim=c1.CLAIM).key: Rests(("asymmetry",), direction=True)}
TRADE: Lines = {Question(claim=c2.CLAIM).key: Rests(RETRAINED, direction=True)}
LOSSES: Lines = {
    Question(claim=c4.CLAIM, part=c4.HALF).key: Rests(("loss half",)),
    Question(claim=c4.CLAIM, part=c4.QUARTER).key: Rests(("loss quarter",)),
    Question(claim=c7a.CLAIM).key: Rests(("loss full",)),
}
LATER: Lines = {Question(claim=c8.CLAIM).key: Rests(("loss later",))}
STANDS_IN: Lines = {"half the layers stand in": Rests(("loss half",))}
WINNER: Lines = {"a winner against the paper's": Rests(RETRAINED, direction=True)}


def fewest_lines(layers: int) -> Lines:
    """Of a study whose shallowest subnets have so many layers, fewer than a quarter."""
    return {Question(claim=c4.CLAIM, part=c4.SHALLOWEST).key: Rests((f"loss d{layers}",))}


def schedules_lines(lr_schedule: str) -> Lines:
    """Of a study that compares the progressive schedule with the share that is its mean."""
    return {Question(claim=c3.CLAIM, part=f"{lr_schedule} rate").key: Rests(RETRAINED, gain=True)}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a study is to be.

    Attributes:
        seeds: training seeds a unit.
        samples: of a cell; `images`: test images of likelihood.
    """

    units: int
    seeds: int
    samples: int
    images: int

    def count(self, facts: NoiseFacts) -> int:
        return self.images if facts.kind == "nll" else self.samples


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What a line of the ledger could show by one metric.

    Attributes:
        key: of the line.
        least: the smallest loss, or difference, shown with a chance of 80 %.
        margin: in the metric's unit; None for a direction, as what follows.
        power: of showing no loss where there is none.
        units: that 80 % would take; None above `power.MOST_UNITS`.
        units_at_most: the same with every component at its upper limit.
        gain: the smallest that one of the tests shows with a chance of 80 %, where one is asked.
        spreads: of the tests behind it, whose power is that of the weakest.
    """

    key: str
    kind: str
    extractor: str | None
    least: float
    margin: float | None = None
    power: float | None = None
    units: int | None = None
    units_at_most: int | None = None
    gain: float | None = None
    spreads: tuple[SpreadFacts, ...] = ()


def outlooks(table: NoiseTable, lines: Lines, size: Size) -> tuple[Outlook, ...]:
    """Of every line by every metric that the table has all quantities of, line by line."""
    metrics = dict.fromkeys((q.kind, q.extractor) for q in table.quantities)
    found = []
    for key, rests in lines.items():
        for metric in metrics:
            of = {q.quantity: q for q in table.quantities if (q.kind, q.extractor) == metric}
            if all(name in of for name in rests.quantities):
                facts = [of[name] for name in rests.quantities]
                if rests.direction:
                    facts = [one.model_copy(update={"margin": None}) for one in facts]
                every = [_outlook(key, one, size) for one in facts]
                weakest = min(every, key=lambda one: (one.power or 0.0, -one.least))
                spreads = tuple(spread for one in every for spread in one.spreads)
                gain = min(_gain(one, size, len(facts)) for one in facts) if rests.gain else None
                found.append(replace(weakest, spreads=spreads, gain=gain))
    return tuple(found)


def _gain(facts: NoiseFacts, size: Size, tests: int) -> float:
    """The smallest that is shown, in either of two directions, as the first of Holm's `tests`."""
    deviation = spread_of(facts).deviation(samples=size.count(facts), seeds=size.seeds)
    shared = common_of(facts, size)
    return detectable(deviation, size.units, shared, level=SIGNIFICANCE / 2 / tests)


def _outlook(key: str, facts: NoiseFacts, size: Size) -> Outlook:
    own, highest = (spread_of(facts, upper=upper) for upper in (False, True))
    shared, most = (common_of(facts, size, upper=upper) for upper in (False, True))
    counted = {"samples": size.count(facts), "seeds": size.seeds}
    deviation = own.deviation(**counted)
    level = SIGNIFICANCE / (2 if facts.margin is None else 1)  # a direction's test has two sides
    least = detectable(deviation, size.units, shared, level=level)
    found = Outlook(key=key, kind=facts.kind, extractor=facts.extractor, least=least)
    if facts.margin is None or facts.untrained is None:
        return found
    margin = facts.margin * facts.untrained
    spread = SpreadFacts(
        margin=margin,
        deviation=deviation,
        common=shared.variance,
        common_freedom=shared.degrees_of_freedom,
    )
    return replace(
        found,
        margin=margin,
        power=power_at([spread], size.units),
        spreads=(spread,),
        units=units_needed(margin, deviation, shared),
        units_at_most=units_needed(margin, highest.deviation(**counted), most),
    )


def spread_of(facts: NoiseFacts, *, upper: bool = False) -> UnitSpread:
    """Of a quantity between units, at the components' estimates or at their upper limits; a
    component without a limit stays at its estimate, one that is not known counts as none."""
    parts = (facts.base, facts.training, facts.evaluation)
    base, training, evaluation = (_variance(part, upper=upper) for part in parts)
    return UnitSpread(base=base, training=training, evaluation=evaluation)


def common_of(facts: NoiseFacts, size: Size, *, upper: bool = False) -> Common:
    """What units share, which more samples leave as it is; of likelihood these are the images."""
    if facts.common is None:
        return NOTHING_COMMON
    variance = _variance(facts.common, upper=upper)
    variance /= size.images if facts.kind == "nll" else 1
    return Common(variance=variance, degrees_of_freedom=facts.common.degrees_of_freedom)


def _variance(part: Component, *, upper: bool) -> float:
    known = [
        one for one in (part.high if upper else math.nan, part.estimate) if not math.isnan(one)
    ]
    return known[0] if known else 0.0


def samples_wanted(table: NoiseTable, quantity: str, extractor: str, *, seeds: int) -> int | None:
    """The fewest samples, in steps, at which measuring adds at most a quarter to the variance
    between units, by the distance in this feature space.

    None where the table has it not, or where units differ by nothing else.
    """
    wanted = (
        q
        for q in table.quantities
        if q.quantity == quantity and q.extractor == extractor and q.kind in ("fd", "fid")
    )
    facts = next(wanted, None)
    if facts is None:
        return None
    spread = spread_of(facts)
    others = spread.base + spread.training / seeds
    if not others > 0:
        return None
    needed = spread.evaluation / (EVALUATION_SHARE * others)
    return SAMPLE_STEP * max(1, math.ceil(needed / SAMPLE_STEP))


def power_at(spreads: Iterable[SpreadFacts], units: int) -> float:
    """Of the weakest of these tests over so many units; none where untrained plans lose nothing."""
    return min(
        power_of(
            one.margin,
            one.deviation,
            units,
            Common(variance=one.common, degrees_of_freedom=one.common_freedom),
        )
        if one.margin > 0
        else 0.0
        for one in spreads
    )


Spreads = Mapping[str, Mapping[str, tuple[SpreadFacts, ...]]]


def planned_spreads(found: Iterable[Outlook], metrics: Collection[Metric]) -> Spreads | None:
    """`StudyFile.spreads`, by line and name of a metric that may decide, or is mean NLL; None where
    nothing was planned."""
    spreads: dict[str, dict[str, tuple[SpreadFacts, ...]]] = {}
    for one, metric in product(found, metrics):
        same = (metric.kind, metric.extractor) == (one.kind, one.extractor)
        if same and one.spreads and (metric.decides or metric.name == NLL.name):
            spreads.setdefault(one.key, {})[metric.name] = one.spreads
    return spreads or None


def planned_power(spreads: Spreads | None, units: int) -> dict[str, dict[str, float]] | None:
    """`StudyFile.power` of so many units."""
    if spreads is None:
        return None
    return {
        key: {name: power_at(tests, units) for name, tests in of.items()}
        for key, of in spreads.items()
    }
