"""C7b: switching costs nothing.

Sentence: Depth is switched at run time, at no cost, in one model.

Published: A single checkpoint whose depth is chosen at each generation; no timing.

Estimand: The time of a generation under a depth plan right after one under another plan, over that
of one after the same plan, less one: the mean over the plans, turn by turn.

Rule: Non-inferiority over turns, margin 2 %, one-sided at 5 % by Student's t, since the sentence is
about a machine and a sampler, and its turns are the repeats. Reproduced where the loss is shown to
be below the margin at every batch size, contradicted where it is shown to be beyond it at one (Holm
over batch sizes). A verdict needs five turns and no quick run. Graphs that were compiled meanwhile
are said.

Needs: needs timings by turns of a sampler that switches, which studies.efficiency takes.
"""

import numpy as np

from analysis import numbers
from analysis.claims.costs import Costs
from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.claims.rules import all_of, setting_of, untested
from analysis.claims.trained import Trained
from analysis.maps.generation import Sampling
from analysis.statistics.intervals import SIGNIFICANCE, Verdict, holm, p_beyond, paired_t
from analysis.statistics.power import detectable
from analysis.statistics.units import LEAST_UNITS

CLAIM = Claim.stated(__file__)
MARGIN = 0.02


def most_deviation(turns: int) -> float:
    """The largest standard deviation of a turn, as a share of a generation, at which so many show
    no loss with a power of 80 % where there is none; 0 below two turns. How far turns move is the
    machine's, and in no noise table: this much can be said before they are timed."""
    return MARGIN / detectable(1.0, turns)


def judge(case: Trained) -> LedgerRow:
    return untested(CLAIM, setting_of(case.study), kind=Kind.TIMING)


def judge_costs(case: Costs) -> LedgerRow:
    timed = [one for one in case.samplings if not one.switched.empty]
    if not timed:
        return untested(CLAIM, case.study.measured_on, kind=Kind.TIMING)
    beyond = holm([p_beyond(paired_t(_lost(one)), MARGIN) for one in timed])
    lines = tuple(_line(one, float(p)) for one, p in zip(timed, beyond, strict=True))
    return LedgerRow(
        claim=CLAIM, setting=case.study.measured_on, verdict=all_of(lines), lines=lines
    )


def _lost(one: Sampling) -> np.ndarray:
    """(turns,) over the plans, turn by turn."""
    return np.asarray(one.switched.mean(axis=0)) - 1


def _line(one: Sampling, beyond: float) -> Line:
    """`beyond`: p of a loss beyond the margin, after Holm's correction over batch sizes."""
    lost = _lost(one)
    interval, enough = paired_t(lost), len(lost) >= LEAST_UNITS and not one.study.quick
    below = 1 - p_beyond(interval, MARGIN)
    outcome = enough * ((below < SIGNIFICANCE) - (beyond < SIGNIFICANCE))
    verdicts = {
        1: Verdict.REPRODUCED,
        0: Verdict.INCONCLUSIVE if enough else Verdict.UNRESOLVED,
        -1: Verdict.CONTRADICTED,
    }
    two_sided = paired_t(lost, confidence=1 - 2 * SIGNIFICANCE)  # as wide as the test is strict
    ends = (100 * end for end in two_sided.ends)
    test = Evidence(
        label=f"batch {one.batch}: time lost after another plan, as a share",
        interval=interval,
        p_value=min(below, beyond),
        outcome=outcome,
        note=f"margin {numbers.percent(MARGIN)}",
    )
    return Line(
        kind=Kind.TIMING,
        part=f"batch {one.batch}",
        verdict=verdicts[outcome],
        said=f"{numbers.estimate(*ends)} % after another plan, 90 % interval (margin "
        f"{numbers.percent(MARGIN)}; {numbers.p_value(min(below, beyond))})",
        tests=(test,),
        reason=f"{len(lost)} turns of {len(one.switched)} plans; {one.recompilations} graphs "
        "compiled meanwhile; power not planned",
    )
