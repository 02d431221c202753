"""Noise: how far a metric moves with the base network, the training seed and the evaluation.

Every unit's base is trained on with several seeds by one schedule. Each trained network is measured
several times, each time with a sampling seed of its own that only the base shares, so that the
design is nested: units, training seeds, evaluations. What is taken apart, in the
metric's unit, damage being positive (x: the loss of a trained plan against the base's full network;
y: the damage of the same plan on the base, untrained, for the full network that of half the layers;
m: the claim's margin):

    level full, level half            the scores of trained networks themselves
    loss full, half, quarter, d1      x - m y: what a unit adds to a test of no loss; d1 (or
                                      another) where fewer layers than a quarter were measured
    loss later                        the same of half the layers at the margin of C8, where models
                                      are trained for the switch point after the default one
    retrained full, half              the same of two trainings that differ in their seed alone:
                                      what schedules differ by if chance alone tells them apart
    asymmetry                         damage of half the layers on the early window less that on
                                      the late window, untrained

The variances are those of `analysis.statistics.components`; that of the evaluation is of one
sample. It is compared with the delete-a-group jackknife's, and since it should fall as 1 / n, with
itself at fewer samples: an F test at 5 %, two-sided. Where nothing was drawn anew (likelihood: a
unit has one set of test images) it is the jackknife's, taken off the base's, which contains it.
What all units share (test images of an image folder) moves their mean alike: that variance, of the
jackknife over blocks of it, is apart.
"""

import math
from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import brentq

from analysis.errors import FrameError
from analysis.frame import FINISHED
from analysis.instrument_file import Component, NoiseFacts, ResolutionFacts
from analysis.metrics import Metric, parse_metric
from analysis.statistics.components import LEVELS, variance_components
from analysis.statistics.intervals import SIGNIFICANCE
from analysis.statistics.noninferiority import FEWER_MARGIN, FULL_MARGIN, HALF_MARGIN
from analysis.statistics.units import WHOLE
from analysis.study_file import BASE, COMMON_BLOCK, REAL

MARGINS = {"full": FULL_MARGIN, "half": HALF_MARGIN}  # of others, `FEWER_MARGIN`
NAMES = (
    *("level full", "level half", "untrained half", "untrained quarter", "loss full", "loss half"),
    *("loss quarter", "retrained full", "retrained half", "asymmetry"),
)
KINDS = ("fd", "fid", "sfid", "kid", "mind", "inception_score", "class_accuracy", "nll")


Ends = tuple[float, float, float]
"""A standard deviation in the metric's unit, and the ends of its interval."""


def deviation(one: Component, samples: int = 1) -> Ends:
    """Of a mean over so many; NaN where it is not known."""
    estimate, low, high = np.sqrt(np.array([one.estimate, one.low, one.high]) / samples).tolist()
    return estimate, low, high


class Quantity(NoiseFacts):
    """What `table.json` says of a quantity, and what that was checked against.

    Attributes:
        jackknife: the jackknife's variance of one sample; NaN without replicates.
        by_count: the repeats' variance of one sample at each count of samples, the largest first;
            without those that have none.
        p_inverse: of the F test of 1 / n; NaN without several counts.
    """

    metric: Metric
    jackknife: float
    by_count: Mapping[int, float]
    p_inverse: float

    @property
    def components(self) -> dict[str, Component]:
        return {name: getattr(self, name) for name in LEVELS}

    @property
    def deviations(self) -> dict[str, Ends]:
        """What each component adds to one value."""
        return {
            name: deviation(one, self.samples if name == "evaluation" else 1)
            for name, one in self.components.items()
        }

    @property
    def inverse(self) -> bool | None:
        """Whether the evaluation's variance falls as 1 / n; None where that was not tested."""
        return None if math.isnan(self.p_inverse) else self.p_inverse >= SIGNIFICANCE

    @property
    def jackknife_ratio(self) -> float:
        """Of the jackknife's variance to the repeats'; NaN where there are no repeats."""
        repeats = self.by_count.get(self.samples, math.nan)
        return self.jackknife / repeats if repeats > 0 else math.nan


class Resolution(ResolutionFacts):
    """The same of a metric of a frame."""

    metric: Metric


class Noise:
    """The quantities of a frame; see this module's docstring.

    Attributes:
        metrics: those of sample quality and mean NLL, at the largest count.
    """

    def __init__(
        self, frame: pd.DataFrame, *, depth: int, switch: int, default_switch: int | None = None
    ) -> None:
        """`frame`: checked, with training columns and `draw`. Units with a cell that did not finish
        are left out: the design must be balanced. `switch`: of the plans of fewer layers, which is
        C8's where it comes after `default_switch`."""
        broken = frame.loc[frame["status"] != FINISHED, "unit"].unique()
        rows = frame[~frame["unit"].isin(broken) & (frame["family"] != REAL)]
        metrics = {name: parse_metric(name) for name in rows["metric"].unique()}
        wanted = [n for n, m in metrics.items() if m.kind in KINDS and not m.exact and not m.scale]
        rows = rows[rows["metric"].isin([n for n in wanted if not n.startswith("select/")])]
        self._switch = switch
        self._later = default_switch is not None and switch == default_switch + 1
        self._layers = {"half": max(1, depth // 2), "quarter": max(1, depth // 4)}
        fewest = rows.loc[rows["switch"] == switch, "subnet_depth"].min()
        if pd.notna(fewest) and fewest < self._layers["quarter"]:
            self._layers[f"d{fewest}"] = int(fewest)
        self._rows = rows.assign(
            key=rows["metric"].map({name: _key(metric) for name, metric in metrics.items()}),
            group=rows["group"].fillna(WHOLE).astype(int),
            trained=rows["kind"] != BASE,
            samples=rows["count"],
        )
        # Cells that an earlier version measured lack the metrics that came later.
        cells = self._rows[self._rows["group"] == WHOLE]["key"].value_counts()
        whole = cells.index[cells == cells.max()]
        self._rows = self._rows[self._rows["key"].isin(whole)]
        largest = self._rows.sort_values("samples", ascending=False, kind="stable")
        self.metrics = tuple(metrics[name] for name in largest.drop_duplicates("key")["metric"])

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """All that the frame has the cells for, metric by metric."""
        found, common = [], self._by_count(common=True)
        for metric, cubes in self._counted.items():
            shared = next(iter(common.get(metric, {}).values()), {})
            top = next(iter(cubes.values()))
            for name in top:
                at = {count: made[name] for count, made in cubes.items() if name in made}
                kind, _, plan = name.partition(" ")
                if kind == "untrained":
                    continue
                margin = untrained = None
                if kind in ("loss", "retrained"):
                    margin = MARGINS.get(plan, FEWER_MARGIN)
                    untrained = float(top[_untrained(plan)][..., 0].mean())
                of_common = _common(metric, next(iter(at)), shared.get(name))
                found.append(_quantity(metric, name, at, margin, untrained, of_common))
        return tuple(found)

    @cached_property
    def resolutions(self) -> tuple[Resolution, ...]:
        """Of what was drawn anew at several counts, metric by metric, the largest count first."""
        found = []
        for metric, cubes in self._counted.items():
            fewer = [*cubes.items(), (0, None)][1:]
            for (n, of), (fewer_n, of_fewer) in zip(cubes.items(), fewer, strict=True):
                full, half = of["level full"], of["level half"]
                apart = metric.damage_sign * (half - full)
                variance, freedom = _variance(apart)
                if len(cubes) < 2 or not freedom:
                    continue
                level, limit = float(full[..., 0].mean()), math.nan
                if of_fewer is not None:
                    below = fewer_n * of_fewer["level full"][..., 0].mean()
                    limit = float((n * level - below) / (n - fewer_n))
                values_BSR = apart[..., 0]
                ratio, low, high = standardised(
                    float(values_BSR.mean()), math.sqrt(variance), values_BSR.size, freedom
                )
                found.append(
                    Resolution(
                        metric=metric,
                        kind=metric.kind,
                        extractor=metric.extractor,
                        samples=n,
                        full=level,
                        half=float(half[..., 0].mean()),
                        bias=(level - limit) / limit,
                        deviations=ratio,
                        low=low,
                        high=high,
                    )
                )
        return tuple(found)

    @cached_property
    def _counted(self) -> dict[Metric, dict[int, dict[str, np.ndarray]]]:
        """The cubes of each metric by count, the largest first."""
        return self._by_count(common=False)

    def _by_count(self, *, common: bool) -> dict[Metric, dict[int, dict[str, np.ndarray]]]:
        """`common`: without each block of what units share, in place of values and replicates."""
        found = {}
        for metric in self.metrics:
            rows = self._rows[self._rows["key"] == _key(metric)]
            cells, shared = (rows["group"] == WHOLE).sum(), rows["group"] >= COMMON_BLOCK
            rows = rows[shared == common]
            if common and len(rows) != cells * rows["group"].nunique():
                continue  # cells of an earlier version lack them
            counts = sorted(map(int, rows["samples"].unique()), reverse=True)
            found[metric] = {n: self._cubes(metric, rows[rows["samples"] == n]) for n in counts}
        return found

    def _cubes(self, metric: Metric, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        """The quantities of one count as (B, S, R, 1 + G) arrays: values, then replicates."""
        base, trained = (
            {
                plan: _cube(of_plan)
                for plan in ("full", *self._layers, "early", "late")
                if len(of_plan := mine[self._of(mine, plan)])
            }
            for mine in (rows[~rows["trained"]], rows[rows["trained"]])
        )
        sign, found = metric.damage_sign, {}
        for plan in trained.keys() & MARGINS.keys():
            found[f"level {plan}"] = trained[plan]
        if "full" not in base:
            return found
        for plan in base.keys() & self._layers.keys():
            found[_untrained(plan)] = sign * (base[plan] - base["full"])
        for plan, cube in trained.items():
            y = found.get(_untrained(plan))
            if y is None:
                continue
            # The base's draws belong to the training seeds in turn.
            full, y = (one.reshape(len(one), *cube.shape[1:]) for one in (base["full"], y))
            loss, margin = sign * (cube - full), MARGINS.get(plan, FEWER_MARGIN)
            found[f"loss {plan}"] = loss - margin * y
            if plan == "half" and self._later:
                found["loss later"] = loss - FEWER_MARGIN * y
            if plan in MARGINS and cube.shape[1] > 1:
                between = sign * (cube[:, 1:2] - cube[:, :1])
                found[f"retrained {plan}"] = between - margin * y[:, :1]
        if base.keys() >= {"early", "late"}:
            found["asymmetry"] = sign * (base["early"] - base["late"])
        return dict(sorted(found.items(), key=lambda item: _place(item[0])))

    def _of(self, rows: pd.DataFrame, plan: str) -> pd.Series:
        """Which are of a plan: `full`, one of `_layers`, or half of them on a window."""
        if plan == "full":
            return rows["family"] == "full"
        if plan in ("early", "late"):
            return rows["window"] == plan
        at = (rows["subnet_depth"] == self._layers[plan]) & (rows["switch"] == self._switch)
        return at.fillna(False).astype(bool)


def _untrained(plan: str) -> str:
    """The damage that a plan's margin is a share of."""
    return "untrained half" if plan in ("full", "later") else f"untrained {plan}"


def _place(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _key(metric: Metric) -> str:
    """What a metric is at any count of samples."""
    return f"{metric.kind}/{metric.extractor}"


def _cube(rows: pd.DataFrame) -> np.ndarray:
    """(units, training seeds, draws, 1 + groups) of the rows of one plan and count; `FrameError`
    where some are missing."""
    keys = ["unit", "seed", "draw"]  # seeds and draws have numbers of their own in each unit
    inner = [rows.groupby(keys[:level])[keys[level]].nunique().max() for level in (1, 2)]
    shape = (rows["unit"].nunique(), *inner, rows["group"].nunique())
    if len(rows) != math.prod(shape):
        raise FrameError(f"frame: {rows['plan'].iloc[0]} lacks draws; run the study again")
    ordered = rows.sort_values([*keys, "group"])
    return np.asarray(ordered["value"], float).reshape(shape)


def _quantity(
    metric: Metric,
    name: str,
    at: Mapping[int, np.ndarray],
    margin: float | None,
    untrained: float | None,
    common: Component | None,
) -> Quantity:
    samples, *_ = at
    cube = at[samples]
    values_BSR, replicates = cube[..., 0], cube[..., 1:]
    groups = replicates.shape[-1]
    jackknife = (groups - 1) * replicates.var(axis=-1).mean() if groups > 1 else math.nan
    repeated = _repeated(values_BSR)
    found = variance_components(values_BSR if repeated else values_BSR[..., :1])
    if repeated:
        evaluation = _changed(found["evaluation"], lambda variance: samples * variance)
    else:
        # Of images that all units share the jackknife is theirs, and no difference between units.
        own = samples * jackknife - (common.estimate if common else 0.0)
        own = own if math.isnan(own) else max(own, 0.0)
        evaluation = Component(estimate=own, low=math.nan, high=math.nan, degrees_of_freedom=0)
        contained = 0.0 if math.isnan(own) else own / samples
        found["base"] = _changed(found["base"], lambda v: np.maximum(v - contained, 0.0).item())
    spread = {n: _variance(one) for n, one in at.items()}
    spread = {n: pair for n, pair in spread.items() if pair[1]}
    return Quantity(
        metric=metric,
        kind=metric.kind,
        extractor=metric.extractor,
        quantity=name,
        margin=margin,
        mean=float(values_BSR.mean()),
        untrained=untrained,
        samples=samples,
        **found | {"evaluation": evaluation},
        common=common,
        from_jackknife=not repeated,
        jackknife=samples * jackknife,
        by_count={n: float(n * variance) for n, (variance, _) in spread.items()},
        p_inverse=_inverse(spread),
    )


def _common(metric: Metric, samples: int, common_BSRC: np.ndarray | None) -> Component | None:
    """What the mean over units owes to what they share, by the jackknife over C blocks of it."""
    if common_BSRC is None:
        return None
    freedom = common_BSRC.shape[-1] - 1
    variance = float(freedom * common_BSRC.mean(axis=(0, 1, 2)).var())
    variance *= samples if metric.kind == "nll" else 1
    low, high = (float(variance * freedom / stats.chi2.ppf(q, freedom)) for q in (0.975, 0.025))
    return Component(estimate=variance, low=low, high=high, degrees_of_freedom=freedom)


def standardised(
    mean: float, deviation: float, count: int, freedom: int
) -> tuple[float, float, float]:
    """A mean of normal values over their standard deviation, with its 95 % interval.

    The mean of `count` values over its standard error is noncentral t, of `freedom` degrees; the
    ends are where what was seen lies at 97.5 and 2.5 % (Hedges and Olkin, Statistical Methods for
    Meta-Analysis, 1985, chapter 5).
    """
    root = math.sqrt(count)
    seen = root * mean / deviation
    room = 10 + abs(seen)  # beyond either end

    def above(true: float, share: float) -> float:
        found = stats.nct.cdf(seen, freedom, true)
        # Far out, where it has no digits left, it is NaN.
        return float(true < seen if math.isnan(found) else found) - share

    def end(share: float) -> float:
        return float(brentq(above, seen - room, seen + room, args=(share,)))

    low, high = (end(share) / root for share in (1 - SIGNIFICANCE / 2, SIGNIFICANCE / 2))
    return seen / root, low, high


def _repeated(values_BSR: np.ndarray) -> bool:
    """Whether draws differ at all."""
    return values_BSR.shape[2] > 1 and bool(np.ptp(values_BSR, axis=2).any())


def _variance(cube: np.ndarray) -> tuple[float, int]:
    """Between draws, with its degrees of freedom; (NaN, 0) where nothing was drawn anew."""
    values_BSR = cube[..., 0]
    if not _repeated(values_BSR):
        return math.nan, 0
    b, s, r = values_BSR.shape
    return float(values_BSR.var(axis=2, ddof=1).mean()), b * s * (r - 1)


def _inverse(spread: Mapping[int, tuple[float, int]]) -> float:
    """Two-sided p of n times the variance being one at the largest and the least count."""
    if len(spread) < 2:
        return math.nan
    (most, (v_most, df_most)), *_, (least, (v_least, df_least)) = spread.items()
    below = stats.f.cdf(most * v_most / (least * v_least), df_most, df_least)
    return float(2 * min(below, 1 - below))


def _changed(one: Component, change: Callable[[float], float]) -> Component:
    """With estimate and ends changed alike."""
    estimate, low, high = map(change, (one.estimate, one.low, one.high))
    return one.model_copy(update={"estimate": estimate, "low": low, "high": high})
