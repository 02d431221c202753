"""The asymmetry statistic of claim C1, fixed here before any run.

The paper halves the depth of the early scales only, then of the late scales only, and compares
what that costs. For a metric and a normalisation n,

    A = damage(early window) / n(early) - damage(late window) / n(late)

at half depth, where damage is the worsening against the full network (positive is worse) and both
damages come from the same base network and the same disjoint set of images or samples, so that A
is paired. A > 0 says that the early scales need depth more. The windows come with the study.

n is one of
- per window: 1, which is the paper's own comparison;
- per scale (**primary**): the number of scales in the window;
- per token: the number of tokens in the window, sum of p * p;
- per MiB of KV: the MiB by which the window's plan lowers the peak of the KV cache, measured.

Interval: with one base network, Student's t over its disjoint sets, which speaks about this
network only; with B base networks, Student's t over the B networks' own values of A (B - 1 degrees
of freedom).

Deciding metrics are those of generated samples: Fréchet distance, class-conditional KID and class
accuracy. Holm's correction runs over them within a normalisation. Teacher-forced NLL is estimated
beside them and never decides, since it feeds every scale the true earlier tokens and so hides how
errors propagate; its p value is not adjusted.

Verdict within a normalisation, from the adjusted p < 0.05: *reproduced* when at least one deciding
metric is significantly positive and none significantly negative; *contradicted* for the mirror;
*the metrics disagree* when both signs are significant; *inconclusive* otherwise; *untested* when no
deciding metric has both windows. The claim's verdict is that of the primary normalisation.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from analysis.frame import headline_metrics
from analysis.metrics import Metric
from analysis.statistics.intervals import (
    Interval,
    Verdict,
    holm,
    paired_t,
    significant_sign,
    verdict_of_signs,
)
from analysis.study_file import SensitivityFile

MIB = 2**20
SIDES = ("early", "late")


class Normalisation(enum.Enum):
    """What a window's damage is divided by."""

    SCALE = "per scale"
    WINDOW = "per window"
    TOKEN = "per token"
    KV = "per MiB of KV saved"

    @property
    def sentence_start(self) -> str:
        """Its name where a sentence begins with it."""
        return self.value[0].upper() + self.value[1:]


PRIMARY = Normalisation.SCALE


@dataclass(frozen=True, kw_only=True)
class Asymmetry:
    """A for one metric under one normalisation, with the two terms that it is the difference of.

    Attributes:
        early_divisor, late_divisor: n of the windows: scales, 1, tokens or MiB.
        difference: A.
        p_holm: NaN for a metric that does not decide.
        sets, count: disjoint sets, and images or samples a window, over all base networks.
    """

    metric: Metric
    normalisation: Normalisation
    early_divisor: float
    late_divisor: float
    early: Interval
    late: Interval
    difference: Interval
    p_holm: float
    base_seeds: int
    sets: int
    count: int

    @property
    def p_value(self) -> float:
        """Of A being zero, after Holm's correction if the metric decides."""
        return self.p_holm if self.metric.decides else self.difference.p_value

    @property
    def sign(self) -> int:
        """+1 or -1 where A is significant, else 0."""
        return significant_sign(self.difference, self.p_value)


@dataclass(frozen=True, kw_only=True)
class AsymmetryStudy:
    """All of a study's asymmetries for one selector.

    Attributes:
        networks: base networks of the study; of several, the intervals run over them.
    """

    selector: str
    half_depth: int
    windows: Mapping[str, tuple[int, ...]]
    networks: int
    estimates: tuple[Asymmetry, ...]

    @property
    def over_seeds(self) -> bool:
        """Whether the intervals run over base networks."""
        return self.networks > 1

    @property
    def evidence(self) -> tuple[Asymmetry, ...]:
        """The estimates that decide the claim."""
        return tuple(a for a in self.under(PRIMARY) if a.metric.decides)

    @property
    def verdicts(self) -> dict[Normalisation, Verdict]:
        """By the rule in this module's docstring, under each normalisation that applies."""
        return {n: self.verdict(n) for n in Normalisation if self.under(n)}

    def under(self, normalisation: Normalisation) -> tuple[Asymmetry, ...]:
        """The estimates of one normalisation, deciding metrics first."""
        return tuple(a for a in self.estimates if a.normalisation is normalisation)

    def verdict(self, normalisation: Normalisation = PRIMARY) -> Verdict:
        """The verdict under one normalisation."""
        return verdict_of_signs([a.sign for a in self.under(normalisation) if a.metric.decides])


def asymmetry_study(
    pairs: pd.DataFrame, study: SensitivityFile, *, selector: str, networks: int
) -> AsymmetryStudy:
    """Estimate A for every headline metric under every normalisation.

    A base network counts where both windows finished. Per MiB of KV is left out where a window
    saves no KV.

    Args:
        pairs: of `paired_differences`.
        networks: base networks of the study, failed ones included.
    """
    mine = pairs[
        (pairs["family"] == "window")
        & (pairs["selector"] == selector)
        & (pairs["subnet_depth"] == study.half_depth).fillna(False)
    ]
    both = _both_windows(mine)
    of_metric = [(m, both[both["metric"] == m.name]) for m in headline_metrics(both)]
    estimates: list[Asymmetry] = []
    for normalisation, divisors in _divisors(mine, study).items():
        group = [
            _asymmetry(observed, m, normalisation, divisors, over_seeds=networks > 1)
            for m, observed in of_metric
        ]
        adjusted = holm([a.difference.p_value if a.metric.decides else math.nan for a in group])
        estimates += [replace(a, p_holm=float(p)) for a, p in zip(group, adjusted, strict=True)]
    return AsymmetryStudy(
        selector=selector,
        half_depth=study.half_depth,
        windows=study.windows,
        networks=networks,
        estimates=tuple(estimates),
    )


def _both_windows(windows: pd.DataFrame) -> pd.DataFrame:
    """Damage `early` and `late` of each (`metric`, `base_seed`, `set`) that has both, `count`."""
    sampled = windows[windows["set"].notna()]
    key = ["metric", "base_seed", "set"]
    early, late = (
        sampled[(sampled["window"] == side).fillna(False)].set_index(key) for side in SIDES
    )
    columns = {"early": early["damage"], "late": late["damage"], "count": early["count"]}
    return pd.DataFrame(columns).dropna().reset_index()


def _divisors(
    pairs: pd.DataFrame, study: SensitivityFile
) -> dict[Normalisation, tuple[float, float]]:
    """n of the early and of the late window, under each normalisation where both are positive.

    MiB are of the measured KV peak, means over base networks.
    """
    scales, sides = [study.windows.get(side, ()) for side in SIDES], study.geometry.patch_nums
    kv = pairs[pairs["metric"] == "kv_bytes/peak"].groupby("window")["damage"].mean()
    found = {
        Normalisation.SCALE: [len(mine) for mine in scales],
        Normalisation.WINDOW: [1, 1],
        Normalisation.TOKEN: [sum(sides[k - 1] ** 2 for k in mine) for mine in scales],
        Normalisation.KV: [-kv.get(side, 0.0) / MIB for side in SIDES],
    }
    return {n: (float(a), float(b)) for n, (a, b) in found.items() if min(a, b) > 0}


def _asymmetry(
    both: pd.DataFrame,
    metric: Metric,
    normalisation: Normalisation,
    divisors: tuple[float, float],
    *,
    over_seeds: bool,
) -> Asymmetry:
    """A of one metric; its `p_holm` waits for the other metrics and is NaN."""

    def interval(values: pd.Series[float]) -> Interval:
        observed = values.groupby(both["base_seed"]).mean() if over_seeds else values
        return paired_t(observed.to_numpy())

    early, late = both["early"] / divisors[0], both["late"] / divisors[1]
    return Asymmetry(
        metric=metric,
        normalisation=normalisation,
        early_divisor=divisors[0],
        late_divisor=divisors[1],
        early=interval(early),
        late=interval(late),
        difference=interval(early - late),
        p_holm=math.nan,
        base_seeds=int(both["base_seed"].nunique()),
        sets=len(both),
        count=int(both["count"].sum()),
    )
