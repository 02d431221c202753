"""A cell of the efficiency study: one thing to measure of one network on one machine."""

import abc
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import varant
from studies.cells.cell import attempt
from studies.cells.result import FINISHED, CellResult, kept_result, write_result
from studies.cells.timing import Stopwatch
from varant.devices import Precision
from varant.files import digest_of, locked, sha256_file
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.tokenizer import TokenizerConfig
from varant.store.workspace import Workspace

# Raise it when the meaning of a row changes: finished cells are then measured again.
ROWS_SCHEMA = 1
Row = dict[str, Any]
"""Some of the columns of `analysis.efficiency_file.COLUMNS`."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured, where: all cells of an invocation share it.

    Attributes:
        name: of the geometry, as the flag spells it.
        plans: the full network first.
        machine: the name of what computes, with what numbers of another machine are not mixed.
        compiled_batches: batch sizes that our layers are compiled for; 0 runs them as they are.
        code: digest of the code that is measured: that of an earlier day says nothing of today's.
        repeats: of each timing.
    """

    name: str
    geometry: Geometry
    tokenizer: TokenizerConfig
    plans: tuple[DepthPlan, ...]
    precision: Precision
    device: str
    machine: str
    torch: str
    compiled_batches: int
    code: str
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Gauge(abc.ABC):
    """One cell. `part`: of the study; `kind`: what is measured, as people say it."""

    subject: Subject
    part: ClassVar[str]
    kind: ClassVar[str]

    @property
    def name(self) -> str:
        return self.kind

    @abc.abstractmethod
    def measure(self) -> Iterator[Row]:
        """Its rows of the frame, but for `part` and `cell_digest`."""

    def result(self) -> CellResult:
        rows = [row | {"part": self.part} for row in self.measure()]
        return CellResult(digest=self.digest, facts={"rows": rows})

    @property
    def identity(self) -> dict[str, object]:
        """All that its numbers depend on, JSON-ready; the device's index is none of it."""
        own = asdict(self) | {"gauge": type(self).__name__, "schema": ROWS_SCHEMA}
        own["subject"]["device"] = self.subject.device.partition(":")[0]
        return own

    @property
    def digest(self) -> str:
        return digest_of(self.identity)


@dataclass(frozen=True, kw_only=True)
class BatchGauge(Gauge):
    """A cell of one batch size: images that are drawn at once, or of a training step."""

    batch: int

    @property
    def name(self) -> str:
        return f"{self.kind}, batch {self.batch}"

    @property
    def watch(self) -> Stopwatch:
        return Stopwatch(repeats=self.subject.repeats, device=self.subject.device)

    def row(self, plan: str, metric: str, value: float, **more: object) -> Row:
        of: Row = {"subject": plan, "batch": self.batch, "metric": metric}
        return of | {"value": float(value)} | more


def code_digest() -> str:
    """Of all that a cell may run: the package, and the cells themselves."""
    folders = (Path(varant.__file__).parent, Path(__file__).parent)
    sources = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return digest_of([sha256_file(path) for path in sources])


def run_gauge(gauge: Gauge, workspace: Workspace, *, again: bool = False) -> CellResult:
    """The result in the cell's folder, measured now unless it is there; else as `run_cell`.

    Args:
        again: whether one that failed is measured again.
    """
    folder = workspace.cell(gauge.digest)
    with locked(folder / ".cell.lock"):
        found = kept_result(folder, gauge.digest)
        if found is None or (again and found.status != FINISHED):
            found = attempt(gauge.digest, gauge.result)
            write_result(folder, found)
        return found


def rows_of(result: CellResult) -> list[Row]:
    """Of a frame; none of a cell that failed."""
    rows: Any = result.facts.get("rows", ())
    return [row | {"cell_digest": result.digest} for row in rows]


def medians(result: CellResult) -> dict[str, float]:
    """What MLflow shows of a cell: each metric's median over repeats, of wholes only."""
    values: dict[str, list[float]] = {}
    for row in rows_of(result):
        if row.get("stage") is None:
            of = " ".join(row[name] for name in ("style", "subject") if row.get(name))
            values.setdefault(f"{row['metric']}/{of}", []).append(row["value"])
    return {name: statistics.median(found) for name, found in values.items()}
