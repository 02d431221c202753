"""Plans chosen within memory budgets: on select images, over all schedules; reported on test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.statistics.fronts import KV, non_inferior
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import Levels, PlanKey

SELECT, TEST = "select/nll/mean", "nll/mean"


@dataclass(frozen=True, kw_only=True)
class ChosenPlan:
    """The best plan within a memory budget, chosen on select images, reported on test images.

    Attributes:
        kv_share_limit, kv_share: of the full network's peak KV.
        unit: of the model to use: that of the best select NLL among the schedule's.
        select_nll: mean over units, in nats/token, which chose.
        test: metric name to its interval on test images.
        loss: paired test NLL against the base's full network, in nats/token, with its 90 %
            interval; None without one.
        non_inferior: whether that is acceptable, by `fronts.non_inferior`.
    """

    kv_share_limit: float
    kv_share: float
    schedule: str
    plan: PlanKey
    unit: int
    select_nll: float
    test: Mapping[str, Interval]
    loss: Interval | None
    non_inferior: bool | None


def choose_plans(levels: Levels, budgets: Sequence[float], *, full_kv: float) -> list[ChosenPlan]:
    """For each budget the plan and schedule of lowest select NLL, over units, that fits.

    Only what finished in as many units as anything did: one lucky unit beats no five.
    A budget that nothing fits has no plan. Any switch point may be chosen, trained for or not.

    Args:
        budgets: shares of `full_kv`, the peak cache of the full network in bytes.
    """
    trained = {way.name for way in levels.ways if way is not levels.base}
    units = {
        place: found.by_unit
        for place in levels.places
        if place[0] in trained and (found := levels.observed(place, SELECT))
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
        loss = levels.loss(best, TEST)
        test = {m.name: levels.observed(best, m.name) for m in levels.metrics}
        chosen.append(
            ChosenPlan(
                kv_share_limit=float(budget),
                kv_share=shares[best],
                schedule=best[0],
                plan=best[1],
                unit=min(units[best], key=lambda unit: units[best][unit]),
                select_nll=means[best],
                test={name: one.interval() for name, one in test.items() if one},
                # Its upper end is the one-sided 95 % limit.
                loss=loss.interval(confidence=0.90) if loss else None,
                non_inferior=non_inferior(loss),
            )
        )
    return chosen
