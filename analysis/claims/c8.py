"""C8: half the layers after a later switch.

Sentence: Half the layers after scale 7 instead of 6 is nearly free, with half the cache and 1.8
times the speed.

Published: The conference poster: FID + 0.3, half the cache, 1.8 times. By our arithmetic d16@7
saves 36 % as the reference keeps its cache (47 % freed), and FLOPs allow 1.57 times at most.

Estimand: The loss of half the layers one scale after the switch point that such networks are
trained for by default (or one after the study's own), of a progressive schedule that was trained
for that later point, against the full network that training began from, as a share of that plan's
untrained damage.

Rule: Non-inferiority over units, margin 10 %: the published 0.3 is 8.6 % of the untrained damage of
d16@6, that of d16@7 not being published. Reproduced where the loss is shown to be below it,
contradicted where it is shown to be beyond. A model trained for another switch point decides
nothing. Cache and speed are lines beside it and decide nothing alone: "half the cache" by
arithmetic of VAR-d30, agreeing within 5 points of half, as the reference keeps it and as it could
be freed (both shares were known when the 5 points were set); "1.8 times" within 0.05 of the range
of the repeats of d16@7 at batch 64 on a GPU.

Needs: needs the base and models trained for a switch point one scale later (--train-switch).
"""

from analysis.claims.costs import Costs, speedup_test
from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.claims.rules import Question, judged, untested
from analysis.claims.trained import PAPERS, Trained
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import FULL, PlanKey

CLAIM = Claim.stated(__file__)
PLAN = PlanKey(16, 7)
HALF, HALF_TOLERANCE = 0.5, 0.05
SPEEDUP = 1.8
MARGIN = 0.10


def judge(case: Trained) -> LedgerRow:
    study = case.study
    itself = study.default_switch is not None and study.train_switch == study.default_switch + 1
    later = study.train_switch if itself else study.train_switch + 1
    plan = case.subnet(2, switch=later)
    lines = case.no_loss(Question(claim=CLAIM), case.progressive(later), plan, margin=MARGIN)
    return judged(CLAIM, case.study, lines)


def judge_costs(case: Costs) -> LedgerRow:
    """Of the study that measures costs: its lines, and a verdict that quality alone could give."""
    quality = untested(CLAIM, PAPERS)
    cost = case.study.paper_cost
    lines = [*quality.lines]
    if {PLAN.label, FULL.label} <= cost.keys():
        mine, full = cost[PLAN.label], cost[FULL.label]
        freed = f"FLOPs allow {1 / mine.flops_share:.2f} times"
        lines += [
            _cache("as the reference keeps it", 1 - mine.kv_mib_reference / full.kv_mib_reference),
            _cache("freed", 1 - mine.kv_mib_limit / full.kv_mib_limit, reason=freed),
        ]
    timed = PLAN.label in case.study.plans and not case.study.quick
    if timed and (sampling := case.papers) is not None:
        test = speedup_test(sampling, PLAN, SPEEDUP)
        said = f"{test.interval.estimate:.2f} times as fast, published {SPEEDUP}"
        where = case.study.measured_on
        lines.append(Line.agreeing(Kind.TIMING, "speed", (test,), said=said, reason=where))
    return LedgerRow(claim=CLAIM, setting=PAPERS, verdict=quality.verdict, lines=tuple(lines))


def _cache(part: str, saved: float, *, reason: str = "arithmetic, no interval") -> Line:
    test = Evidence(
        label=f"{PLAN.label}: KV saved, {part}",
        interval=Interval(estimate=saved, low=saved, high=saved),
        outcome=1 if abs(saved - HALF) <= HALF_TOLERANCE else -1,
        note="published: half",
    )
    said = f"{100 * saved:.0f} % of the cache"
    return Line.agreeing(Kind.ARITHMETIC, part, (test,), said=said, reason=reason)
