"""The tables of the sensitivity report."""

from __future__ import annotations

import math

import pandas as pd

from analysis.figures.asymmetry import scale_range
from analysis.figures.heatmap import exponent_of
from analysis.metrics import parse_metric
from analysis.statistics.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy, Normalisation
from analysis.statistics.damage import cells_by
from analysis.statistics.intervals import SIGNIFICANCE, Interval
from reports.parts import words
from reports.parts.blocks import Run, code, strong
from reports.parts.page import Page
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import Findings

STAR = "*"
NOTES = {PRIMARY: " (primary)", Normalisation.WINDOW: " (as published)"}


def claim_ledger(page: Page, found: Findings) -> None:
    """The claim, what was published, what we found, the verdict."""
    claim = found.claim
    evidence = found.main.asymmetry.evidence
    estimates = [f"{a.metric.short} {words.interval(a.difference)}" for a in evidence]
    verdict: list[str | Run] = [strong(sentences.verdict_words(found))]
    if evidence:
        published = found.main.asymmetry.verdict(Normalisation.WINDOW)
        verdict.append(f"; per window, as published: {published.value}")
    row = {
        "": [strong(claim.claim.id)],
        "Claim of the paper": claim.claim.sentence,
        "Published": claim.claim.published,
        "Ours": f"{claim.setting}: {words.listed(estimates) or 'no estimate'}",
        "Verdict": verdict,
    }
    page.table(
        pd.DataFrame([row]),
        "Claim ledger. Our estimate is the asymmetry A with 95 % interval, for the verdict "
        f"{PRIMARY.value}; it rests on {claim.rests_on}.",
        widths=[0.05, 0.28, 0.22, 0.27, 0.18],
        numeric_from=9,
        small=False,
    )


def asymmetry_rows(page: Page, study: AsymmetryStudy) -> None:
    """A under each normalisation, with its terms, interval, p and verdict."""
    if not study.estimates:
        page.paragraph(
            f"Selector {study.selector}: no early and late window finished under the same base "
            "network, so the asymmetry A is not known."
        )
        return
    rows = [
        {
            "Normalisation": normalisation.value + NOTES.get(normalisation, ""),
            "Metric": a.metric.short,
            "Early": _term(a, a.early),
            "Late": _term(a, a.late),
            "A [95 % interval]": words.interval(a.difference),
            "p": words.p_value(a.p_value),
            "Verdict": "" if i else [strong(verdict.value)],
        }
        for normalisation, verdict in study.verdicts.items()
        for i, a in enumerate(study.under(normalisation))
    ]
    selector = f" Selector {study.selector}." if study.selector != "equidistant" else ""
    page.table(
        pd.DataFrame(rows),
        f"The asymmetry A = early term {words.MINUS} late term, at depth {study.half_depth}."
        f"{selector} A term is the window's damage (FD and KID have no unit, NLL is in "
        "nats/token, accuracy a share of samples) divided by the window's scales, by nothing, "
        "by its tokens, or by the MiB of peak KV cache that its plan saves: a rate, since the "
        f"cache of a small network is less than one. {_observations(study)} p is Holm-adjusted "
        "over the deciding metrics; NLL does not decide and its p is not adjusted.",
        widths=[0.28, 0.11, 0.1, 0.1, 0.25, 0.12, 0.15],
        numeric_from=2,
        small=False,
        grouped=True,
    )


def _term(a: Asymmetry, term: Interval) -> str:
    """With as many decimals as A itself."""
    decimals = words.decimals_for(a.difference.low, a.difference.high)
    if decimals is None:
        return words.number(term.estimate, signed=True)
    return words.fixed(term.estimate, decimals, signed=True)


def _observations(study: AsymmetryStudy) -> str:
    """What the intervals run over: networks, sets and images."""
    counts = [
        f"{a.metric.short} {words.counted(a.sets // a.base_seeds, 'set')} of {a.count // a.sets}"
        for a in study.under(PRIMARY)
    ]
    networks = max(a.base_seeds for a in study.estimates)
    over = (
        f"the means of {words.counted(networks, 'base network')}, each over disjoint sets"
        if study.over_seeds
        else "disjoint sets of the one base network"
    )
    return f"Intervals are Student's t over {over} ({words.listed(counts)})."


def window_rows(page: Page, found: Findings) -> None:
    """What each window costs and saves."""
    study, sides = found.study, found.study.geometry.patch_nums
    windows = pd.DataFrame(
        {
            "Window": [[strong(name)] for name in study.windows],
            "Scales": [
                f"{scale_range(scales)} ({sum(sides[s - 1] ** 2 for s in scales)} tokens)"
                for scales in study.windows.values()
            ],
        },
        index=list(study.windows),
    )
    page.table(
        windows.join(_cost_texts(found, found.main.windows)),
        "What a window costs and saves: damage against the full network when its scales run at "
        f"depth {study.half_depth}, with 95 % interval (positive is worse), and the share of the "
        f"full network's peak KV cache and FLOPs that it saves. {STAR} marks p < 0.05 after "
        f"Holm's correction over the column. {sentences.basis(found)}",
        numeric_from=2,
    )


def _cost_texts(found: Findings, cells: pd.DataFrame) -> pd.DataFrame:
    """Damage and savings as texts: a row a name and a column a metric of `cells_by`."""
    columns = []  # two metrics may have one heading
    for metric in found.metrics:
        mine = cells.loc[metric.name]
        exponent = exponent_of(mine["damage"])
        factor = f", {words.power_of_ten(exponent)}" if exponent else ""
        texts = []
        for row in mine.itertuples():
            scaled = (end / 10.0**exponent for end in (row.damage, row.low, row.high))
            mark = STAR if row.p_holm < SIGNIFICANCE else ""
            text = "failed" if row.failed else words.estimate(*scaled) + mark
            texts.append(words.unbroken(text))
        columns.append(pd.Series(texts, index=mine.index, name=metric.damage + factor))
    for metric, title in found.savings:
        mine = cells.loc[metric.name]
        share = -mine["damage"] / mine["full_value"]
        columns.append(share.map(words.percent).rename(title))
    return pd.concat(columns, axis=1)


def level_rows(page: Page, found: Findings) -> None:
    """The full network's own level of each metric."""
    rows = []
    for name in (*(m.name for m in found.metrics), *(m.name for m, _ in found.savings)):
        metric, row = parse_metric(name), found.levels.loc[name]
        if metric.exact:
            value = words.size if metric.unit == "bytes" else words.number
            said, counted = value(row["estimate"]), "exact"
        else:
            said = words.estimate(row["estimate"], row["low"], row["high"], signed=False)
            networks = f" x {row['base_seeds']:.0f} networks" if row["base_seeds"] > 1 else ""
            sets = "" if math.isnan(row["sets"]) else f" in {row['sets']:.0f} sets{networks}"
            counted = f"{row['count']:,.0f}{sets}"
        rows.append(
            {
                "Metric": [code(name)],
                "Unit": metric.unit or words.NOTHING,
                "Better": metric.better,
                "Value": said,
                "Images or samples": counted,
            }
        )
    page.table(
        pd.DataFrame(rows),
        "The full network itself: mean and 95 % interval of the mean. Distances depend on the "
        "extractor and on the number of samples in a set, and compare only at equal counts.",
        widths=[0.32, 0.13, 0.11, 0.24, 0.25],
        numeric_from=3,
        small=False,
    )


def cell_tables(page: Page, found: Findings) -> None:
    """Every cell of the scale and switch families with intervals, one table a selector."""
    metrics = [*found.metrics, *(m for m, _ in found.savings)]
    families = (("scale", "one scale loses depth"), ("switch", "two-zone plans"))
    place = ["scale", "switch", "subnet_depth"]
    for mine in found.selectors:
        of = f", selector {mine.selector}" if len(found.selectors) > 1 else ""
        for family, said in families:
            damage, failed = (
                t[(t["family"] == family) & (t["selector"] == mine.selector)]
                for t in (found.damage, found.failures)
            )
            plans = pd.concat([damage, failed]).drop_duplicates("plan")
            if plans.empty:
                continue
            plans = plans.sort_values(place, ascending=[True, True, False])
            texts = _cost_texts(found, cells_by(damage, failed, "plan", plans["plan"], metrics))
            texts.insert(0, "Cell", texts.index.map(words.unbroken))
            page.table(
                texts,
                f"All cells, {said}{of}: damage against the full network with 95 % interval; "
                f"{STAR} marks p < 0.05 after Holm's correction over the column. "
                f"{sentences.basis(found)}",
            )


def failures(page: Page, found: Findings) -> None:
    """The cells without numbers."""
    if found.failures.empty:
        page.paragraph("None: every cell of the study finished.")
        return
    rows = found.failures[["plan", "family", "selector", "base_seed"]].astype(str)
    rows.columns = ["Cell", "Family", "Selector", "Base seed"]
    rows["Cell"] = [[strong(name)] for name in rows["Cell"]]
    page.table(
        rows,
        f"{words.counted(len(rows), 'cell')} failed. They have no numbers anywhere in this "
        "report and are hatched in the figures.",
        numeric_from=9,
        widths=[0.4, 0.2, 0.2, 0.2],
        small=False,
    )
