"""What a sensitivity study says of claim C1, by the rule of `analysis.statistics.asymmetry`."""

from analysis.claims.rules import Claim, Component, LedgerRow
from analysis.statistics.asymmetry import PRIMARY, AsymmetryStudy
from analysis.statistics.intervals import Verdict

CLAIM = Claim(
    id="C1",
    short="early scales need depth",
    sentence=(
        "Early scales need depth and late ones do not: running half the layers on the early "
        "scales hurts more than on the late scales, without any training."
    ),
    published=(
        "ImageNet, VAR-d30, per window: FID 1.95 (full) rises to 12.91 with half the layers on "
        "scales 1\u20133, to 8.5 on 4\u20136, to 5.42 on 7\u201310"
    ),
    needs="needs no training: python -m studies.sensitivity tests it",
)


def judge_c1(study: AsymmetryStudy, *, dataset: str) -> LedgerRow:
    """The verdict on C1 by the rule that `analysis.statistics.asymmetry` fixed."""
    return LedgerRow(
        claim=CLAIM,
        setting=f"analogue on {dataset}",
        verdict=study.verdict(),
        components=tuple(
            Component(
                label=f"A {PRIMARY.value}",
                metric=a.metric,
                interval=a.difference,
                p_value=a.difference.p_value,
                p_holm=a.p_holm,
                outcome=a.sign,
            )
            for a in study.evidence
        ),
        rests_on=_rests_on(study),
    )


def _rests_on(study: AsymmetryStudy) -> str:
    """Statistic, counts and correction."""
    if not study.evidence:
        return "no pair of finished early and late windows"
    networks, first = max(a.base_seeds for a in study.evidence), study.evidence[0]
    metrics, sets = len(study.evidence), first.sets // networks
    over = (
        f"base networks ({networks})" if study.over_seeds else "disjoint sets of one base network"
    )
    return (
        f"A {PRIMARY.value} at depth {study.half_depth}, Student's t over {over}, "
        f"{sets} {'set' if sets == 1 else 'sets'} of {first.count // first.sets} samples a "
        f"network, Holm over {metrics} {'metric' if metrics == 1 else 'metrics'}"
    )


def dissent(study: AsymmetryStudy) -> list[str]:
    """What the other normalisations say, where it is not the claim's verdict."""
    verdict = study.verdict()
    verdicts = {} if verdict is Verdict.UNTESTED else study.verdicts
    return [
        f"{normalisation.sentence_start} the verdict would be: {other.value}."
        for normalisation, other in verdicts.items()
        if normalisation is not PRIMARY and other not in (verdict, Verdict.UNTESTED)
    ]


def nll_dissent(study: AsymmetryStudy) -> list[str]:
    """What teacher-forced NLL says under the primary normalisation, where it differs."""
    verdict = study.verdict()
    wanted = {Verdict.REPRODUCED: 1, Verdict.CONTRADICTED: -1}.get(verdict, 0)
    sides = {1: "the early scales", -1: "the late scales", 0: "neither side"}
    return [
        f"{PRIMARY.sentence_start}, teacher-forced NLL, which never decides, points to "
        f"{sides[a.sign]}."
        for a in study.under(PRIMARY)
        if verdict is not Verdict.UNTESTED and not a.metric.decides and a.sign != wanted
    ]
