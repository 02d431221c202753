"""C1: early scales need depth.

Sentence: Early scales need depth and late ones do not: running half the layers on the early scales
hurts more than on the late scales, without any training.

Published: ImageNet, VAR-d30, per window: FID 1.95 (full) rises to 12.91 with half the layers on
scales 1–3, to 8.5 on 4–6, to 5.42 on 7–10.

Estimand: A, the damage of half the layers on the early window minus that on the late window, each
against the full network of the same base, per window as published. The windows come with the
preset, chosen by their shares of the tokens before any run.

Rule: A two-sided t test of A over base networks. Reproduced where A is positive, contradicted where
it is negative. A metric must have seen damage of both windows on the ladder. Teacher-forced NLL is
shown and never decides, since it feeds every scale the true earlier tokens and so hides how errors
propagate. Rates (per token, per byte or FLOP saved) are statements about efficiency, and the
triangle of other windows is descriptive: neither decides.

Needs: needs no training: python -m studies.sensitivity tests it.
"""

from analysis import numbers
from analysis.claims.rows import Claim, LedgerRow
from analysis.claims.rules import Answer, Question, direction, judged
from analysis.metrics import Metric
from analysis.statistics.asymmetry import PRIMARY, AsymmetryStudy
from analysis.study_file import SensitivityFile

CLAIM = Claim.stated(__file__)


def judge_c1(found: AsymmetryStudy, study: SensitivityFile) -> LedgerRow:
    estimates = {a.metric: a for a in found.under(PRIMARY)}

    def ask(metric: Metric) -> Answer | None:
        if metric not in estimates:
            return None
        test = direction(f"A {PRIMARY.value}", metric, estimates[metric].observed)
        more = test.interval.estimate > 0
        cost = test.interval if more else estimates[metric].observed.times(-1).interval()
        return Answer(
            tests=(test,),
            supports=test.outcome > 0,
            contradicts=test.outcome < 0,
            said=f"half the layers cost {numbers.interval(cost, signed=False)} more in "
            f"{metric.short} on the {'early' if more else 'late'} scales",
            heads=("the early scales need depth more", "the late scales need depth more"),
        )

    question = Question(claim=CLAIM, zones=("early", "late"))
    return judged(CLAIM, study, question.lines(study, tuple(estimates), ask))
