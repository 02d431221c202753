"""The tables of the sensitivity report."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.figures.theme import number_format, scale_range
from analysis.frame import find_metric, headline_metrics
from analysis.metrics import Metric, parse_metric
from analysis.statistics.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy, Normalisation
from analysis.statistics.intervals import SIGNIFICANCE
from reports.parts import words
from reports.parts.blocks import Text, code, paragraph, strong, table
from reports.sensitivity import words as sentences
from reports.sensitivity.figures import SAVINGS
from reports.sensitivity.findings import Findings

STAR = "*"
NOTES = {PRIMARY: " (primary)", Normalisation.WINDOW: " (as published)"}


def claim_ledger(found: Findings) -> dict[str, Any]:
    """The claim, what was published, what we found, the verdict."""
    claim = found.claim
    ours: list = [f"{claim.setting}: "]
    ours += [
        words.listed([f"{a.metric.short} {sentences.estimate_of(a)}" for a in claim.evidence])
        or "no estimate"
    ]
    verdicts: list = [strong(sentences.verdict_words(claim))]
    published = found.asymmetry.verdict(Normalisation.WINDOW)
    if claim.evidence:
        verdicts.append(f"; per window, as published: {published.value}")
    return table(
        caption=(
            "Claim ledger. Our estimate is the asymmetry A with 95 % interval, for the verdict "
            f"{PRIMARY.value}; it rests on {claim.rests_on}."
        ),
        columns=["", "Claim of the paper", "Published", "Ours", "Verdict"],
        rows=[
            [[strong(claim.claim.id)], claim.claim.sentence, claim.claim.published, ours, verdicts]
        ],
        widths=[0.05, 0.28, 0.22, 0.27, 0.18],
        numeric_from=9,
    )


def asymmetry_rows(study: AsymmetryStudy) -> dict[str, Any]:
    """A under each normalisation, with its terms, interval, p and verdict."""
    if not study.estimates:
        return paragraph(
            f"Selector {study.selector}: no early and late window finished under the same base "
            "network, so the asymmetry A is not known."
        )
    rows: list[list[Text]] = []
    groups = [len(study.under(n)) for n in Normalisation if study.under(n)]
    for normalisation in Normalisation:
        for i, a in enumerate(study.under(normalisation)):
            name = normalisation.value + NOTES.get(normalisation, "")
            decimals = words.decimals_for(a.difference.low, a.difference.high)
            early, late = (
                words.number(term.estimate, signed=True)
                if decimals is None
                else words.fixed(term.estimate, decimals, signed=True)
                for term in (a.early, a.late)
            )
            verdict = study.verdict(normalisation).value
            rows.append(
                [
                    [strong(name)] if i == 0 else "",
                    a.metric.short,
                    early,
                    late,
                    sentences.estimate_of(a),
                    _p(a),
                    [strong(verdict)] if i == 0 else "",
                ]
            )
    sets = _observations(study)
    selector = f" Selector {study.selector}." if study.selector != "equidistant" else ""
    return table(
        caption=(
            f"The asymmetry A = early term {words.MINUS} late term, at depth {study.half_depth}."
            f"{selector} A term is the window's damage (FD and KID have no unit, NLL is in "
            "nats/token, accuracy a share of samples) divided by the window's scales, by nothing, "
            "by its tokens, or by the MiB of peak KV cache that its plan saves: a rate, since the "
            f"cache of a small network is less than one. {sets} p is Holm-adjusted over the "
            "deciding metrics; NLL does not decide and its p is not adjusted."
        ),
        columns=["Normalisation", "Metric", "Early", "Late", "A [95 % interval]", "p", "Verdict"],
        rows=rows,
        widths=[0.28, 0.11, 0.1, 0.1, 0.25, 0.12, 0.15],
        numeric_from=2,
        groups=groups,
    )


def _observations(study: AsymmetryStudy) -> str:
    """What the intervals run over: networks, sets and images."""
    counts = [
        f"{a.metric.short} {words.counted(a.sets // a.base_seeds, 'set')} of {a.count // a.sets}"
        for a in study.under(PRIMARY)
    ]
    networks = max((a.base_seeds for a in study.estimates), default=0)
    over = (
        f"the means of {words.counted(networks, 'base network')}, each over disjoint sets"
        if study.over_seeds
        else "disjoint sets of the one base network"
    )
    return f"Intervals are Student's t over {over} ({words.listed(counts)})."


def _p(a: Asymmetry) -> str:
    return words.p_value(a.p_holm if a.metric.decides else a.difference.p_value)


def window_rows(found: Findings) -> dict[str, Any]:
    """What each window costs and saves."""
    study = found.asymmetry
    damage = found.damage[found.damage["family"] == "window"]
    columns = _damage_columns(found, damage)
    savings = [(m, t) for name, t in SAVINGS if (m := find_metric(found.frame, name))]
    rows: list[list[Text]] = []
    for window, scales in study.windows.items():
        mine = damage[
            (damage["window"] == window).fillna(False)
            & (damage["selector"] == study.selector)
            & (damage["subnet_depth"] == study.half_depth).fillna(False)
        ].set_index("metric")
        tokens = sum(found.record.patch_nums[s - 1] ** 2 for s in scales)
        rows.append(
            [
                [strong(window)],
                f"{scale_range(scales)} ({tokens} tokens)",
                *(column.cell(mine) for column in columns),
                *(_saving_cell(mine, metric) for metric, _ in savings),
            ]
        )
    return table(
        caption=(
            f"What a window costs and saves: damage against the full network when its scales run "
            f"at depth {study.half_depth}, with 95 % interval (positive is worse), and the share "
            f"of the full network's peak KV cache and FLOPs that it saves. {STAR} marks p < 0.05 "
            f"after Holm's correction over the column. {found.basis}"
        ),
        columns=["Window", "Scales", *(c.title for c in columns), *(t for _, t in savings)],
        rows=rows,
        numeric_from=2,
        small=True,
    )


@dataclass(frozen=True, kw_only=True)
class DamageColumn:
    """A table's column of one metric's damage, written times ten to the minus `exponent`."""

    metric: Metric
    exponent: int

    @property
    def title(self) -> str:
        """The column's heading, with the factor that its numbers lack."""
        factor = f", {words.power_of_ten(self.exponent)}" if self.exponent else ""
        return self.metric.damage + factor

    def cell(self, by_metric: pd.DataFrame) -> str:
        """Estimate, interval and significance mark of one cell, given its rows by metric."""
        if self.metric.name not in by_metric.index:
            return "failed" if by_metric.empty else words.NOTHING
        row = by_metric.loc[self.metric.name]
        mark = STAR if row["p_holm"] < SIGNIFICANCE else ""
        scaled = (row[name] / 10.0**self.exponent for name in ("damage", "low", "high"))
        return words.unbroken(words.estimate(*scaled) + mark)


def _damage_columns(found: Findings, damage: pd.DataFrame) -> list[DamageColumn]:
    return [
        DamageColumn(
            metric=metric,
            exponent=number_format(damage.loc[damage["metric"] == metric.name, "damage"]).exponent,
        )
        for metric in headline_metrics(found.frame)
    ]


def _saving_cell(by_metric: pd.DataFrame, metric: Metric) -> str:
    if metric.name not in by_metric.index:
        return words.NOTHING
    row = by_metric.loc[metric.name]
    return words.percent(-row["damage"] / row["full_value"])


def level_rows(found: Findings) -> dict[str, Any]:
    """The full network's own level of each metric."""
    names = [m.name for m in headline_metrics(found.frame)]
    names += [n for n, _ in SAVINGS if find_metric(found.frame, n)]
    rows: list[list[Text]] = []
    for row in found.levels.set_index("metric").loc[names].reset_index().itertuples():
        metric = parse_metric(row.metric)
        if metric.exact:
            value = words.size(row.value) if metric.unit == "bytes" else words.number(row.value)
            counted = "exact"
        else:
            value = words.estimate(row.value, row.low, row.high, signed=False)
            counted = f"{row.count:,}"
            if not math.isnan(row.sets):
                counted += f" in {row.sets:.0f} sets" + (
                    f" x {row.base_seeds} networks" if row.base_seeds > 1 else ""
                )
        rows.append(
            [[code(metric.name)], metric.unit or words.NOTHING, metric.better.value, value, counted]
        )
    return table(
        caption=(
            "The full network itself: mean and 95 % interval of the mean. Distances depend on the "
            "extractor and on the number of samples in a set, and compare only at equal counts."
        ),
        columns=["Metric", "Unit", "Better", "Value", "Images or samples"],
        rows=rows,
        widths=[0.32, 0.13, 0.11, 0.24, 0.25],
        numeric_from=3,
    )


def cell_tables(found: Findings) -> list[dict[str, Any]]:
    """Every cell of the scale and switch families with intervals, one table a selector."""
    families = (("scale", "one scale loses depth"), ("switch", "two-zone plans"))
    tables = []
    for study in found.asymmetries:
        for family, said in families:
            if len(found.asymmetries) > 1:
                said = f"{said}, selector {study.selector}"
            damage, failed = (
                t[(t["family"] == family) & (t["selector"] == study.selector)]
                for t in (found.damage, found.failures)
            )
            if len(damage) or len(failed):
                tables.append(_cell_table(found, damage, failed, said=said))
    return tables


def _cell_table(
    found: Findings, damage: pd.DataFrame, failed: pd.DataFrame, *, said: str
) -> dict[str, Any]:
    savings = [(m, t) for name, t in SAVINGS if (m := find_metric(found.frame, name))]
    columns = _damage_columns(found, damage)
    cells = pd.concat([damage, failed])[["cell", "subnet_depth", "scale", "switch"]]
    cells = cells.drop_duplicates().sort_values(
        ["scale", "switch", "subnet_depth"], ascending=[True, True, False]
    )
    by_cell = {name: group.set_index("metric") for name, group in damage.groupby("cell")}
    rows: list[list[Text]] = []
    for name in cells["cell"]:
        mine = by_cell.get(name, pd.DataFrame())
        rows.append(
            [
                words.unbroken(name),
                *(column.cell(mine) for column in columns),
                *(_saving_cell(mine, m) for m, _ in savings),
            ]
        )
    return table(
        caption=(
            f"All cells, {said}: damage against the full network with 95 % interval; {STAR} marks "
            f"p < 0.05 after Holm's correction over the column. {found.basis}"
        ),
        columns=["Cell", *(c.title for c in columns), *(t for _, t in savings)],
        rows=rows,
        numeric_from=1,
        small=True,
    )
