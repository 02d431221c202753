"""Cells that do what a test of the runner wants to see, in whatever process they run."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from studies.cells.cell import Cell, HeldOut, Network, Task
from studies.cells.result import CellResult, Measurements
from varant.errors import Diverged, Preempted
from varant.model.geometry import Geometry
from varant.signals import stop_signals
from varant.start.calibration import Speed


def say_and_sleep(path: Path) -> None:
    """Write the number of the process that runs this, and sleep."""
    path.write_text(str(os.getpid()))
    time.sleep(50)


def say_and_save(path: Path) -> None:
    """Write the number of the process that runs this, and `saved` when it is asked to stop."""
    asked: list[int] = []
    with stop_signals(lambda number, _: asked.append(number)):
        path.write_text(str(os.getpid()))
        while not asked:
            time.sleep(0.1)
        time.sleep(1)
        path.with_name("saved").touch()


@dataclass(frozen=True, kw_only=True)
class Probe(Task):
    """A task whose result is a few random numbers of its seed.

    Attributes:
        deed: what it does besides; `once` in it: only where `marks` has no mark of it yet.
    """

    seed: int
    deed: str = ""
    marks: Path | None = None
    unit: int = 0

    def identity(self, network: Network) -> dict[str, object]:
        return {"seed": self.seed, "deed": self.deed}

    @property
    def images(self) -> int:
        return 10

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return 1.0

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "visits").open("a") as file:
            file.write("x")
        mark = self.marks / f"mark-{self.seed}" if self.marks else None
        again = mark is not None and mark.exists()
        if mark is not None:
            mark.touch()
        if not ("once" in self.deed and again):
            self._do()
        generator = torch.Generator().manual_seed(self.seed)
        values = torch.randn(64, 64, generator=generator)
        found = (values @ values).double().mean().item()
        metrics = {
            "nll/mean": Measurements(value=found, count=1),
            "class_accuracy": Measurements(value=float(torch.get_num_threads()), count=1),
        }
        return CellResult(digest=cell.digest, metrics=metrics)

    def _do(self) -> None:
        match self.deed.split()[0] if self.deed else "":
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail":
                raise RuntimeError("as planned")
            case "diverge":
                raise Diverged("loss is nan at step 7")
            case "preempt":
                raise Preempted("stopped after step 3")
            case "disk":
                raise OSError(28, "No space left on device")


def probe(*, after: str | None = None, **task: object) -> Cell:
    """A probe, to run after the cell of digest `after`."""
    here = Path("here")
    held_out = HeldOut(
        tokenizer_folder=here,
        tokenizer_sha256="t",
        tokens_folder=here,
        tokens_digest="k",
        extractors=(),
        references=(),
    )
    network = Network(
        model_folder=here,
        model="m",
        tokens_folder=here,
        tokens_digest="k",
        held_out=held_out,
        trained_by=after,
    )
    return Cell(task=Probe(**task), network=network)
