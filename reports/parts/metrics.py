"""Which metrics a report shows where, and what it calls them."""

from collections.abc import Iterable, Sequence

from analysis.metrics import Metric
from analysis.statistics.levels import Levels
from analysis.study_file import StudyFile
from reports.parts import words


def main_metrics(study: StudyFile, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Those of the first feature space, which decides, and those that need none.

    Those of the second are in the tests behind the ledger and in `summary.csv`.
    """
    others = {extractor.name for extractor in study.extractors[1:]}
    return tuple(m for m in metrics if m.extractor not in others)


def judging_metrics(study: StudyFile, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Of sample quality the distance in the first feature space, and of likelihood the mean NLL."""
    return tuple(m for m in main_metrics(study, metrics) if m.kind in ("fd", "fid", "nll"))


def basis(levels: Levels, metric: Metric) -> str:
    """What numbers of a metric rest on: its feature space, counts, units."""
    row = levels.table[levels.table["metric"] == metric.name].iloc[0]
    each = int(row["count"]) // int(row["units"])
    what = f"{metric.label} ({metric.name})" if metric.extractor else metric.label
    units = words.counted(int(row["units"]), "unit")
    of = "test images" if metric.kind == "nll" else "samples"
    return f"{what[0].upper()}{what[1:]}: {each:,} {of} a model, {units}."


def headings(metrics: Sequence[Metric], of: str = "heading") -> dict[str, str]:
    """What columns of a table call them, by this attribute of theirs: two of one kind are told
    apart by their feature space."""
    kinds = [m.kind for m in metrics]
    spaces = {m: f", {m.extractor}" if kinds.count(m.kind) > 1 else "" for m in metrics}
    return {m.name: getattr(m, of) + space for m, space in spaces.items()}
