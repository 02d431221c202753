"""What a sensitivity study says of claim C1, by the rule of `analysis.statistics.asymmetry`."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.claims.claim import Claim
from analysis.statistics.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy
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
)


@dataclass(frozen=True, kw_only=True)
class ClaimVerdict:
    """A claim beside our estimate of it."""

    claim: Claim
    setting: str  # where it was tested
    verdict: Verdict
    network_only: bool  # holds for the one base network of the study
    rests_on: str  # statistic, counts and correction
    evidence: tuple[Asymmetry, ...]  # the estimates that decided
    dissent: tuple[str, ...]  # sentences on which normalisations say otherwise
    nll_dissent: tuple[str, ...]  # the same of teacher-forced NLL, which never decides


def judge_c1(study: AsymmetryStudy, *, dataset: str) -> ClaimVerdict:
    """The verdict on C1 by the rule that `analysis.statistics.asymmetry` fixed."""
    evidence = tuple(a for a in study.under(PRIMARY) if a.metric.decides)
    return ClaimVerdict(
        claim=CLAIM,
        setting=f"analogue on {dataset}",
        verdict=study.verdict(),
        network_only=not study.over_seeds,
        rests_on=_rests_on(study, evidence),
        evidence=evidence,
        dissent=_dissent(study),
        nll_dissent=_nll_dissent(study),
    )


def _rests_on(study: AsymmetryStudy, evidence: tuple[Asymmetry, ...]) -> str:
    if not evidence:
        return "no pair of finished early and late windows"
    networks = max(a.base_seeds for a in evidence)
    sets = evidence[0].sets // networks
    over = (
        f"base networks ({networks})" if study.over_seeds else "disjoint sets of one base network"
    )
    size = evidence[0].count // evidence[0].sets
    return (
        f"A {PRIMARY.value} at depth {study.half_depth}, Student's t over {over}, "
        f"{sets} {'set' if sets == 1 else 'sets'} of {size} samples a network, "
        f"Holm over {len(evidence)} {'metric' if len(evidence) == 1 else 'metrics'}"
    )


def _dissent(study: AsymmetryStudy) -> tuple[str, ...]:
    """What the other normalisations say, where it is not the claim's verdict."""
    verdict = study.verdict()
    verdicts = {} if verdict is Verdict.UNTESTED else study.verdicts
    return tuple(
        f"{normalisation.sentence_start} the verdict would be: {other.value}."
        for normalisation, other in verdicts.items()
        if normalisation is not PRIMARY and other not in (verdict, Verdict.UNTESTED)
    )


def _nll_dissent(study: AsymmetryStudy) -> tuple[str, ...]:
    """What teacher-forced NLL says under the primary normalisation, where it differs."""
    verdict = study.verdict()
    wanted = {Verdict.REPRODUCED: 1, Verdict.CONTRADICTED: -1}.get(verdict, 0)
    sides = {1: "the early scales", -1: "the late scales", 0: "neither side"}
    return tuple(
        f"{PRIMARY.sentence_start}, teacher-forced NLL, which never decides, points to "
        f"{sides[a.sign]}."
        for a in study.under(PRIMARY)
        if verdict is not Verdict.UNTESTED and not a.metric.decides and a.sign != wanted
    )
