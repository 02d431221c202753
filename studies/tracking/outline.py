"""What MLflow shows of a study but for the numbers of its cells: names, places, what is compared.

A file of the workspace, `mirror/<study>-<config>.json`, one for each config of a study. With the
cells' results it is all that a mirror is made of, so that one can be made again without the study:
see `studies.tracking.__main__`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from analysis.frame import REGIME_COLUMNS
from analysis.metrics import parse_metric
from analysis.study_file import CONTROL, with_selector
from studies.cells.cell import Cell, Task
from studies.cells.gauge import medians
from studies.cells.result import CellResult
from studies.cells.training import curve_of
from studies.grid.point import Outcome, Point
from studies.tracking.logged import Answer, LoggedCell, LoggedStudy
from varant.files import locked
from varant.manifest import LOCK, Damaged, recording, verified
from varant.store.workspace import Workspace

if TYPE_CHECKING:
    from reports import ReportPaths
    from studies.grid.bench import Planned

REMEDY = "run the study's command again"

Role = Literal["baseline", "floor", "untrained", "start"]
"""What a cell is compared with: the full plan of its network; a perfect generator; the network that
its training began from, under its plan and in full."""

Results = Mapping[str, CellResult]  # by digest


@dataclass(frozen=True, kw_only=True)
class OutlinedCell:
    """A cell's child run.

    Attributes:
        also: names of other points of the grid that it is.
        places: what its points are in any unit, such as `progressive d4@3`; of what is tabled.
        images_seen: by its network in training.
        compared: digests of the cells that it is compared with.
    """

    digest: str
    name: str
    also: str = ""
    places: tuple[str, ...] = ()
    params: Mapping[str, object]
    images_seen: int = 0
    compared: Mapping[Role, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A study in MLflow. `answer`: None as long as it has not ended."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    study: LoggedStudy
    cells: tuple[OutlinedCell, ...]
    answer: Answer | None = None

    @classmethod
    def of_grid(
        cls, study: LoggedStudy, points: Sequence[Point], cells: Mapping[Task, Cell], bench: Planned
    ) -> Outline:
        """Of the points of a study's grid; points may share a cell, which the first one names."""
        by_digest: dict[str, list[Point]] = {}
        for point in points:
            by_digest.setdefault(cells[point.task].digest, []).append(point)
        outlined = []
        for digest, (first, *others) in by_digest.items():
            task = first.task
            untrained, start = task.untrained()
            roles: dict[Role, Task | None] = {"baseline": task.baseline(), "floor": task.floor()}
            roles |= {"untrained": untrained, "start": start}
            params = _params((first, *others), bench)
            images_seen = params.get("budget_images", 0)
            assert isinstance(images_seen, int), "a budget is a number of images"
            outlined.append(
                OutlinedCell(
                    digest=digest,
                    name=first.name,
                    also=", ".join(point.name for point in others),
                    places=tuple(dict.fromkeys(map(_place, (first, *others))))
                    if task.tabled
                    else (),
                    params=params,
                    images_seen=images_seen,
                    compared={
                        role: cells[other].digest
                        for role, other in roles.items()
                        if other is not None and other in cells
                    },
                )
            )
        return cls(study=study, cells=tuple(outlined))

    def ended(
        self, answer: Answer, paths: ReportPaths, written: Sequence[Path], outcome: Outcome[Any]
    ) -> Outline:
        """With what the report says, its files and others that were `written` beside them."""
        seconds, workspace = outcome.seconds, outcome.bench.site.workspace
        files = {
            "": [paths.pdf, paths.answer, *written],
            "figures": sorted(path for path in paths.figures if path.suffix == ".png"),
            "figures_svg": sorted(path for path in paths.figures if path.suffix == ".svg"),
        }
        quick = "QUICK RUN: not a result. " if self.study.quick else ""
        note = [
            self.study.question.strip().splitlines()[0],
            f"{quick}**{paths.verdict}**. {answer.note}",
            f"{len(self.cells)} cells; report.pdf and the figures are in the Artifacts tab.",
        ]
        logged = Answer(
            note="\n\n".join(note),
            metrics={f"study/seconds {k}": v for k, v in seconds.items()} | dict(answer.metrics),
            tags={"verdict": paths.verdict} | dict(answer.tags),
            artifacts={
                folder: (*relative(some, workspace), *answer.artifacts.get(folder, ()))
                for folder, some in files.items()
            },
        )
        return replace(self, answer=logged)

    def logged(
        self, place: int, result: CellResult, results: Results, workspace: Workspace
    ) -> LoggedCell:
        """The cell at a place as MLflow shows it, compared with others' results that are there."""
        cell = self.cells[place]
        own_tags = {"also": cell.also, "error": result.error}
        curve = curve_of(workspace.cell(cell.digest))
        in_curve = {name for _, metrics in curve for name in metrics}
        metrics = metrics_of(cell, result, results)
        return LoggedCell(
            result=result,
            name=cell.name,
            place=place,
            params=cell.params,
            metrics={name: value for name, value in metrics.items() if name not in in_curve},
            curve=curve,
            images_seen=cell.images_seen,
            tags=self.study.tags | {name: text for name, text in own_tags.items() if text},
        )

    def write(self, workspace: Workspace) -> None:
        """Keep it in the workspace; one that has no answer yet replaces none that has."""
        path = workspace.outline(self.study.experiment, self.study.config_digest)
        with locked(path.parent / LOCK):
            if self.answer is not None or not path.exists():
                with recording(path) as aside:
                    aside.write_bytes(_FILE.dump_json(self, indent=1))


_FILE = TypeAdapter(Outline)


def read_outline(path: Path) -> Outline:
    """Raises `Damaged` for one that is not what was written."""
    try:
        return _FILE.validate_json(verified(path, REMEDY).read_bytes())
    except (OSError, ValidationError):
        raise Damaged(f"{path}: not an outline of this version; {REMEDY}") from None


def _params(points: Sequence[Point], bench: Planned) -> dict[str, Any]:
    """The typed columns of a cell's points, the first point's first, not what they are called.

    What is not trained on has the depth, seed and budget of its network.
    """
    columns: dict[str, Any] = {}
    for point in points:
        columns = {k: v for k, v in point.columns.items() if v is not None} | columns
    columns.pop("plan", None)
    network = {"schedule": CONTROL, "kind": CONTROL, "seed": columns.get("unit")}
    network |= {"subnet_depth": bench.geometry.depth, "budget_images": bench.training_images}
    return {k: v for k, v in network.items() if v is not None} | columns


def _place(point: Point) -> str:
    """What a point is in any unit: its way to train, plan, layers and regime."""
    columns = point.columns
    words = [str(columns[name]) for name in ("schedule", "plan") if columns.get(name) is not None]
    words = [with_selector(" ".join(words), columns.get("selector"))]
    regime = {name: columns.get(name) for name in REGIME_COLUMNS}
    words += [f"{name} {value:g}" for name, value in regime.items() if value is not None]
    return " ".join(words)


def metrics_of(cell: OutlinedCell, result: CellResult, results: Results) -> dict[str, float]:
    """The values of a cell; beside them the damage against the baseline, and `quality_of`."""
    facts = {k: v for k, v in result.facts.items() if isinstance(v, float) and k != "seconds"}
    metrics = result.values | facts | medians(result) | {"seconds/cell": result.seconds}
    full = _compared(cell, "baseline", results)
    for name in result.values.keys() & full.keys():
        metric = parse_metric(name)
        if metric.exact:
            metrics[f"saved_share/{flat(name)}"] = 1 - metrics[name] / full[name]
        else:
            damage = metric.damage_sign * (metrics[name] - full[name])
            metrics[f"damage/{flat(name)}"] = damage
    return metrics | quality_of(cell, result, results)


def quality_of(cell: OutlinedCell, result: CellResult, results: Results) -> dict[str, float]:
    """What the metric that decides first says, under names that no extractor changes:
    `quality/excess` over the floor and `quality/loss_share`, of the damage that the untrained
    network shows; each where there is what it is held against."""
    floor, untrained, base = (
        _compared(cell, role, results) for role in ("floor", "untrained", "start")
    )
    held = floor.keys() | (untrained.keys() & base.keys())
    shared = (name for name in result.values if name in held)
    headline = next((name for name in shared if parse_metric(name).kind in ("fd", "fid")), "")
    found = {}
    if headline in floor:
        found["quality/excess"] = result.values[headline] - floor[headline]
    if headline in untrained and headline in base and untrained[headline] != base[headline]:
        loss, most = result.values[headline] - base[headline], untrained[headline] - base[headline]
        found["quality/loss_share"] = loss / most
    return found


def _compared(cell: OutlinedCell, role: Role, results: Results) -> Mapping[str, float]:
    """The values of what it is compared with; none where that has no result."""
    other = results.get(cell.compared.get(role, ""))
    return {} if other is None else other.values


def relative(paths: Iterable[Path], workspace: Workspace) -> tuple[str, ...]:
    """Paths as an outline has them."""
    return tuple(os.path.relpath(path, workspace.folder) for path in paths)


def flat(metric: str) -> str:
    """A metric's name without slashes: the page makes a section of everything before the last."""
    return metric.replace("/", "-")
