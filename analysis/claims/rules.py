"""The rules that all claims share, written before any run.

*What decides.* The Frechet distance of samples (FID with Inception features) in the study's first
feature space: the paper's kind of metric. The second space, which knows nothing of classes, has a
say only where its own test points the other way: *metrics disagree*. Likelihood has a line of its
own. No line overrules another.

*Who may decide.* No verdict below five units, nor of a quick run, nor of a distance on fewer
samples than twice its features, nor of a metric of samples that the ladder did not show to see
damage of the claim's zones (all of them where the full network is tested), nor of a share of a
damage that is not clear of zero: all these *cannot resolve*. What is neither reproduced nor
contradicted is *inconclusive*, or *cannot resolve* where the planned power at a true loss of zero
was below 80 %. A decided test stands whatever its power.

*Tests.* Directions are two-sided t tests over units. No loss is non-inferiority, one-sided, by the
linear contrast of `analysis.statistics.noninferiority`: a gain is no loss, a loss beyond the margin
contradicts. Holm's correction runs over tests any of which would do; there is none where all must
hold.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from analysis import numbers
from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.metrics import NLL, Metric
from analysis.statistics.intervals import SIGNIFICANCE, Verdict, holm, p_beyond, significant_sign
from analysis.statistics.noninferiority import noninferiority
from analysis.statistics.power import POWER
from analysis.statistics.units import LEAST_UNITS, Observations, common_of
from analysis.study_file import ScaleZone, StudyFile

DECIDED = (Verdict.REPRODUCED, Verdict.CONTRADICTED)
LATE: tuple[ScaleZone, ...] = ("late",)
EVERY: tuple[ScaleZone, ...] = get_args(ScaleZone)  # of the full network
UNCLEAR = "the untrained damage is not clear of zero"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one metric says of a claim, before it is asked whether it may decide.

    Attributes:
        tests: those that decide.
        said: the estimates in words.
        heads: what comes before these where the claim is reproduced, and where contradicted.
        beside: tests that are shown and decide nothing.
    """

    tests: tuple[Evidence, ...]
    supports: bool
    contradicts: bool
    said: str
    heads: tuple[str, str]
    beside: tuple[Evidence, ...] = ()


Ask = Callable[[Metric], Answer | None]
"""A question to a metric; None where the study lacks what it needs."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A claim, or a part of it, as any metric can be asked.

    Attributes:
        zones: whose damage a metric of samples must have seen on the ladder.
    """

    claim: Claim
    part: str = ""
    zones: tuple[ScaleZone, ...] = LATE

    @property
    def key(self) -> str:
        """Its name in `StudyFile.power`."""
        return f"{self.claim.id} {self.part}".strip()

    def lines(self, study: StudyFile, metrics: Sequence[Metric], ask: Ask) -> tuple[Line, Line]:
        """Sample quality and likelihood, by the rules of this module.

        Args:
            metrics: the frame's headline metrics.
        """
        first, second = (_distance(study, metrics, space) for space in (0, 1))
        quality = self._line(study, first, ask, Kind.QUALITY)
        other = self._line(study, second, ask, Kind.QUALITY)
        quality = replace(quality, tests=(*quality.tests, *other.tests))
        if {quality.verdict, other.verdict} == set(DECIDED):
            said = f"the second feature space says {other.verdict.value}: {other.said}"
            quality = replace(quality, verdict=Verdict.DISAGREE, reason=said)
        nll = next((m for m in metrics if m.kind == "nll"), None)
        return quality, self._line(study, nll, ask, Kind.LIKELIHOOD)

    def _line(self, study: StudyFile, metric: Metric | None, ask: Ask, kind: Kind) -> Line:
        answer = None if metric is None else ask(metric)
        if metric is None or answer is None:
            verdict, needs = Verdict.UNTESTED, self.claim.needs
            return Line(kind=kind, part=self.part, verdict=verdict, reason=needs)
        power = (study.power or {}).get(self.key, {}).get(metric.name)
        verdict = Verdict.INCONCLUSIVE
        if answer.supports or answer.contradicts:
            verdict = Verdict.REPRODUCED if answer.supports else Verdict.CONTRADICTED
        reason = self._unresolved(study, metric, answer)
        if not reason and verdict is Verdict.INCONCLUSIVE and power is not None and power < POWER:
            reason = f"planned power {numbers.percent(power)} at a true loss of zero, below "
            reason += numbers.percent(POWER)
        verdict = Verdict.UNRESOLVED if reason else verdict
        heads = dict(zip(DECIDED, answer.heads, strict=True))
        said = f"{heads[verdict]}: {answer.said}" if verdict in heads else answer.said
        planned = tuple(t if t.margin is None else replace(t, power=power) for t in answer.tests)
        return Line(
            kind=kind,
            part=self.part,
            verdict=verdict,
            said=said,
            tests=(*planned, *answer.beside),
            reason=reason or self._rests_on(study, metric, answer, power),
        )

    def _unresolved(self, study: StudyFile, metric: Metric, answer: Answer) -> str:
        """Why this metric may not decide; empty where it may."""
        units = min(len(test.units) for test in answer.tests)
        clear = all(test.clear for test in answer.tests)
        return undecided(study, metric, units, self.zones) or ("" if clear else UNCLEAR)

    def _rests_on(
        self, study: StudyFile, metric: Metric, answer: Answer, power: float | None
    ) -> str:
        units = min(len(test.units) for test in answer.tests)
        said = [f"t over {units} units"]
        if any(not math.isnan(test.p_holm) for test in answer.tests):
            said.append("Holm where any test would do")
        if any(test.margin is not None for test in answer.tests):
            shown = "not planned" if power is None else numbers.percent(power)
            said.append(f"power {shown}")
        return "; ".join(said)


def undecided(
    study: StudyFile, metric: Metric, units: int, zones: Sequence[ScaleZone] = LATE
) -> str:
    """Why a test of so many units may not decide by this metric; empty where it may.

    Args:
        zones: whose damage a metric of samples must have seen on the ladder.
    """
    features = {one.name: one.features for one in study.extractors}.get(metric.extractor or "")
    saw = {zone: _saw(study, metric, zone) for zone in zones if metric.kind != NLL.kind}
    blind = [zone for zone, seen in saw.items() if seen is False]
    if study.quick:
        return "a quick run: not a result"
    if study.pending:
        return f"not finished: {study.pending:,} cells are to come"
    if units < LEAST_UNITS:
        counted = "one unit" if units == 1 else f"{units} units"
        return f"{counted}; a verdict needs {LEAST_UNITS}"
    if features and study.sampling.samples < 2 * features:
        return f"{study.sampling.samples} samples are fewer than twice {features} features"
    if None in saw.values():
        return "no ladder was climbed with these features at so many samples"
    if blind:
        return f"{metric.short} failed the ladder at the {' and '.join(blind)} scales"
    return ""


def deciding(
    study: StudyFile, metrics: Sequence[Metric], zones: Sequence[ScaleZone] = LATE
) -> frozenset[str]:
    """Names of the metrics that may decide, where there are units enough."""
    return frozenset(m.name for m in metrics if not undecided(study, m, LEAST_UNITS, zones))


def _distance(study: StudyFile, metrics: Sequence[Metric], space: int) -> Metric | None:
    """The Frechet distance of a feature space."""
    names = [extractor.name for extractor in study.extractors[space : space + 1]]
    distances = (m for m in metrics if m.kind in ("fid", "fd"))
    return next((m for m in distances if m.extractor in names), None)


def _saw(study: StudyFile, metric: Metric, zone: ScaleZone) -> bool | None:
    """Whether a metric of samples saw a zone's damage on the ladder; None where none was run."""
    return (study.ladder or {}).get(metric.name, {}).get(zone)


def enough(observed: Observations) -> bool:
    return len(observed.units) >= LEAST_UNITS


def direction(label: str, metric: Metric, observed: Observations) -> Evidence:
    """A two-sided test of a mean difference; positive supports the claim."""
    interval = observed.interval()
    return Evidence(
        label=label,
        metric=metric,
        interval=interval,
        p_value=interval.p_value,
        outcome=enough(observed) * significant_sign(interval, interval.p_value),
        observed=observed,
    )


def any_of(tests: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Directions of which any would do: with Holm's correction over them."""
    adjusted = holm([test.p_value for test in tests])
    return tuple(
        replace(test, p_holm=float(p), outcome=test.outcome if p < SIGNIFICANCE else 0)
        for test, p in zip(tests, adjusted, strict=True)
    )


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss to be held against a share of an untrained damage.

    Attributes:
        observed: the loss, unit by unit; positive is worse.
        untrained: the damage that training was there to undo.
        margin: a share of it.
    """

    label: str
    observed: Observations
    untrained: Observations
    margin: float

    @property
    def paired(self) -> tuple[Observations, Observations]:
        """Both, of the units that have both."""
        one, other = self.observed, self.untrained
        return one.minus(other.times(0.0)), other.minus(one.times(0.0))


def no_losses(metric: Metric, losses: Sequence[Loss]) -> tuple[Evidence, ...] | None:
    """Whether each loss is below its margin, all of which must hold, or any beyond it, which would
    contradict: so Holm's correction runs over the latter. None where one has no unit."""
    pairs = [loss.paired for loss in losses]
    if not all(observed for observed, _ in pairs):
        return None
    found = [
        noninferiority(
            observed.values, untrained.values, loss.margin, common_of(observed, untrained)
        )
        for loss, (observed, untrained) in zip(losses, pairs, strict=True)
    ]
    beyond = holm([one.p_loss for one in found])
    tests = []
    for loss, (observed, untrained), one, p_holm in zip(losses, pairs, found, beyond, strict=True):
        below = one.p_no_loss < one.p_loss
        # Of one unit its samples say whether there was damage; no verdict hangs on it.
        alone = len(untrained.units) == 1
        p_untrained = p_beyond(untrained.interval(), 0.0) if alone else one.p_untrained
        clear = p_untrained < SIGNIFICANCE
        significant = (one.p_no_loss if below else p_holm) < SIGNIFICANCE
        decides = enough(observed) and clear and significant
        tests.append(
            Evidence(
                label=loss.label,
                metric=metric,
                interval=observed.interval(),
                margin=loss.margin,
                share=one.share,
                p_value=one.p_no_loss if below else one.p_loss,
                p_holm=math.nan if below or len(losses) == 1 else float(p_holm),
                clear=clear,
                outcome=(1 if below else -1) if decides else 0,
                observed=observed,
            )
        )
    return tuple(tests)


def remains(test: Evidence, *, full: bool) -> str:
    """`3.1 [1.2, 5.0] % of the untrained damage remains (margin 5 %)`, with Fieller's 90 %
    interval, or is gained; for the full network, what was lost or gained as a share of what half
    the layers lose untrained. Where that damage is not clear of zero, a share of it means nothing:
    the loss itself, in the metric's unit."""
    if test.share is None or test.margin is None or test.metric is None:
        return ""
    if not test.clear:
        return f"loss {numbers.interval(test.interval)}, {UNCLEAR}"
    whose, of = "half the layers'" if full else "the", "damage"
    if test.metric.kind == "nll":
        of = "loss"
    share, became = test.share, "lost" if full else "remains"
    ends = [100 * end for end in share.ends]
    if share.estimate < 0:
        ends, became = [-ends[0], -ends[2], -ends[1]], "gained"
    size = numbers.estimate(*ends, signed=False) if share.bounded else numbers.number(ends[0])
    margin = numbers.percent(test.margin)
    return f"{size} % of {whose} untrained {of} {became} (margin {margin})"


def all_of(lines: Sequence[Line]) -> Verdict:
    """Of a claim all of whose parts must hold: the worst of the lines that decide. Where some were
    measured and others not, and nothing speaks against it, *inconclusive*."""
    verdicts = [line.verdict for line in lines if line.decides]
    if len(set(verdicts)) == 1:
        return verdicts[0]
    worst = (Verdict.CONTRADICTED, Verdict.DISAGREE, Verdict.UNRESOLVED)
    return next((verdict for verdict in worst if verdict in verdicts), Verdict.INCONCLUSIVE)


def judged(claim: Claim, study: StudyFile, lines: Sequence[Line]) -> LedgerRow:
    """The row of a claim on which the first of its lines decides."""
    verdict = lines[0].verdict
    return LedgerRow(claim=claim, setting=setting_of(study), verdict=verdict, lines=tuple(lines))


def untested(claim: Claim, setting: str, *, kind: Kind = Kind.QUALITY, but: str = "") -> LedgerRow:
    """The row of a claim on which a study says nothing, for want of what the claim needs."""
    verdict = Verdict.UNTESTED
    line = Line(kind=kind, verdict=verdict, reason=f"{claim.needs}{but}")
    return LedgerRow(claim=claim, setting=setting, verdict=verdict, lines=(line,))


def setting_of(study: StudyFile) -> str:
    """What any verdict is conditional on."""
    return f"analogue on {study.dataset.name}"
