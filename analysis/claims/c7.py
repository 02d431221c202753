"""C7: one model serves every depth at no cost.

The full network of the progressive schedule must be no worse than that of the control, which was
trained as long without subnets.
"""

from analysis.claims.claim import Claim, LedgerRow
from analysis.claims.rules import FULL_MARGIN, Case, ruled, untested
from analysis.statistics.levels import FULL

CLAIM = Claim(
    id="C7",
    short="one model at no cost",
    sentence="One model serves every depth, switched at run time, at no cost.",
    published="a single checkpoint of 2.0 billion parameters",
    needs="needs the control and the progressive schedule",
)


def judge(case: Case) -> LedgerRow:
    """A margin a metric."""
    way, control = case.levels.progressive, case.levels.control
    if way is None or control is None:
        return untested(CLAIM, case.setting)
    components = []
    for metric in case.metrics:
        label = f"full network of {way.name} against the control's"
        places = (way.name, FULL), (control.name, FULL)
        components += case.compared(label, metric, *places, FULL_MARGIN)
    rests_on = f"{way.name} full against {control.name} full, of one budget"
    return ruled(CLAIM, case, components, tests=1, rests_on=rests_on)
