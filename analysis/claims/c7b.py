"""C7b: switching costs nothing.

Sentence: Depth is switched at run time, at no cost, in one model.

Published: A single checkpoint whose depth is chosen at each generation; no timing.

Estimand: The time of a generation under a depth plan right after one under another plan, over that
of one after the same plan, less one: the mean over the plans, turn by turn.

Rule: Non-inferiority over turns, margin 2 %, one-sided at 5 % by Student's t, since the sentence is
about a machine and a sampler, and its turns are the repeats. Reproduced where the loss is shown to
be below the margin at every batch size, contradicted where it is shown to be beyond it at one. A
verdict needs five turns and no quick run. Graphs that were compiled meanwhile are said.

Needs: needs timings by turns of a sampler that switches, which studies.efficiency takes.
"""

from analysis.claims.costs import Costs
from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.claims.rules import all_of, setting_of, untested
from analysis.claims.trained import Trained
from analysis.maps.generation import Sampling
from analysis.statistics.intervals import SIGNIFICANCE, Verdict, p_beyond, paired_t
from analysis.statistics.units import LEAST_UNITS

CLAIM = Claim.stated(__doc__)
MARGIN = 0.02


def judge(case: Trained) -> LedgerRow:
    return untested(CLAIM, setting_of(case.study), kind=Kind.TIMING)


def judge_costs(case: Costs) -> LedgerRow:
    lines = tuple(_line(one) for one in case.samplings if not one.switched.empty)
    if not lines:
        return untested(CLAIM, case.study.measured_on, kind=Kind.TIMING)
    return LedgerRow(
        claim=CLAIM, setting=case.study.measured_on, verdict=all_of(lines), lines=lines
    )


def _line(one: Sampling) -> Line:
    lost = one.switched.mean(axis=0) - 1  # over the plans, turn by turn
    interval, enough = paired_t(lost), len(lost) >= LEAST_UNITS and not one.study.quick
    beyond = p_beyond(interval, MARGIN)
    below = 1 - beyond
    outcome = enough * ((below < SIGNIFICANCE) - (beyond < SIGNIFICANCE))
    verdicts = {
        1: Verdict.REPRODUCED,
        0: Verdict.INCONCLUSIVE if enough else Verdict.UNRESOLVED,
        -1: Verdict.CONTRADICTED,
    }
    test = Evidence(
        label=f"batch {one.batch}: time lost after another plan, as a share",
        interval=interval,
        p_value=min(below, beyond),
        outcome=outcome,
        note=f"margin {100 * MARGIN:.0f} %",
    )
    return Line(
        kind=Kind.TIMING,
        part=f"batch {one.batch}",
        verdict=verdicts[outcome],
        said=f"{100 * interval.estimate:+.1f} % after another plan (margin {100 * MARGIN:.0f} %)",
        tests=(test,),
        reason=f"{len(lost)} turns of {len(one.switched)} plans; {one.recompilations} graphs "
        "compiled meanwhile",
    )
