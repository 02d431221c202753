"""Plans chosen within memory budgets: on select images, over all schedules; reported on test.

A plan may stand in for the base's full network where a loss of `HALF_MARGIN` of what half the
layers lose untrained, at the study's switch point, is excluded: one measure for all plans of a
study, whatever their depth and switch, and for every metric. Claims hold each plan against its own
untrained damage instead; that of a late switch is so small that the drift of the base in training
would exceed it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from analysis.metrics import SELECT
from analysis.statistics.fronts import KV
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import Levels, Place, PlanKey
from analysis.statistics.noninferiority import CONFIDENCE, HALF_MARGIN
from analysis.statistics.units import LEAST_UNITS

JUDGING = ("fd", "fid", "nll")  # kinds of metric that a verdict rests on


@dataclass(frozen=True, kw_only=True)
class ChosenPlan:
    """The best plan within a memory budget, chosen on select images, reported on test images.

    Attributes:
        kv_share_limit, kv_share: of the full network's peak KV.
        unit: of the model to use: that of the best select NLL among the schedule's.
        select_nll: mean over units, in nats/token, which chose.
        test: metric name to its interval on test images.
        losses: name of a Frechet distance or of mean NLL to the paired loss against the base's full
            network, with its 90 % interval; empty without one.
        stands_in: whether each of these is acceptable, by the function of that name; None where it
            may not decide.
    """

    kv_share_limit: float
    kv_share: float
    schedule: str
    plan: PlanKey
    unit: int
    select_nll: float
    test: Mapping[str, Interval]
    losses: Mapping[str, Interval]
    stands_in: Mapping[str, bool | None]


def half_of(layers: int, depths: Collection[int], switch: int) -> PlanKey | None:
    """The plan of half the layers after a switch point; None where that depth was not measured."""
    half = max(1, layers // 2)
    return PlanKey(subnet_depth=half, switch=switch) if half in depths else None


def stands_in(levels: Levels, place: Place, metric: str, half: PlanKey | None) -> bool | None:
    """Whether a place may stand in for the base's full network, by the rule of this module.

    By the linear contrast of `analysis.statistics.noninferiority`, one-sided at 5 %, over units.
    None where these are fewer than a verdict needs, or show no untrained damage that is clear of
    zero.

    Args:
        half: the plan whose untrained damage measures losses; None where none was measured.
    """
    damage = levels.untrained(half, metric) if half else None
    if not damage or not damage.interval(confidence=CONFIDENCE).low > 0:
        return None
    contrast = levels.loss(place, metric).minus(damage.times(HALF_MARGIN))
    if len(contrast.units) < LEAST_UNITS:
        return None
    return contrast.interval(confidence=CONFIDENCE).high < 0


def choose_plans(
    levels: Levels,
    budgets: Sequence[float],
    *,
    full_kv: float,
    half: PlanKey | None,
    deciding: Collection[str],
) -> list[ChosenPlan]:
    """For each budget the plan and schedule of lowest select NLL, over units, that fits.

    Only what finished in as many units as anything did: one lucky unit beats no five.
    A budget that nothing fits has no plan. Any switch point may be chosen, trained for or not.

    Args:
        budgets: shares of `full_kv`, the peak cache of the full network in bytes.
        half: as for `stands_in`.
        deciding: metrics that may say whether a plan stands in; see `analysis.claims.rules`.
    """
    trained = {way.name for way in levels.ways if way is not levels.base}
    units = {
        place: found.by_unit
        for place in levels.places
        if place[0] in trained and (found := levels.observed(place, SELECT.name))
    }
    if not units:
        return []
    most = max(map(len, units.values()))
    means = {place: sum(f.values()) / most for place, f in units.items() if len(f) == most}
    shares = {place: levels.value(place, KV) / full_kv for place in means}
    chosen = []
    for budget in budgets:
        fitting = [place for place in means if shares[place] <= budget + 1e-9]
        if not fitting:
            continue
        best = min(fitting, key=lambda place: means[place])
        test = {m.name: levels.observed(best, m.name) for m in levels.metrics}
        judging = [m.name for m in levels.metrics if m.kind in JUDGING]
        losses = {name: loss for name in judging if (loss := levels.loss(best, name))}
        chosen.append(
            ChosenPlan(
                kv_share_limit=float(budget),
                kv_share=shares[best],
                schedule=best[0],
                plan=best[1],
                unit=min(units[best], key=lambda unit: units[best][unit]),
                select_nll=means[best],
                test={name: one.interval() for name, one in test.items() if one},
                # Their upper ends are the one-sided 95 % limits.
                losses={k: one.interval(confidence=CONFIDENCE) for k, one in losses.items()},
                stands_in={
                    name: stands_in(levels, best, name, half) if name in deciding else None
                    for name in losses
                },
            )
        )
    return chosen
