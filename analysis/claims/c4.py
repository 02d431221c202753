"""C4: subnets are nearly free.

The progressive schedule's subnets of half and of a quarter of the layers must be no worse than the
full network of the control.
"""

from analysis.claims.claim import Claim, LedgerRow
from analysis.claims.rules import FREE_MARGIN, Case, ruled, untested
from analysis.statistics.levels import FULL

CLAIM = Claim(
    id="C4",
    short="subnets nearly free",
    sentence="Subnets of half and a quarter of the layers are nearly free in quality.",
    published="FID 2.05 (d16) and 2.12 (d8) against 1.95",
    needs="needs the control, the progressive schedule and its subnets",
)


def judge(case: Case) -> LedgerRow:
    """A margin a metric and subnet."""
    way, control = case.levels.progressive, case.levels.control
    wanted = dict.fromkeys((case.half, case.quarter))
    plans = [plan for plan in wanted if plan is not None]
    if way is None or control is None:
        return untested(CLAIM, case.setting)
    components = []
    for metric in case.metrics:
        for plan in plans:
            label = f"{plan.label} of {way.name} against the control's full network"
            places = (way.name, plan), (control.name, FULL)
            components += case.compared(label, metric, *places, FREE_MARGIN)
    shown = ", ".join(plan.label for plan in plans)
    rests_on = f"{way.name} {shown} against {control.name} full"
    return ruled(CLAIM, case, components, tests=len(wanted), rests_on=rests_on)
