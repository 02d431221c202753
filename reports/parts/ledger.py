"""The ledger on a report's first page, and what stands behind it: rules, tests, negative results.

Every claim has a line of sample quality, which the paper's kind of metric decides, and one of
likelihood; neither overrules the other.
"""

import math
from collections.abc import Collection, Sequence
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.claims.rows import Evidence, Kind, LedgerRow, Line
from analysis.statistics.intervals import Interval, Verdict
from analysis.study_file import StudyFile
from reports.parts import words
from reports.parts.page import Page, Text, strong
from reports.parts.report import picked

SAYS = {1: "supports", 0: "open", -1: "contradicts"}
OPEN = (Verdict.UNTESTED, Verdict.REPRODUCED)


def verdict_words(ledger: Sequence[LedgerRow]) -> str:
    """The verdicts that were reached, in the order of the claims: "C2 reproduced, ..."."""
    reached = [row for row in ledger if row.verdict is not Verdict.UNTESTED]
    said = ", ".join(f"{row.claim.id} {row.verdict.value}" for row in reached)
    return said or "no claim could be tested"


def add_ledger(page: Page, study: StudyFile, ledger: Sequence[LedgerRow]) -> None:
    """A row a part of a claim: what sample quality says, and likelihood beside it."""
    shared = (
        ", and for these test images, which all units share: their chance is in the tests' "
        "intervals by a jackknife over the images, but for distances to statistics that were given"
    )
    images, rows = shared if study.dataset.units_share_images else "", []
    samples, drawn = study.sampling.samples, ""
    if samples:
        drawn = f" ({samples:,} samples of a network, features of {study.extractors[0].name})"
    for row in ledger:
        parts: dict[str, list[Line]] = {}
        for line in row.lines:
            known = line.kind in (Kind.QUALITY, Kind.LIKELIHOOD)
            parts.setdefault(line.part if known else line.kind.value, []).append(line)
        whole = row.verdict is not Verdict.UNTESTED
        for part, lines in parts.items():
            rows.append(
                {
                    "Claim": f"{row.claim.id} {row.claim.short}",
                    "Sample quality": _cell(part, [line for line in lines if line.decides], whole),
                    "Likelihood": _cell("", [line for line in lines if not line.decides], whole),
                }
            )
    page.table(
        pd.DataFrame(rows),
        f"Claim ledger. Sample quality{drawn} decides a claim, by the paper's kind of metric; "
        f"likelihood ({study.likelihood.nll_images:,} test images) is a second verdict, and "
        "neither overrules the other. Brackets: Fieller's 90 % of shares, else 95 % intervals. "
        "Rules were written before any run; verdicts hold for this data set, tokenizer and "
        f"space{images}.",
        widths=[0.16, 0.48, 0.36],
        grouped=True,
    )


def _cell(part: str, lines: Sequence[Line], whole: bool) -> Text:
    """Verdicts of one kind and what they rest on. What is untested gives its reason once, and
    where some of the claim was tested (`whole`) only the name of its part."""
    said: list[Text] = []
    if part and lines:
        said.append(f"{part}: ")
    for i, line in enumerate(lines):
        why = line.said or line.reason
        if line.said and line.verdict in (Verdict.DISAGREE, Verdict.UNRESOLVED):
            why = f"{line.said}; {line.reason}"
        if line.verdict is Verdict.UNTESTED:
            if not line.decides:
                continue
            why = "" if whole else line.reason
        other = "" if line.kind in (Kind.QUALITY, Kind.LIKELIHOOD) else f"{line.part} "
        said += ["; " if i else "", other, strong(line.verdict.value), f": {why}" if why else ""]
    return said


def add_tests(page: Page, study: StudyFile, ledger: Sequence[LedgerRow]) -> None:
    page.heading("The tests behind the ledger")
    blind = {extractor.name for extractor in study.extractors[1:]}
    tests = [
        {
            "": row.claim.id,
            "Estimate of": ": ".join(filter(None, (line.part, test.label)))
            + (f" ({test.note})" if test.note else ""),
            "Metric": _metric(test, blind),
            "Value": _measured(test.interval),
            "Remains": _remains(test),
            "p": words.unbroken(
                numbers.p_value(test.p_value if math.isnan(test.p_holm) else test.p_holm)
            ),
            "Units": str(len(test.units) or numbers.NOTHING),
            "Says": SAYS[test.outcome],
        }
        for row in ledger
        for line in row.lines
        for test in line.tests
    ]
    page.table(
        pd.DataFrame(tests),
        "The tests, in the metric's unit (NLL in nats/token, distances without): estimate with 95 "
        "% interval over units; positive speaks for what the row says, of \u201cno worse\u201d "
        "it is the loss. Remains: the share of the untrained damage that is left, with Fieller's "
        "90 % interval, of its margin, in percent, where that damage is clear of zero; tested "
        "one-sided by the linear contrast. p: after Holm's correction where any test of the claim "
        "would do. Blind: the feature space that knows nothing of classes.",
        widths=[0.04, 0.36, 0.08, 0.21, 0.15, 0.09, 0.05, 0.09],
        grouped=True,
    )


def add_rules(page: Page, ledger: Sequence[LedgerRow]) -> None:
    """What was claimed and published, and how it is judged here."""
    page.heading("The claims and their rules")
    claims = [
        {
            "": strong(row.claim.id),
            "Claimed": row.claim.sentence,
            "Published": row.claim.published,
            "Estimated here, and the rule": f"{row.claim.estimand} {row.claim.rule}",
            "Setting, and why": _setting(row),
        }
        for row in ledger
    ]
    page.table(
        pd.DataFrame(claims),
        "What was claimed, and how it is judged.",
        widths=[0.05, 0.17, 0.17, 0.43, 0.18],
    )


def _setting(row: LedgerRow) -> str:
    reasons: dict[str, list[str]] = {}
    for line in row.lines:
        if line.reason:
            reasons.setdefault(line.reason, []).append(_named(line))
    said = [f"{words.listed(of)}: {reason}" for reason, of in reasons.items()]
    return f"{row.setting}. {'; '.join(said if len(said) > 1 else reasons)}"


def _metric(test: Evidence, blind: Collection[str]) -> str:
    if test.metric is None:
        return numbers.NOTHING
    return test.metric.short + (", blind" if test.metric.extractor in blind else "")


def _remains(test: Evidence) -> str:
    if test.share is None or test.margin is None:
        return numbers.NOTHING
    share = test.share
    margin = f"of {numbers.percent(test.margin)}"
    if not test.clear:
        return f"{numbers.NOTHING} {margin}"
    if not share.bounded:
        return f"{numbers.percent(share.estimate)} {margin}"
    remains, low, high = (numbers.percent(end).removesuffix(" %") for end in share.ends)
    return words.unbroken(f"{remains} [{low}, {high}] {margin}")


def _measured(i: Interval) -> str:
    """An estimate with its interval, unless it is exact."""
    exact = i.low == i.high == i.estimate
    return numbers.number(i.estimate, signed=True) if exact else words.interval(i)


def negative_results(ledger: Sequence[LedgerRow]) -> list[Text]:
    """Lines that did not come out, said as plainly as what did."""
    return [
        [strong(f"{row.claim.id}, {_named(line)}: {line.verdict.value}. "), _told(line)]
        for row in ledger
        for line in row.lines
        if line.verdict not in OPEN
    ]


def _named(line: Line) -> str:
    return ", ".join(filter(None, (line.part, line.kind.value)))


def _told(line: Line) -> str:
    said = line.said[:1].upper() + line.said[1:]
    told = said and line.reason not in line.said
    return f"{said}. ({line.reason}.)" if told else f"{said or line.reason}."


def ledger_json(ledger: Sequence[LedgerRow]) -> list[dict[str, Any]]:
    """As `answer.json` takes it."""
    return [
        {"claim": row.claim.id, "verdict": row.verdict.value, "setting": row.setting}
        | {"lines": [_line_json(line) for line in row.lines]}
        for row in ledger
    ]


def _line_json(line: Line) -> dict[str, Any]:
    tests = [
        picked(test, "label", "margin", "p_value", "p_holm", "outcome", "units")
        | picked(test.interval, "estimate", "low", "high")
        | {"metric": test.metric and test.metric.name}
        | {"share": test.share and picked(test.share, "estimate", "low", "high")}
        for test in line.tests
    ]
    said = {"kind": line.kind.value, "verdict": line.verdict.value}
    return said | picked(line, "part", "said", "reason") | {"tests": tests}
