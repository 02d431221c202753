"""C3: progressive breaks the trade.

Sentence: The progressive schedule breaks that frontier, without loss to the full network.

Published: FID: full about 1.95, subnet about 2.05 (d16).

Estimand: The progressive schedule against the fixed share of 2/3, which is its own mean share, of
one budget: how much better it makes the full network and the subnet of half the layers, unit by
unit; and the worse of the two as a share of the untrained damage.

Rule: Reproduced where it is better on one of the two (two-sided t tests over units, Holm over both,
since either would do) and not inferior on the other (margins of 2 % of the untrained damage of half
the layers for the full network, 5 % for that subnet): both are needed. Contradicted where it is
inferior on either, beyond its margin (Holm over both). Shown beside it, deciding nothing: how far
the schedule lies beyond the polyline of all fixed shares in the plane of full network and subnet.
The schedule of the learning rate is a confound, since a decaying one starves the last phase, which
trains subnets only: a study speaks of its own, the other line stays untested.

Needs: needs the base, the progressive schedule, the fixed share 2/3 and half the layers.
"""

import math
from dataclasses import replace

from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.claims.rules import (
    EVERY,
    Answer,
    Question,
    any_of,
    direction,
    judged,
    no_losses,
    remains,
    setting_of,
    untested,
)
from analysis.claims.trained import Trained
from analysis.metrics import Metric
from analysis.statistics.fronts import trade
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import FULL, PlanKey, Way

CLAIM = Claim.stated(__file__)
MEAN_SHARE = 2 / 3  # of the progressive schedule 5 : 15 : 10 from 0.2 to 1
RATES = ("cosine", "constant")


def judge(case: Trained) -> LedgerRow:
    """Of the study's schedule of the learning rate; the other line says what it needs."""
    half, way = case.half, case.progressive()
    fixed = next((f for f in case.levels.fixed if math.isclose(f.share or 0, MEAN_SHARE)), None)
    if half is None or way is None or fixed is None:
        return untested(CLAIM, setting_of(case.study))
    here = case.study.lr_schedule
    lines = Question(claim=CLAIM, part=f"{here} rate", zones=EVERY).lines(
        case.study, case.levels.metrics, lambda metric: _answer(case, metric, (way, fixed), half)
    )
    others = [
        Line(
            kind=Kind.QUALITY,
            part=f"{other} rate",
            verdict=Verdict.UNTESTED,
            reason=f"needs a study with --lr-schedule {other}",
        )
        for other in RATES
        if other != here
    ]
    return judged(CLAIM, case.study, [*lines, *others])


def _answer(case: Trained, metric: Metric, ways: tuple[Way, Way], half: PlanKey) -> Answer | None:
    progressive, fixed = (way.name for way in ways)
    named = {"full network": FULL, half.label: half}
    losses = [
        case.loss(
            f"{name}: {progressive} no worse than {fixed}",
            metric,
            (progressive, plan),
            against=(fixed, plan),
        )
        for name, plan in named.items()
    ]
    kept = no_losses(metric, losses)
    if kept is None:
        return None
    better = any_of(
        [
            direction(f"{name}: {progressive} better than {fixed}", metric, loss.observed.times(-1))
            for name, loss in zip(named, losses, strict=True)
        ]
    )
    # A schedule that is worse by less than its margin does not speak against the claim.
    better = tuple(replace(test, outcome=max(test.outcome, 0)) for test in better)
    said = (
        f"{name}: {remains(test, full=plan.is_full)}"
        for (name, plan), test in zip(named.items(), kept, strict=True)
    )
    return Answer(
        tests=(*better, *kept),
        supports=any(better[i].outcome > 0 and kept[1 - i].outcome > 0 for i in (0, 1)),
        contradicts=any(test.outcome < 0 for test in kept),
        said="; ".join(said),
        heads=("better on one, no loss on the other", "beyond the margin"),
        beside=_beyond_the_chord(case, metric, progressive, half),
    )


def _beyond_the_chord(
    case: Trained, metric: Metric, progressive: str, half: PlanKey
) -> tuple[Evidence, ...]:
    """How far the schedule lies beyond the polyline through the fixed shares."""
    plane = trade(case.levels, metric, half)
    beyond = plane.beyond(progressive) if plane else None
    if beyond is None or not beyond.gap:
        return ()
    label = f"{half.label}: {progressive} beyond the fixed shares' polyline (decides nothing)"
    note = f"compared with an end of it in {beyond.clamped} of {len(beyond.gap.units)} units"
    shown = replace(direction(label, metric, beyond.gap), outcome=0)
    return (replace(shown, note=note) if beyond.clamped else shown,)
