"""What a study costs beside its cells: imports, MLflow, and reports of many cells."""

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from studies.cells.gauge import Gauge, Row
from studies.cells.result import CellResult
from studies.tracking.logged import LoggedCell, LoggedStudy

# What to run in a fresh interpreter, by what it is called.
PROGRAMS = {
    "python": "pass",
    "import varant": "import varant; varant.VAR",
    "help page of a study": "import studies.pareto; studies.pareto.ParetoConfig()",
    "import mlflow": "import studies.tracking.mlflow_runs",
    "import reports": "import reports.build",
}
MLFLOW_CELLS, MLFLOW_METRICS = 20, 20
MAKE = (
    "import sys; from pathlib import Path; from studies.rehearsal import write_pareto; "
    "write_pareto(Path(sys.argv[1]) / 'study', int(sys.argv[2]))"
)
BUILD = "import sys; from pathlib import Path; from reports import build; build(Path(sys.argv[1]))"


@dataclass(frozen=True, kw_only=True)
class _Overhead(Gauge):
    part: ClassVar[str] = "overheads"


def _row(subject: str, value: float, metric: str = "overhead_seconds") -> Row:
    return {"subject": subject, "metric": metric, "value": float(value)}


def run_program(*words: str) -> tuple[float, int]:
    """CPU-seconds of a Python of its own, and the most memory that it held."""
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:  # a Ctrl-C is for this process, which ends the other
        number = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", *words])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
    try:
        _, status, used = os.wait4(number, 0)
    except BaseException:
        os.kill(number, signal.SIGKILL)
        os.wait4(number, 0)
        raise
    if status:
        raise RuntimeError(f"a program of its own ended with {os.waitstatus_to_exitcode(status)}")
    return used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss


@dataclass(frozen=True, kw_only=True)
class Imports(_Overhead):
    """CPU-seconds of programs that only import."""

    kind: ClassVar[str] = "imports"

    def measure(self) -> Iterator[Row]:
        for name, program in PROGRAMS.items():
            run_program(program)  # compiles and reads into memory what others find there
            yield _row(name, min(run_program(program)[0] for _ in range(2)))


@dataclass(frozen=True, kw_only=True)
class Tracking(_Overhead):
    """CPU-seconds of MLflow a cell."""

    kind: ClassVar[str] = "MLflow"

    def measure(self) -> Iterator[Row]:
        from studies.tracking.mlflow_runs import open_study

        study = LoggedStudy(
            experiment="rehearsal",
            run_name="rehearsal",
            quick=True,
            question="",
            config_digest="rehearsal",
            params={},
        )
        with tempfile.TemporaryDirectory() as folder:
            started = time.process_time()
            record = open_study(Path(folder), study)
            opened = time.process_time()
            for place in range(MLFLOW_CELLS):
                record.record_cell(
                    LoggedCell(
                        result=CellResult(digest=f"{place}"),
                        name=f"cell {place}",
                        place=place,
                        params={"place": place},
                        metrics={f"metric/{i}": float(i) for i in range(MLFLOW_METRICS)},
                        curve=[],
                        images_seen=0,
                        tags={},
                    )
                )
            spent = (time.process_time() - opened) / MLFLOW_CELLS
        yield _row("MLflow, a new database", opened - started)
        yield _row(f"MLflow, a cell of {MLFLOW_METRICS} metrics", spent)


@dataclass(frozen=True, kw_only=True)
class Reporting(_Overhead):
    """CPU-seconds and memory of the report of a synthetic `pareto` study."""

    cells: int

    @property
    def name(self) -> str:
        return f"report of {self.cells:,} cells"

    def measure(self) -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as folder:
            run_program(MAKE, folder, str(self.cells))
            seconds, held = run_program(BUILD, f"{folder}/study")
        yield _row(self.name, seconds)
        yield _row(self.name, held, "overhead_bytes")
