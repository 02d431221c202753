"""What a study says of a claim: one row type for all claims.

    row.verdict                        # of the claim
    for line in row.lines: ...         # sample quality, likelihood; one of each for every part
    for test in line.tests: ...        # an estimate with its interval, margin, p and outcome

A claim may have parts (C4: half, a quarter of the layers). Each part has a line for sample quality,
which the paper's kind of metric decides, and a second, named one for likelihood; neither overrules
the other, and the row's verdict rests on the former alone.
"""

import ast
import enum
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from analysis.metrics import Metric
from analysis.statistics.intervals import Interval, Verdict
from analysis.statistics.units import NOTHING, Observations


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, in short and whole, with the figures it published.

    Attributes:
        estimand: what is estimated here.
        rule: when it is reproduced and when contradicted, written before any run.
        needs: what a study has to have so that it can be tested.
    """

    id: str
    short: str
    sentence: str
    published: str
    estimand: str
    rule: str
    needs: str

    @classmethod
    def stated(cls, file: str) -> Self:
        """The claim that the docstring of a module's file states, so that report and code have one
        text; read as text, since `python -OO` keeps no docstrings.

        Its first paragraph is `C1: early scales need depth.`; one paragraph `Name: text` for every
        other attribute follows. Paragraphs of other beginnings belong to the one before.
        """
        tree = ast.parse(Path(file).read_text(encoding="utf-8"))
        first, *paragraphs = (ast.get_docstring(tree) or "").split("\n\n")
        found = dict(zip(("id", "short"), first.rstrip(".").split(": ", 1), strict=True))
        name = "short"
        for paragraph in paragraphs:
            head, _, text = " ".join(paragraph.split()).partition(": ")
            if head.lower() in cls.__dataclass_fields__:
                name = head.lower()
                found[name] = text
            else:
                found[name] += " " + " ".join(paragraph.split())
        return cls(**found | {"needs": found["needs"].rstrip(".")})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One test.

    Attributes:
        label: what is estimated, such as "full network: fixed 1 worse than fixed 0.1".
        metric: None for arithmetic and timings.
        interval: of the estimate; positive is worse, or in the direction that the label names.
        margin: a share of the untrained damage; None for a direction.
        share: of the untrained damage that remains, with Fieller's 90 % interval; with `margin`.
        p_value: of a direction two-sided; of a margin one-sided, of no loss or of a loss beyond it,
            whichever is smaller.
        p_holm: after Holm's correction, where any of the claim's tests would do; else NaN.
        clear: whether the damage that the margin is a share of is clear of zero.
        outcome: +1 supports the claim, -1 contradicts it, 0 neither.
        observed: the estimate of each base network behind it, with what these share.
        power: planned, at a true loss of zero; None where nothing was planned.
        note: what else a reader has to know.
    """

    label: str
    metric: Metric | None = None
    interval: Interval
    margin: float | None = None
    share: Interval | None = None
    p_value: float = math.nan
    p_holm: float = math.nan
    clear: bool = True
    outcome: int = 0
    observed: Observations = field(default=NOTHING, repr=False, compare=False)
    power: float | None = None
    note: str = ""

    @property
    def units(self) -> tuple[int, ...]:
        """Base networks behind it, ascending."""
        return self.observed.units


class Kind(enum.Enum):
    """What a line rests on."""

    QUALITY = "sample quality"
    LIKELIHOOD = "likelihood"
    ARITHMETIC = "arithmetic"
    TIMING = "timing"


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one kind of evidence says of a claim or of one of its parts.

    Attributes:
        part: of the claim, such as "half the layers"; empty where it has no parts.
        said: a short sentence, such as "no loss: 3 % of the untrained damage remains".
        tests: those that decide first, then what is shown beside them.
        reason: why the verdict is not more, or what it rests on.
    """

    kind: Kind
    part: str = ""
    verdict: Verdict
    said: str = ""
    tests: tuple[Evidence, ...] = ()
    reason: str

    @classmethod
    def agreeing(
        cls, kind: Kind, part: str, tests: tuple[Evidence, ...], *, said: str, reason: str
    ) -> Self:
        """What is reproduced where all tests support it, and contradicted where one does not."""
        agrees = all(test.outcome > 0 for test in tests)
        verdict = Verdict.REPRODUCED if agrees else Verdict.CONTRADICTED
        return cls(kind=kind, part=part, verdict=verdict, said=said, tests=tests, reason=reason)

    @property
    def decides(self) -> bool:
        """Whether the row's verdict rests on it."""
        return self.kind is not Kind.LIKELIHOOD


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A claim beside what this study says of it.

    Attributes:
        setting: "analogue on shapes", or "the paper's setting".
        lines: sample quality, then likelihood, of each part in turn; at least one.
    """

    claim: Claim
    setting: str
    verdict: Verdict
    lines: tuple[Line, ...]

    def of(self, kind: Kind) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.kind is kind)
