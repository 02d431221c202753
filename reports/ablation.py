"""A table for a paper: what each choice is worth, one at a time, against a baseline.

Differences are paired within units (base network, uniforms, test images and training seed are the
baseline's), with 95 % intervals over units by Student's t, and p-values adjusted by Holm's method
over all differences of a metric. Only ways to train that differ from the baseline in one factor
are compared: the schedule, the layers that subnets keep, or the switch point trained for.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.claims.rules import EVERY, LATE, undecided
from analysis.errors import FrameError
from analysis.metrics import Metric
from analysis.statistics.intervals import SIGNIFICANCE, Interval, holm
from analysis.statistics.levels import Levels, PlanKey, Way
from analysis.study_file import SupernetFile
from reports.build import load_study
from reports.parts import words
from reports.parts.metrics import headings, judging_metrics
from reports.parts.page import Page
from reports.parts.report import picked, set_pdf, study_frame, write_atomically

STEM = "ablation"
SPECIAL = str.maketrans({c: f"\\{c}" for c in "&%$#_{}"} | {"−": "$-$", "–": "--"})


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of a way to train from the baseline, with one plan, by one metric.

    Attributes:
        factor: what differs, in a word.
        damage: positive is worse than the baseline.
        units: that it runs over.
        p_holm: adjusted; NaN without a test.
        undecided: why the metric may not decide here; empty where it may.
    """

    factor: str
    way: Way
    plan: PlanKey
    metric: Metric
    damage: Interval
    units: int
    p_holm: float
    undecided: str

    @property
    def significant(self) -> bool:
        return self.p_holm < SIGNIFICANCE and not self.undecided


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """The table.

    Attributes:
        left_out: ways to train that differ from the baseline in more than one factor.
    """

    folder: Path
    study: SupernetFile
    levels: Levels
    baseline: Way
    metrics: tuple[Metric, ...]
    differences: tuple[Difference, ...]
    left_out: tuple[str, ...]

    @property
    def caption(self) -> str:
        units = len(self.levels.units)
        why = dict.fromkeys(one.undecided for one in self.differences if one.undecided)
        mute = f" Not marked, whatever p is: {'; '.join(why)}."
        left = f" Left out, since more than one thing differs: {', '.join(self.left_out)}."
        return (
            f"Levels of the baseline ({self.baseline.name}) in the first rows; below, differences "
            f"from it by {words.over(units)}, positive being worse: mean with 95 % interval, "
            f"paired within units; {words.STAR} marks p < 0.05 after Holm over the differences of "
            f"a metric.{mute if why else ''}{left if self.left_out else ''}"
        )

    def rows(self) -> pd.DataFrame:
        """As texts: a row a way and plan, a column a metric."""
        named = headings(self.metrics, "short")
        found: dict[tuple[str, str, str], dict[str, str]] = {}
        for plan in filter(self.baseline.trains, self.levels.plans):
            place = ("baseline", self.baseline.name, plan.label)
            for metric in self.metrics:
                level = self.levels.observed((self.baseline.name, plan), metric.name)
                text = numbers.interval(level.interval(), signed=False) if level else ""
                found.setdefault(place, {})[named[metric.name]] = text
        for one in self.differences:
            place = (one.factor, one.way.name, one.plan.label)
            text = numbers.interval(one.damage) + (words.STAR if one.significant else "")
            found.setdefault(place, {})[named[one.metric.name]] = text
        keys = ("Factor", "Trained", "Plan")
        rows = [dict(zip(keys, key, strict=True)) | row for key, row in found.items()]
        return pd.DataFrame(rows).fillna("")

    def table(self) -> pd.DataFrame:
        """As numbers: a row a way, plan and metric."""
        rows = [
            {"factor": one.factor, "trained": one.way.name, "plan": one.plan.label}
            | {"metric": one.metric.name, "damage": one.damage.estimate}
            | picked(one.damage, "low", "high")
            | {"p": one.damage.p_value}
            | picked(one, "p_holm", "units", "undecided")
            for one in self.differences
        ]
        return pd.DataFrame(rows)

    def latex(self) -> str:
        rows = self.rows()
        texts = (rows.columns, *rows.to_numpy())
        head, *body = (f"{' & '.join(map(_latex, row))} \\\\" for row in texts)
        lines = [
            "\\begin{table}",
            f"\\caption{{{_latex(self.caption)}}}",
            f"\\begin{{tabular}}{{{'l' * 3}{'r' * (len(rows.columns) - 3)}}}",
            "\\toprule",
            head,
            "\\midrule",
            *body,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def write(self, out: Path) -> Path:
        """Write `ablation.csv`, `ablation.tex` and `ablation.pdf`; returns the last."""
        page = Page(self.study, "What each choice is worth", f"against {self.baseline.name}")
        page.answer(
            "What is each choice worth, one at a time, against the baseline?",
            self.summary,
            f"Of {self.folder}.",
        )
        page.table(self.rows(), self.caption, numeric_from=3)
        content = page.report(answer={}, summary=pd.DataFrame()).content
        write_atomically(out / f"{STEM}.csv", self.table().to_csv(index=False).encode())
        write_atomically(out / f"{STEM}.tex", self.latex().encode())
        return write_atomically(out / f"{STEM}.pdf", set_pdf(content, out, self.study.created))

    @property
    def summary(self) -> str:
        tested = [one for one in self.differences if one.p_holm == one.p_holm]
        mute = sum(bool(one.undecided) for one in tested)
        differ = sum(one.significant for one in tested)
        said = f"{differ} of {words.counted(len(tested), 'difference')} significant after Holm"
        return f"{said}, {mute} by what may not decide" if mute else said


def _latex(text: Any) -> str:
    return str(text).translate(SPECIAL)


def ablation(folder: Path, baseline: str | None = None) -> Ablation:
    """Of a folder of `studies.pareto` or `studies.switch`; `FrameError` for one that cannot be
    used, or a baseline that it has not.

    Args:
        baseline: what people call it; None for the progressive schedule, with the paper's subnets
            where it trains them.
    """
    study = load_study(folder)
    if not isinstance(study, SupernetFile):
        raise FrameError(f"--ablation {folder}: study {study.study} trains nothing to compare")
    levels = Levels(study_frame(folder, study, training=True, full=True))
    trained = [way for way in levels.ways if not way.anchor]
    if baseline is None:
        found = (way for way in trained if way.kind == "progressive")
        base = levels.progressive or next(found, None)
    else:
        base = next((way for way in trained if way.name == baseline), None)
    if base is None:
        known = ", ".join(way.name for way in trained)
        raise FrameError(f"--baseline {baseline or 'progressive'}: {folder} has {known}")
    metrics = judging_metrics(study, levels.metrics)
    ways = [way for way in levels.ways if way is not base and way is not levels.base]
    factors = {way.name: _factors(way, base) for way in ways}
    compared = [
        (factors[way.name][0], way, mine, theirs)
        for way in ways
        if len(factors[way.name]) == 1
        for mine, theirs in _counterparts(levels, base, way)
    ]
    differences = []
    for metric in metrics:
        observed = [
            levels.paired((way.name, mine), (base.name, theirs), metric.name)
            for _, way, mine, theirs in compared
        ]
        adjusted = holm([one.interval().p_value if one else math.nan for one in observed])
        for (factor, way, plan, _), one, p in zip(compared, observed, adjusted, strict=True):
            if one:
                units = len(one.units)
                differences.append(
                    Difference(
                        factor=factor,
                        way=way,
                        plan=plan,
                        metric=metric,
                        damage=one.interval(),
                        units=units,
                        p_holm=float(p),
                        undecided=undecided(study, metric, units, EVERY if plan.is_full else LATE),
                    )
                )
    return Ablation(
        folder=folder,
        study=study,
        levels=levels,
        baseline=base,
        metrics=metrics,
        differences=tuple(differences),
        left_out=tuple(way.name for way in ways if len(factors[way.name]) > 1),
    )


def _factors(way: Way, base: Way) -> tuple[str, ...]:
    """What differs, in words; the control's subnets are none, so only its schedule does."""
    differs = {"schedule": (way.kind, way.share) != (base.kind, base.share)}
    if not way.anchor:
        differs["layers kept"] = way.selector != base.selector
        differs["switch point"] = way.train_switch != base.train_switch
    return tuple(name for name, yes in differs.items() if yes)


def _counterparts(levels: Levels, base: Way, way: Way) -> Iterator[tuple[PlanKey, PlanKey]]:
    """Plans of a way, and of the baseline the ones that stand for the same: each trained for its
    own switch point and layers; the control's, which trains none, are the baseline's."""
    for theirs in filter(base.trains, levels.plans):
        if theirs.is_full or way.anchor:
            yield theirs, theirs
        else:
            assert way.selector is not None
            yield PlanKey(theirs.subnet_depth, way.train_switch, way.selector), theirs
