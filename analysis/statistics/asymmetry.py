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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.frame import find_metric, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.damage import base_seeds, paired_differences, pooled_interval
from analysis.statistics.intervals import (
    Interval,
    Verdict,
    holm,
    significant_sign,
    verdict_of_signs,
)

MIB = 2**20


class Normalisation(enum.Enum):
    """What a window's damage is divided by."""

    SCALE = "per scale"
    WINDOW = "per window"
    TOKEN = "per token"
    KV = "per MiB of KV saved"


PRIMARY = Normalisation.SCALE


@dataclass(frozen=True, kw_only=True)
class Asymmetry:
    """A for one metric under one normalisation, with the two terms that it is the difference of."""

    metric: Metric
    normalisation: Normalisation
    early_divisor: float  # n of the early window: scales, 1, tokens or MiB
    late_divisor: float
    early: Interval
    late: Interval
    difference: Interval  # A
    p_holm: float  # NaN for a metric that does not decide
    base_seeds: int
    sets: int  # disjoint sets, over all base networks
    count: int  # images or samples a window, over all base networks

    @property
    def sign(self) -> int:
        """+1 or -1 where A is significant (after Holm's correction if it decides), else 0."""
        p = self.p_holm if self.metric.decides else self.difference.p_value
        return significant_sign(self.difference, p)


@dataclass(frozen=True, kw_only=True)
class AsymmetryStudy:
    """All of a study's asymmetries for one selector."""

    selector: str
    half_depth: int
    windows: Mapping[str, tuple[int, ...]]
    over_seeds: bool  # whether the intervals run over base networks
    base_seeds: int  # networks of the study
    estimates: tuple[Asymmetry, ...]

    def under(self, normalisation: Normalisation) -> tuple[Asymmetry, ...]:
        """The estimates of one normalisation, deciding metrics first."""
        return tuple(a for a in self.estimates if a.normalisation is normalisation)

    def verdict(self, normalisation: Normalisation = PRIMARY) -> Verdict:
        """The verdict of the rule in this module's docstring."""
        return verdict_of_signs([a.sign for a in self.under(normalisation) if a.metric.decides])


def asymmetry_study(
    frame: pd.DataFrame,
    *,
    patch_nums: Sequence[int],
    windows: Mapping[str, Sequence[int]],
    half_depth: int,
    selector: str,
) -> AsymmetryStudy:
    """Estimate A for every headline metric under every normalisation.

    `windows` gives the scales (from 1) of at least "early" and "late". A base network counts where
    both windows finished. Per MiB of KV is left out where a window saves no KV.
    """
    over_seeds = len(base_seeds(frame)) > 1
    pairs = paired_differences(frame)
    pairs = pairs[
        (pairs["family"] == "window")
        & (pairs["selector"] == selector)
        & (pairs["subnet_depth"] == half_depth).fillna(False)
    ]
    saved = _kv_saved_mib(frame, pairs)
    estimates: list[Asymmetry] = []
    for normalisation in Normalisation:
        divisors = _divisors(normalisation, patch_nums=patch_nums, windows=windows, saved=saved)
        if divisors is None:
            continue
        found = []
        for metric in headline_metrics(frame):
            both = _both_windows(pairs, metric=metric, divisors=divisors)
            if both.empty:
                continue
            found.append(
                (
                    metric,
                    both,
                    *(
                        pooled_interval(both, column, over_seeds=over_seeds)
                        for column in ("early", "late", "difference")
                    ),
                )
            )
        adjusted = holm(
            [
                difference.p_value if metric.decides else float("nan")
                for metric, _, _, _, difference in found
            ]
        )
        estimates += [
            Asymmetry(
                metric=metric,
                normalisation=normalisation,
                early_divisor=divisors["early"],
                late_divisor=divisors["late"],
                early=early,
                late=late,
                difference=difference,
                p_holm=float(p),
                base_seeds=both["base_seed"].nunique(),
                sets=len(both),
                count=int(both["count"].sum()),
            )
            for (metric, both, early, late, difference), p in zip(found, adjusted, strict=True)
        ]
    return AsymmetryStudy(
        selector=selector,
        half_depth=half_depth,
        windows={name: tuple(scales) for name, scales in windows.items()},
        over_seeds=over_seeds,
        base_seeds=len(base_seeds(frame)),
        estimates=tuple(estimates),
    )


def asymmetry_table(study: AsymmetryStudy) -> pd.DataFrame:
    """The estimates as a table, one row for each metric and normalisation."""
    return pd.DataFrame(
        [
            {
                "selector": study.selector,
                "normalisation": a.normalisation.value,
                "metric": a.metric.name,
                "decides": a.metric.decides,
                "early_divisor": a.early_divisor,
                "late_divisor": a.late_divisor,
                "early": a.early.estimate,
                "late": a.late.estimate,
                "asymmetry": a.difference.estimate,
                "low": a.difference.low,
                "high": a.difference.high,
                "standard_error": a.difference.standard_error,
                "degrees_of_freedom": a.difference.degrees_of_freedom,
                "p_value": a.difference.p_value,
                "p_holm": a.p_holm,
                "base_seeds": a.base_seeds,
                "sets": a.sets,
                "count": a.count,
            }
            for a in study.estimates
        ]
    )


def _kv_saved_mib(frame: pd.DataFrame, pairs: pd.DataFrame) -> dict[str, float]:
    """MiB of measured KV peak that each window's plan saves; empty where it was not measured."""
    if find_metric(frame, "kv_bytes/peak") is None:
        return {}
    kv = pairs[pairs["metric"] == "kv_bytes/peak"]
    return {str(name): -float(d) / MIB for name, d in kv.groupby("window")["damage"].mean().items()}


def _divisors(
    normalisation: Normalisation,
    *,
    patch_nums: Sequence[int],
    windows: Mapping[str, Sequence[int]],
    saved: Mapping[str, float],
) -> dict[str, float] | None:
    """n of the early and of the late window, or None where the normalisation does not apply."""
    result = {}
    for name in ("early", "late"):
        if name not in windows:
            return None
        match normalisation:
            case Normalisation.WINDOW:
                result[name] = 1.0
            case Normalisation.SCALE:
                result[name] = float(len(windows[name]))
            case Normalisation.TOKEN:
                result[name] = float(sum(patch_nums[scale - 1] ** 2 for scale in windows[name]))
            case Normalisation.KV:
                result[name] = saved.get(name, 0.0)
    return result if min(result.values()) > 0 else None


def _both_windows(
    pairs: pd.DataFrame, *, metric: Metric, divisors: Mapping[str, float]
) -> pd.DataFrame:
    """`early`, `late` and `difference` for each (base_seed, set) that has both windows."""
    mine = pairs[(pairs["metric"] == metric.name) & pairs["set"].notna()]
    key = ["base_seed", "set"]
    early, late = (
        mine[(mine["window"] == name).fillna(False)][[*key, "damage", "count"]].rename(
            columns={"damage": name}
        )
        for name in ("early", "late")
    )
    both = early.merge(late[[*key, "late"]], on=key, how="inner")
    both["early"] /= divisors["early"]
    both["late"] /= divisors["late"]
    both["difference"] = both["early"] - both["late"]
    return both
