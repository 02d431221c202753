"""A claim of the paper, a test of it, and what a study says of it.

Source of claims and published figures: VARiant, arXiv 2511.16546v1 and its CVPR 2026 version.
"""

import math
from dataclasses import dataclass

from analysis.metrics import Metric
from analysis.statistics.intervals import Interval, Verdict


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, in short and whole, with the figures it published.

    Attributes:
        needs: what a study has to have so that it can be tested, as a reason why it was not.
    """

    id: str
    short: str
    sentence: str
    published: str
    needs: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One test of a claim.

    Attributes:
        label: what is estimated, such as "full network, share 1 against 0.1".
        metric: None for arithmetic.
        interval: of the estimate; positive is worse for differences, beyond the front for gaps.
        margin: of equivalence; None for a direction.
        p_value, p_holm: of the direction; for a margin, of equivalence or of a loss beyond it,
            whichever is smaller (`note` says so for the latter).
        outcome: +1 supports the claim, -1 contradicts it, 0 neither.
        seeds: training seeds behind it.
        note: what else a reader has to know.
    """

    label: str
    metric: Metric | None = None
    interval: Interval
    margin: float | None = None
    p_value: float = math.nan
    p_holm: float = math.nan
    outcome: int = 0
    seeds: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class LedgerRow:
    """A claim beside what this study says of it.

    Attributes:
        setting: "analogue on shapes", or "the paper's setting".
        reason: why the verdict is not more, or what it rests on.
        rests_on: schedules, plans and seeds behind the estimates.
    """

    claim: Claim
    setting: str
    verdict: Verdict
    components: tuple[Component, ...] = ()
    reason: str = ""
    rests_on: str = ""
