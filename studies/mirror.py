"""A study in MLflow: a parent run with the answer, a child run a cell.

MLflow mirrors what is on disk. A database that is locked or gone stops no study: the cells go on,
and the next invocation writes what is missing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from analysis.frame import parse_metric
from analysis.intervals import paired_t
from reports import ReportPaths
from studies.cell import Cell
from studies.folder import FRAME_FILE, STUDY_FILE
from studies.mirroring import mirroring
from studies.networks import Bench
from studies.results import FINISHED, CellResult
from studies.training_cell import TrainingCell
from varant.preparation import Workspace

if TYPE_CHECKING:
    from studies.records import LoggedDataset, StudyRecord
    from studies.study import Outcome, Point, Study


class Mirror:
    """The record of one invocation of a study; begun in a thread, since MLflow takes seconds."""

    def __init__(
        self,
        study: Study,
        bench: Bench,
        points: Sequence[Point],
        workspace: Workspace,
        config_digest: str,
    ) -> None:
        self._study, self._bench, self._workspace = study, bench, workspace
        self._digest = config_digest
        self._points: dict[str, list[Point]] = {}
        for point in points:
            self._points.setdefault(point.cell.digest, []).append(point)
        self._places = {digest: i for i, digest in enumerate(self._points)}
        self._record: StudyRecord | None = None
        self._live = True
        self._thread = threading.Thread(target=self._open)
        self._thread.start()

    def on_result(self, cell: Cell, result: CellResult) -> None:
        """Write a cell as soon as it has ended, unless the database gave trouble before."""
        if self._live:
            self._live = self._use(lambda r: self._record_cell(r, cell.digest, result, None))

    def interrupt(self) -> None:
        """Leave no run marked as running behind."""
        self._use(lambda record: record.interrupt())

    def finish(self, outcome: Outcome, paths: ReportPaths, more: Sequence[Path]) -> None:
        """Write what is missing of any cell, and the answer with its files on the parent run."""

        def write(record: StudyRecord) -> None:
            for digest in self._points:
                baseline = self._baseline_of(outcome, digest)
                self._record_cell(record, digest, outcome.results[digest], baseline)
            self._finish(record, outcome, paths, more)

        self._use(write)

    def _use(self, write: Callable[[StudyRecord], None]) -> bool:
        """Whether there is a record and `write` succeeded; trouble is said in one line."""
        self._thread.join()
        if self._record is None:
            return False
        with mirroring():
            write(self._record)
            return True
        return False

    def _open(self) -> None:
        with mirroring():
            from studies.records import open_study

            study = self._study
            name = study.run_name(self._bench)
            self._record = open_study(
                self._workspace.folder,
                study=study.folder_name,
                run_name=f"QUICK {name}" if study.flags.quick else name,
                config_digest=self._digest,
                params=study.measured_flags(),
                tags=self._tags() | {"mlflow.source.name": f"studies.{study.name}"},
                dataset=self._dataset(),
            )

    def _tags(self) -> dict[str, str]:
        geometry = self._bench.geometry
        return {
            "study": self._study.folder_name,
            "dataset": self._bench.dataset.name,
            "geometry": f"d{geometry.depth} w{geometry.width} {len(geometry.patch_nums)} scales",
            "quick": str(self._study.flags.quick).lower(),
            "mlflow.source.type": "LOCAL",
        }

    def _dataset(self) -> LoggedDataset:
        from studies.records import LoggedDataset

        dataset = self._bench.dataset
        return LoggedDataset(
            name=dataset.name,
            digest=dataset.digest,
            source=f"varant.datasets.load_dataset({dataset.name!r})",
            images=dataset.sizes["test"],
        )

    def _baseline_of(self, outcome: Outcome, digest: str) -> CellResult | None:
        """The result that a cell is compared with: the baseline of the same network."""
        mine = self._points[digest][0].cell
        if not mine.tabled:  # it has metrics of its own
            return None
        for point in outcome.points:
            if point.in_frame and point.columns["cell"] == self._study.baseline:
                same = getattr(mine, "network", None) == point.cell.network
                if same and point.cell.digest != digest:
                    return outcome.results[point.cell.digest]
        return None

    def _record_cell(
        self,
        record: StudyRecord,
        digest: str,
        result: CellResult,
        baseline: CellResult | None,
    ) -> None:
        first, *others = self._points[digest]
        tags = self._tags()
        if others:
            tags["also"] = ", ".join(point.name for point in others)
        if result.error:
            tags["error"] = result.error
        columns: dict[str, object] = {}
        for point in (first, *others):
            columns = {k: v for k, v in point.columns.items() if v is not None} | columns
        columns.setdefault("subnet_depth", self._bench.geometry.depth)
        columns.setdefault("schedule", "full")
        columns["seed"] = columns.get("seed", columns.get("base_seed"))
        columns.setdefault("budget_images", self._bench.training_images[0])
        training = isinstance(first.cell, TrainingCell)
        folder = self._workspace.cell(digest)
        record.record_cell(
            digest=digest,
            name=first.name,
            place=self._places[digest],
            status=result.status,
            params={k: v for k, v in columns.items() if k != "cell"},
            metrics=_metrics(result, baseline, without_select=training),
            curve=first.cell.curve(folder) if training else (),
            images_seen=_whole(columns["budget_images"]),
            tags=tags,
            dataset=self._dataset(),
            seconds=result.seconds,
        )

    def _finish(
        self, record: StudyRecord, outcome: Outcome, paths: ReportPaths, more: Sequence[Path]
    ) -> None:
        study = self._study
        facts = json.loads((outcome.folder / STUDY_FILE).read_text())
        metrics = {
            "study/seconds wall": facts["wall_seconds"],
            "study/seconds preparation": facts["preparation_seconds"],
        }
        quick = "QUICK RUN: not a result. " if study.flags.quick else ""
        record.finish(
            note="\n\n".join(
                [
                    study.question.strip().splitlines()[0],
                    f"{quick}**{paths.verdict}**. {study.note(paths)}",
                    f"{len(outcome.results)} cells on {outcome.bench.dataset.name}; report.pdf "
                    "and the figures are in the Artifacts tab.",
                ]
            ),
            metrics=metrics | study.parent_metrics(outcome, paths),
            tags={"verdict": paths.verdict} | study.parent_tags(paths),
            artifacts={
                "": [
                    paths.pdf, paths.answer, outcome.folder / FRAME_FILE,
                    outcome.folder / STUDY_FILE, *more,
                ],
                "figures": sorted(path for path in paths.figures if path.suffix == ".png"),
                "figures_svg": sorted(path for path in paths.figures if path.suffix == ".svg"),
            },
            failed=any(result.status != FINISHED for result in outcome.results.values()),
        )  # fmt: skip


def _metrics(
    result: CellResult, baseline: CellResult | None, *, without_select: bool
) -> dict[str, float]:
    """Means over the sets; against the baseline the paired damage with its standard error."""
    metrics = {
        name: fmean(found.values)
        for name, found in result.metrics.items()
        if not (without_select and name.startswith("select/"))  # the curve has them
    }
    metrics |= {k: v for k, v in result.facts.items() if isinstance(v, float) and k != "seconds"}
    metrics["seconds/cell"] = result.seconds
    if baseline is None or not (result.metrics and baseline.metrics):
        return metrics
    for name, found in result.metrics.items():
        sign = parse_metric(name).damage_sign
        pairs = zip(found.values, baseline.metrics[name].values, strict=True)
        if found.count:
            difference = paired_t([sign * (one - other) for one, other in pairs])
            metrics[f"damage/{flat(name)}"] = difference.estimate
            metrics[f"damage_standard_error/{flat(name)}"] = difference.standard_error
        else:
            share = 1 - found.values[0] / baseline.metrics[name].values[0]
            metrics[f"saved_share/{flat(name)}"] = share
    return metrics


def flat(metric: str) -> str:
    """A metric's name without slashes: the page makes a section of everything before the last."""
    return metric.replace("/", "-")


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
