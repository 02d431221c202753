"""Which metrics a report shows where, and what it calls them."""

from collections.abc import Iterable, Sequence

from analysis.metrics import Metric
from analysis.study_file import StudyFile


def main_metrics(study: StudyFile, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Those of the first feature space, which decides, and those that need none.

    Those of the second are in the tables of all plans, and in the tests where they disagree.
    """
    others = {extractor.name for extractor in study.extractors[1:]}
    return tuple(m for m in metrics if m.extractor not in others)


def judging_metrics(study: StudyFile, metrics: Iterable[Metric]) -> tuple[Metric, ...]:
    """Of sample quality the distance in the first feature space, and of likelihood the mean NLL."""
    return tuple(m for m in main_metrics(study, metrics) if m.kind in ("fd", "fid", "nll"))


def headings(metrics: Sequence[Metric], *, unit: bool = True) -> dict[str, str]:
    """What columns of a table call them: two of one kind are told apart by their feature space."""
    kinds = [metric.kind for metric in metrics]
    return {
        m.name: (m.heading if unit else m.short)
        + (f", {m.extractor}" if kinds.count(m.kind) > 1 else "")
        for m in metrics
    }
