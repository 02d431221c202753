"""How claims about trained networks are decided; all rules and margins were written before any run.

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

Source of claims and published figures: VARiant, arXiv 2511.16546v1 and its CVPR 2026 version.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.metrics import Metric
from analysis.statistics.intervals import (
    SIGNIFICANCE,
    Interval,
    Verdict,
    holm,
    p_beyond,
    p_within,
    verdict_of_signs,
)
from analysis.statistics.levels import Levels, Place, PlanKey, Way
from analysis.statistics.units import Observations
from analysis.study_file import ParetoFile

LEAST_SEEDS = 5


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, in short and whole, with the figures it published.

    Attributes:
        needs: what a study has to have so that it can be tested, as a reason why it was not.
    """

    id: str
    short: str
    sentence: str
    published: str
    needs: str


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
    interval: Interval
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


def deciding_metrics(metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Those of a frame's headline metrics that decide claims of trained networks."""
    return tuple(m for m in metrics if m.kind in ("fd", "fid", "nll"))


@dataclass(frozen=True, kw_only=True)
class Margin:
    """What counts as no loss: nats/token of NLL, and a share of a reference's distance."""

    share: float
    nats: float

    def of(self, levels: Levels, metric: Metric, reference: Place) -> float:
        """In the metric's unit; NaN where the reference has no number."""
        if metric.kind == "nll":
            return self.nats
        return self.share * levels.value(reference, metric.name)


# Full networks count as equal within 5 % of the control's Frechet distance: retraining alone moves
# FID by 1-2 % (arXiv 2606.20536), and the published full networks lie within 1 %. In nats a
# fiftieth, a tenth of what half the layers cost the small network without training.
FULL_MARGIN = Margin(share=0.05, nats=0.02)
# "Nearly free": the published losses are 5 and 9 % of FID.
FREE_MARGIN = Margin(share=0.10, nats=0.05)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a claim is judged from."""

    study: ParetoFile
    levels: Levels

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return deciding_metrics(self.levels.metrics)

    @property
    def setting(self) -> str:
        return f"analogue on {self.study.dataset.name}"

    def subnet(self, parts: int) -> PlanKey | None:
        """The trained plan of so small a part of the layers; None where not measured."""
        wanted = max(1, self.study.geometry.depth // parts)
        if wanted not in self.study.depths:
            return None
        return PlanKey(subnet_depth=wanted, switch=self.study.train_switch)

    @property
    def fixed_ends(self) -> tuple[Way, Way] | None:
        """The fixed schedules of the smallest and of the largest share, where there are two."""
        fixed = sorted(self.levels.fixed, key=lambda way: way.share or 0.0)
        return (fixed[0], fixed[-1]) if len(fixed) > 1 else None

    def compared(
        self, label: str, metric: Metric, one: Place, other: Place, margin: Margin | None = None
    ) -> list[Component]:
        """A test of whether one place is worse than the other, or within a margin of it."""
        observed = self.levels.paired(one, other, metric.name)
        most = None if margin is None else margin.of(self.levels, metric, other)
        return tested(label, metric, observed, margin=most)


def tested(
    label: str,
    metric: Metric,
    observed: Observations,
    *,
    margin: float | None = None,
    note: str = "",
) -> list[Component]:
    """A test of whether a mean is zero, or within a margin; none where nothing was observed.

    Its outcome is what it says if its p is small enough. For a margin both questions are asked,
    equivalent and beyond. Unless the loss is the margin exactly, one of the two null hypotheses is
    false and only the other can be rejected wrongly: so a component counts once, with the smaller
    of its two p values.
    """
    if not observed:
        return []
    interval, p, outcome = observed.interval(), math.nan, 1
    if margin is None:
        p, outcome = interval.p_value, int(np.sign(interval.estimate))
    elif margin > 0:
        p, beyond = p_within(interval, margin), p_beyond(interval, margin)
        if beyond < p:
            p, outcome, note = beyond, -1, "p of a loss beyond the margin"
    return [
        Component(
            label=label,
            metric=metric,
            interval=interval,
            margin=margin,
            p_value=p,
            outcome=outcome,
            seeds=observed.units,
            note=note,
        )
    ]


def _decided(components: Sequence[Component]) -> tuple[Component, ...]:
    """The components with Holm's correction over them; only significant ones have an outcome."""
    adjusted = holm([component.p_value for component in components])
    return tuple(
        replace(c, p_holm=float(p), outcome=c.outcome if p < SIGNIFICANCE else 0)
        for c, p in zip(components, adjusted, strict=True)
    )


def _combined(components: Sequence[Component], *, tests: int) -> Verdict:
    """The verdict over metrics of `tests` components each; see this module's docstring."""
    metrics: dict[Metric | None, list[int]] = {}
    for component in components:
        metrics.setdefault(component.metric, []).append(component.outcome)
    whole = [outcomes for outcomes in metrics.values() if len(outcomes) == tests]
    supports = any(all(o > 0 for o in outcomes) for outcomes in whole)
    contradicts = any(any(o < 0 for o in outcomes) for outcomes in metrics.values())
    return verdict_of_signs([int(supports), -int(contradicts)])


def ruled(
    claim: Claim, case: Case, components: Sequence[Component], *, tests: int, rests_on: str
) -> LedgerRow:
    """The row of a claim that takes `tests` components of a metric."""
    if not components:
        return untested(claim, case.setting)
    decided = _decided(components)
    row = LedgerRow(
        claim=claim,
        setting=case.setting,
        verdict=_combined(decided, tests=tests),
        components=decided,
        rests_on=rests_on,
    )
    seeds = min(len(c.seeds) for c in decided)
    said = f"{seeds} training seeds; a verdict needs {LEAST_SEEDS}" if seeds < LEAST_SEEDS else ""
    if seeds == 1:
        said = "one training seed: training variance is not measured"
    if case.study.quick:
        said = "a quick run: not a result"
    if said:
        return replace(row, verdict=Verdict.INCONCLUSIVE, reason=said)
    reason = f"t over {seeds} training seeds, Holm over {len(decided)} tests"
    if all(sum(c.metric == d.metric for d in decided) < tests for c in decided):
        reason += "; only part of the claim was measured"
    return replace(row, reason=reason)


def untested(claim: Claim, setting: str, *, but: str = "") -> LedgerRow:
    """The row of a claim on which a study says nothing: for want of what the claim needs."""
    return LedgerRow(
        claim=claim, setting=setting, verdict=Verdict.UNTESTED, reason=f"{claim.needs}{but}"
    )
