"""The order and the words of the sensitivity report."""

from __future__ import annotations

from typing import Any

from analysis.statistics.intervals import Verdict
from reports.parts import words
from reports.parts.blocks import Text, answer, bullets, figure, heading, paragraph, strong, table
from reports.parts.protocol import protocol_table
from reports.sensitivity import words as sentences
from reports.sensitivity.figures import Gallery
from reports.sensitivity.findings import Findings
from reports.sensitivity.tables import (
    asymmetry_rows,
    cell_tables,
    claim_ledger,
    level_rows,
    window_rows,
)


def lay_out(found: Findings, gallery: Gallery) -> dict[str, Any]:
    """The whole report as content blocks for the template."""
    record = found.record
    blocks = [
        heading("Question and answer"),
        paragraph(
            "Which scales of a visual autoregressive network need depth? A VAR draws an image as "
            "token maps of growing side, and a depth plan says which of its layers run at each of "
            "these scales. The VARiant paper reports that early scales need all layers and late "
            "ones do not. We lower the depth of a trained network scale by scale, without further "
            "training, and measure what gets worse."
        ),
        answer(
            sentences.verdict_words(found.claim),
            sentences.answer_text(found.claim, found.asymmetry, quick=record.quick),
        ),
        claim_ledger(found),
        heading("Early against late scales"),
        window_rows(found),
        asymmetry_rows(found.asymmetry),
        *_figures(gallery, "asymmetry"),
        *_figure_section(gallery, "Scale by scale", "scale_depth_heatmap", "propagation"),
        *_figure_section(gallery, "Where to switch", "switch_depth_heatmap"),
        *_figure_section(gallery, "Samples", "sample_sheet"),
    ]
    blocks += [heading("Protocol"), protocol_table(record, found.frame), level_rows(found)]
    blocks += [heading("Failed cells"), _failures(found)]
    blocks += [heading("Limits"), _limits(found)]
    others = found.asymmetries[1:]
    if others:
        blocks.append(heading("Other selectors"))
        for study in others:
            blocks.append(asymmetry_rows(study))
            for name in ("asymmetry", "scale_depth_heatmap", "propagation", "switch_depth_heatmap"):
                blocks += _figures(gallery, f"{name}_{study.selector}")
    if cells := cell_tables(found):
        blocks += [heading("All cells"), *cells]
    return {
        "title": "Which scales need depth?",
        "subtitle": (
            f"Sensitivity study on {record.dataset}: {len(record.patch_nums)} scales, "
            f"{record.depth} layers"
        ),
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": blocks,
    }


def _figure_section(gallery: Gallery, title: str, *names: str) -> list[dict[str, Any]]:
    """A section of figures; no heading stands over nothing."""
    blocks = [block for name in names for block in _figures(gallery, name)]
    return [heading(title), *blocks] if blocks else []


def _figures(gallery: Gallery, name: str) -> list[dict[str, Any]]:
    if name not in gallery.plates:
        return []
    return [
        figure(
            path=f"figures/{name}.svg", caption=gallery.captions[name], alt=name.replace("_", " ")
        )
    ]


def _failures(found: Findings) -> dict[str, Any]:
    if found.failures.empty:
        return paragraph("None: every cell of the study finished.")
    rows = [
        [[strong(str(row.cell))], str(row.family), str(row.selector), str(row.base_seed)]
        for row in found.failures.itertuples()
    ]
    return table(
        caption=(
            f"{words.counted(len(rows), 'cell')} failed. They have no numbers anywhere in this "
            "report and are hatched in the figures."
        ),
        columns=["Cell", "Family", "Selector", "Base seed"],
        rows=rows,
        numeric_from=9,
        widths=[0.4, 0.2, 0.2, 0.2],
    )


def _limits(found: Findings) -> dict[str, Any]:
    items: list[Text] = []
    if found.record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    if found.claim.network_only:
        items.append(
            "One base network. Its intervals say how well this network was measured, not how much "
            "networks trained alike differ; several base seeds say that."
        )
    elif found.asymmetry.base_seeds < 5:
        items.append(
            f"{found.asymmetry.base_seeds} base networks leave "
            f"{words.counted(found.asymmetry.base_seeds - 1, 'degree')} of freedom, so intervals "
            "are wide."
        )
    items += [
        (
            "The claim was published for ImageNet and a network of two billion parameters. This is "
            f"an analogue on {found.record.dataset}: it can agree or disagree, and settles nothing "
            "there."
        ),
        (
            "Fréchet distance and KID speak of one extractor's features, not of people's eyes. "
            "Fréchet distance is biased upwards at the sample counts used; paired differences at "
            "equal counts lose most of that bias, not all."
        ),
        (
            "Teacher-forced NLL feeds every scale the true earlier tokens. It resolves small "
            "differences but hides how errors propagate, so it never decides."
        ),
        (
            "No plan was trained: a network fine-tuned for its plan would lose less, and perhaps "
            "elsewhere."
        ),
    ]
    if found.claim.verdict is Verdict.INCONCLUSIVE:
        items.append(
            "Inconclusive is not a finding of no asymmetry; the intervals show what sizes remain "
            "possible."
        )
    return bullets(items)
