"""The report of the pareto study: its order; tables, figures and words are beside it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.frame import FrameError, load_frame
from analysis.study_file import ParetoFile
from reports.pareto import figures, tables, words
from reports.pareto.findings import analyse, load_curves
from reports.parts import supernet_tables
from reports.parts.page import Page
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report
from reports.parts.sheet import add_samples
from reports.parts.words import counted


def make_report(folder: Path, study: ParetoFile) -> Report:
    """The report of a pareto study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    strange = sorted(set(frame["schedule"].dropna()) - set(study.labels))
    if strange:
        raise FrameError(
            f"{folder / 'frame.parquet'}: schedule {strange[0]!r} is not in study.json; keep the "
            "two files of one study together, or run it again"
        )
    found = analyse(study, frame, load_curves(folder / "curves.parquet"))
    levels = found.levels
    page = Page(
        study,
        "How deep, where to switch, how to train?",
        f"{counted(len(study.schedules), 'schedule')} of {study.budget_images:,} image passes a "
        "model",
        counted(len(study.seeds), "training seed"),
    )
    page.answer(study.question, words.verdict_words(found.ledger), words.answer_words(found))
    tables.ledger_table(page, found.ledger)
    tables.component_table(page, found.ledger)
    page.heading("Quality against memory")
    for data in found.frontiers:
        draw = partial(figures.frontier_plate, found, data)
        name, caption = data.metric.short, words.frontier_caption(found, data)
        lead = f"{name[0].upper()}{name[1:]} against KV memory. "
        page.figure(f"frontier_{data.metric.kind}", draw, lead, caption)
    tables.chosen_table(page, found)
    page.heading("Full network against subnets")
    for metric in found.metrics:
        if found.trades[metric.name]:
            draw = partial(figures.trade_plate, found, metric)
            lead = f"The trade between full network and subnets, {metric.short}. "
            page.figure(f"trade_{metric.kind}", draw, lead, words.trade_caption(found, metric))
    tables.level_table(page, found)
    tables.spread_table(page, found)
    tables.difference_table(page, found)
    if not found.hypervolumes.empty:
        page.heading("Hypervolume")
        draw = partial(figures.hypervolume_plate, found)
        page.figure("hypervolume", draw, "Hypervolume. ", words.hypervolume_caption(found))
    if found.curves is not None:
        page.heading("Training")
        draw = partial(figures.curves_plate, found)
        page.figure(
            "curves",
            draw,
            "Curves over training. ",
            f"Teacher-forced NLL in nats/token on {found.curves.images:,} images of the select "
            "split, which chooses nothing here; mean over seeds, with their range. Image passes in "
            "thousands.",
        )
    add_samples(
        page,
        folder,
        "Samples. ",
        "A row a model and plan, a column a class; the same random numbers in every row. First "
        "training seed.",
    )
    page.heading("Negative results")
    if items := words.negative_results(found):
        page.bullets(items)
    else:
        page.paragraph("None: every claim tested here was reproduced.")
    trained_for = f"every switch point; trained for {study.train_switch}"
    supernet_protocol(page, study, frame, plans=trained_for)
    page.heading("Cost")
    page.paragraph(words.cost_words(found))
    supernet_tables.models(page, study)
    supernet_tables.unfinished(page, levels, study)
    page.limits(words.limits(found))
    supernet_tables.every_plan(page, levels, found.frontiers)
    return page.report(answer=words.answer_json(found), summary=levels.table)
