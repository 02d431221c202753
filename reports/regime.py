"""The report of the regime study: when does progressive training help, and does conflict say so?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.ledger import judge_regimes
from analysis.claims.rows import Kind, LedgerRow
from analysis.figures.heatmap import draw_conflict
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.maps.heatmap import Heatmap
from analysis.maps.regimes import Regime, explained, favoured, regime_map, regimes_of, trends
from analysis.statistics.conflict import CONFLICT_FILE, WHOLE, load_conflict, profile
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.units import LEAST_UNITS, Observations
from analysis.study_file import RegimeFile, Zone
from reports.parts import words
from reports.parts.figures import ROW_HEIGHT, heatmap_plate
from reports.parts.ledger import add_rules, add_tests, ledger_json
from reports.parts.page import Page, Text, strong
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, check_anchors
from reports.parts.tables import add_models

NAMES: dict[Zone, str] = {"full": "full network", "subnets": "subnets"}
COMPARED = ("progressive", "reversed")
Maps = Mapping[tuple[str, Zone], Heatmap]


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the first page says.

    Attributes:
        maps: by kind of schedule and zone.
        trends: by zone, see `analysis.maps.regimes.trends`; of the progressive schedule.
        because: by zone, see `analysis.maps.regimes.explained`.
        claim: C3, by its own rule in every regime.
    """

    maps: Maps
    trends: Mapping[Zone, Mapping[str, Observations]]
    because: Mapping[Zone, Observations]
    claim: LedgerRow

    @property
    def deciding(self) -> dict[Zone, Heatmap]:
        """The progressive schedule's maps."""
        return {zone: data for (kind, zone), data in self.maps.items() if kind == COMPARED[0]}


LIMITS = (
    "Likelihood alone: no sample is drawn, and sample quality need not follow it.",
    "Cosines are of gradients on one small set of select images, the same for full network and "
    "subnets, so that its chance is shared: they lean towards agreement, the more the smaller the "
    "gradients are. Ages and rates compare, one number alone does not.",
    "The correlation of conflict and benefit runs over a few regimes; it is no cause.",
)


DECAYING = (
    "Schedules differ in when they train subnets, and rates decay: progressive spends its subnet "
    "steps at low rates and reversed at high ones, so that order in time and weight by rate are "
    "one contrast. --lr-schedule constant parts them."
)


def make_report(folder: Path, study: RegimeFile) -> Report:
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    check_anchors(folder, frame)
    conflict, regimes = load_conflict(folder / CONFLICT_FILE), regimes_of(frame)
    plans = zones(study)
    found = Findings(
        maps={
            (kind, zone): regime_map(regimes, kind, plans[zone], f"{kind}, {NAMES[zone]}")
            for kind in COMPARED
            for zone in plans
        },
        trends={zone: trends(regimes, COMPARED[0], of) for zone, of in plans.items()},
        because={zone: explained(regimes, conflict, of) for zone, of in plans.items()},
        claim=judge_regimes(study, regimes),
    )
    page = Page(
        study,
        "When does progressive training help?",
        f"{words.counted(len(study.ages), 'age')} of the base, "
        f"{words.counted(len(study.rates), 'learning rate')}, "
        f"{study.budget_images:,} image passes a model",
        words.counted(len(study.units), "unit"),
    )
    page.answer(study.question, _verdict(study, found), _answer(study, found))
    over = words.over(len(study.units))
    _add_maps(page, found.maps, over)
    _add_trends(page, found, over)
    _add_conflict(page, study, conflict)
    _add_claim(page, found.claim)
    _add_differences(page, study, regimes, over)
    _add_levels(page, study, regimes, over)
    add_tests(page, study, [found.claim])
    _add_protocol(page, study, frame)
    page.heading("Models")
    add_models(page, study, Levels(frame))
    decaying = "" if study.lr_schedule == "constant" else DECAYING
    page.limits(["" if len(study.units) > 1 else words.ONE_UNIT, decaying, *LIMITS])
    add_rules(page, [found.claim])
    summary = _summary(regimes, plans)
    answer = {"ledger": ledger_json([found.claim]), "differences": summary.to_dict("records")}
    return page.report(answer=answer, summary=summary)


def judge(study: RegimeFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    return (judge_regimes(study, regimes_of(frame)),)


def zones(study: RegimeFile) -> dict[Zone, tuple[PlanKey, ...]]:
    """The plans that each half of an answer is of: subnets are meant on average."""
    subnets = (PlanKey(subnet_depth=d, switch=study.train_switch) for d in study.depths)
    return {"full": (FULL,), "subnets": tuple(subnets)}


def _summary(regimes: Sequence[Regime], plans: Mapping[Zone, Sequence[PlanKey]]) -> pd.DataFrame:
    """A row a schedule, zone and regime: how much worse than fixed, in nats/token."""
    rows = []
    for kind in COMPARED:
        for zone, of in plans.items():
            for regime in regimes:
                if found := regime.against_fixed(kind, of):
                    i = found.interval()
                    at = (regime.base_images, regime.lr, i.estimate, i.low, i.high, i.p_value)
                    rows.append((kind, zone, *at, len(found.units)))
    columns = "kind zone base_images lr damage low high p_value units"
    return pd.DataFrame(rows, columns=columns.split())


def _verdict(study: RegimeFile, found: Findings) -> str:
    counts = {zone: favoured(data) for zone, data in found.deciding.items()}
    said = [
        f"{NAMES[zone]} better in {f.better} and worse in {f.worse} of {f.of} regimes"
        for zone, f in counts.items()
    ]
    what = f"progressive against fixed at its mean share: {'; '.join(said)}"
    if len(study.units) < LEAST_UNITS:
        few = words.counted(len(study.units), "unit")
        return f"cannot resolve: {few}, a verdict needs {LEAST_UNITS} ({what})"
    return what


def _answer(study: RegimeFile, found: Findings) -> Text:
    said: list[Text] = [f"{words.ONE_UNIT} " if len(study.units) == 1 else ""]
    for zone, data in found.deciding.items():
        ends = favoured(data)
        said.append(strong(f"{NAMES[zone].capitalize()}: "))
        if ends.best is None or ends.worst is None:
            said.append("no regime has numbers. ")
            continue
        said.append(
            f"better {_where(data, -1)}, worse {_where(data, 1)}; progressive less fixed is from "
            f"{_cell(data, *ends.best)} to {_cell(data, *ends.worst)}, in nats/token. "
        )
    counts = Counter(line.verdict for line in found.claim.of(Kind.LIKELIHOOD))
    verdicts = [f"{verdict.value} in {counts[verdict]}" for verdict in Verdict if counts[verdict]]
    said += [strong("C3"), f" by likelihood: {words.listed(verdicts)}. "]
    told = [f"{NAMES[zone]} {_bounded(rho)}" for zone, rho in found.because.items() if rho]
    if told:
        said += [
            strong("Conflict: "),
            "over regimes, the rank correlation between the cosine of gradients and how much worse "
            f"progressive is, above 0 if conflict is the reason: {', '.join(told)}.",
        ]
    return said


def _where(data: Heatmap, sign: int) -> str:
    """`from bases of 8,000 (at 0.0001, 0.001) and 32,000 (at 0.001) images`; `nowhere`."""
    cells = data.significant & (np.sign(data.values) == sign)
    rows = [
        f"{name} (at {', '.join(np.array(data.columns)[row])})"
        for name, row in zip(data.rows, cells, strict=True)
        if row.any()
    ]
    return f"from bases of {words.listed(rows)} images" if rows else "nowhere"


def _bounded(rho: Observations) -> str:
    """A correlation, its interval cut to what one can be."""
    i = rho.interval()
    low, high = np.clip([i.low, i.high], -1.0, 1.0).tolist()
    return words.estimate(i.estimate, low, high)


def _cell(data: Heatmap, row: int, column: int) -> str:
    """`−0.027 [−0.036, −0.018] (base of 12,000 images, rate 0.003)`; with a star if significant."""
    ends = (data.values[row, column], data.low[row, column], data.high[row, column])
    star = words.STAR if data.significant[row, column] else ""
    place = f"base of {data.rows[row]} images, rate {data.columns[column]}"
    return f"{words.estimate(*ends)}{star} ({place})"


def _add_maps(page: Page, maps: Maps, over: str) -> None:
    page.heading("Which regimes favour progressive training?")
    page.figure(
        "regimes",
        partial(heatmap_plate, list(maps.values())),
        "Against the fixed share of the same mean. ",
        "How much worse NLL of test images is, from the same base (rows: its training images) at "
        "the same peak learning rate (columns) and with the same data order; "
        "negative is better. Subnets: their mean at the trained switch point. In brackets: not "
        f"different from zero at p < 0.05 after Holm's correction over the map, by {over}.",
    )


def _add_trends(page: Page, found: Findings, over: str) -> None:
    rows = [
        {"": strong(NAMES[zone]), **{f"Of the {n}": _text(o) for n, o in trends.items()}}
        for zone, trends in found.trends.items()
        if trends
    ]
    page.table(
        pd.DataFrame(rows),
        "What a doubling of the base's age, and one of the rate, adds to how much worse "
        "progressive is than fixed, in nats/token: slopes of a plane through all regimes, with 95 "
        f"% interval by {over}.",
    )


def _add_conflict(page: Page, study: RegimeFile, conflict: pd.DataFrame) -> None:
    page.heading("Do gradients conflict?")
    kinds = [kind for kind in ("fixed", "progressive") if (conflict["kind"] == kind).any()]
    if not kinds:
        page.paragraph("No training has gradients to compare.")
        return
    page.figure(
        "conflict",
        partial(_conflict_plate, study, conflict, kinds),
        "Cosine between gradients of full network and subnets, ",
        f"layer by layer over training, from bases of each age: on {study.gradient_images} select "
        "images, mean over subnets, rates and units. Below 0, what helps one harms the other. "
        "Layers that a subnet leaves out learn from the scales up to the switch point alone.",
    )
    whole = conflict[conflict["layer"] == WHOLE]
    means = whole.groupby(["kind", "base_images", "subnet_depth", "progress"])["cosine"].mean()
    wide = means.unstack("progress").reset_index()
    moments = wide.columns[3:]
    rows = [
        {
            "Schedule": str(one["kind"]),
            "Base": f"{one['base_images']:,.0f}",
            "Subnet": f"d{one['subnet_depth']:.0f}",
            **{f"{100 * moment:.0f} %": words.fixed(one[moment], 2) for moment in moments},
        }
        for one in wide.to_dict("records")
    ]
    page.table(
        pd.DataFrame(rows),
        "Cosine of the gradients of all parameters, by subnet and share of the training that is "
        "over; mean over rates and units.",
        grouped=True,
        numeric_from=3,
    )


def _conflict_plate(study: RegimeFile, conflict: pd.DataFrame, kinds: Sequence[str]) -> Figure:
    """A row a schedule, a column an age."""
    layers = study.geometry.depth
    figure = new_figure(height=len(kinds) * (0.45 + layers * 0.8 * ROW_HEIGHT) + 0.2)
    axes = figure.subplots(len(kinds), len(study.ages), squeeze=False)
    for kind, row in zip(kinds, axes, strict=True):
        for age, ax in zip(study.ages, row, strict=True):
            mine = conflict[(conflict["kind"] == kind) & (conflict["base_images"] == age)]
            if mine.empty:
                ax.set_axis_off()
                continue
            title = f"{kind}, base of {age:,}"
            draw_conflict(ax, profile(mine), title=title, row_label=ax is row[0])
            if kind != kinds[-1]:
                ax.set_xlabel("")
    return figure


def _add_claim(page: Page, row: LedgerRow) -> None:
    page.heading("What this says of C3")
    rows = [
        {"Regime": line.part, "Likelihood": [strong(line.verdict.value), f": {why}" if why else ""]}
        for line in row.lines
        if not line.decides
        for why in [line.said or line.reason]
    ]
    page.table(
        pd.DataFrame(rows),
        f"{row.claim.id}, {row.claim.short}, by its own rule in every regime, by likelihood. "
        "Sample quality decides the claim, and none is drawn here: this explains the verdicts of "
        "other studies and gives none.",
        widths=[0.3, 0.7],
    )


def _add_differences(page: Page, study: RegimeFile, regimes: Sequence[Regime], over: str) -> None:
    plans = (FULL, *zones(study)["subnets"])
    rows = [
        {
            "Schedule": kind,
            "Base": f"{regime.base_images:,}",
            "Rate": f"{regime.lr:g}",
            **{plan.label: _text(regime.against_fixed(kind, (plan,))) for plan in plans},
        }
        for kind in COMPARED
        for regime in regimes
    ]
    page.heading("Plan by plan")
    page.table(
        pd.DataFrame(rows),
        f"How much worse than the fixed share, in nats/token of test NLL, with 95 % interval by "
        f"{over}; negative is better. No correction for many tests.",
        grouped=True,
        numeric_from=1,
    )


def _add_levels(page: Page, study: RegimeFile, regimes: Sequence[Regime], over: str) -> None:
    """What bases and controls reach."""
    rows, plans = list[dict[str, Text]](), (FULL, *zones(study)["subnets"])
    for kind, named in (("base", "base"), ("full", "control"), ("fixed", "fixed")):
        for regime in regimes:
            if kind == "base" and regime.lr != study.rates[0]:
                continue  # the same at every rate
            row: dict[str, Text] = {"Network": named, "Base": f"{regime.base_images:,}"}
            row["Rate"] = words.NOTHING if kind == "base" else f"{regime.lr:g}"
            for plan in plans:
                place = regime.place(kind, plan)
                found = regime.levels.observed(place, "nll/mean") if place else None
                row[plan.label] = _text(found, signed=False)
            rows.append(row)
    page.table(
        pd.DataFrame(rows),
        f"Levels: NLL of test images in nats/token, with 95 % interval by {over}.",
        grouped=True,
        numeric_from=1,
    )


def _text(found: Observations | None, *, signed: bool = True) -> str:
    return words.unbroken(words.interval(found.interval() if found else None, signed=signed))


def _add_protocol(page: Page, study: RegimeFile, frame: pd.DataFrame) -> None:
    rates = ", ".join(f"{rate:g}" for rate in study.rates)
    ages = ", ".join(f"{age:,}" for age in study.ages)
    training = (
        f"bases of {ages} images, each to the end of its own rate schedule, of a unit's seed; from "
        f"each, {study.budget_images:,} image passes a model in batches of {study.batch}, peak "
        f"learning rate {rates}, {study.lr_schedule}, with the unit's seed; subnet steps drawn "
        "stratified: shares hold over every short window"
    )
    subnets = ", ".join(plan.label for plan in zones(study)["subnets"])
    protocol_table(page, study, frame, deciding=(), plans=f"full, {subnets}", training=training)
