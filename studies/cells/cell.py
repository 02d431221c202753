"""One point of a study: what is to be done (`Task`), and at which network (`Cell`).

A task is planned from flags alone and says what it costs. Once data and networks are prepared it
becomes a cell: config in, result out. Its kinds are trainings (`training.py`), what is done with
one plan and real images (`evaluation.py`); each answers for itself, nobody asks for its type.
"""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from analysis.study_file import LikelihoodFacts, SamplingFacts
from studies.cells.result import (
    DIVERGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    CellResult,
    kept_result,
    write_result,
)
from varant.devices import Precision
from varant.errors import Diverged, Preempted, UserError
from varant.files import digest_of, locked
from varant.signals import raise_again
from varant.store.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds to import: what is only planned goes without
    from varant.evaluation.extractors import ExtractorSpec
    from varant.model.geometry import Geometry
    from varant.model.plan import DepthPlan
    from varant.start.calibration import Speed


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What a unit is measured on, by files and by what identifies their content.

    Attributes:
        tokens_folder, tokens_digest: its test images, and real ones to be scored as samples.
        extractors: feature spaces, the deciding one first.
        references: what samples are compared with, a file a space.
        training, training_digest: features of training images in the first space, which samples
            may be copies of, and their tokens'; None where the study reads no training images.
        reference_digest: of a given file; without, references follow from tokens and extractors.
        shared: whether other units have the same images, whose chance is then common to all.
    """

    tokenizer_folder: Path
    tokenizer_sha256: str
    tokens_folder: Path
    tokens_digest: str
    extractors: tuple[ExtractorSpec, ...]
    references: tuple[Path, ...]
    training: Path | None = None
    training_digest: str | None = None
    reference_digest: str | None = None
    shared: bool = False

    @property
    def identity(self) -> dict[str, object]:
        """What scores depend on beside the samples."""
        found: dict[str, object] = {
            "tokenizer": self.tokenizer_sha256,
            "held_out": self.tokens_digest,
            "extractors": [extractor.identity for extractor in self.extractors],
        }
        found |= {"training": self.training_digest} if self.training_digest else {}
        found |= {"shared": True} if self.shared else {}
        return found | ({"reference": self.reference_digest} if self.reference_digest else {})


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of a unit and its training data.

    Attributes:
        model: SHA-256 of the weights, or `cell DIGEST` of the training that makes them; None where
            the study measures data alone, and `model_folder` holds just the tokenizer.
        trained_by: that cell's digest.
        precision: of its weights where it is measured.
    """

    model_folder: Path
    model: str | None
    tokens_folder: Path
    tokens_digest: str
    held_out: HeldOut
    trained_by: str | None = None
    precision: Precision = "float32"


class Evaluation(SamplingFacts, LikelihoodFacts):
    """How a cell is measured, in the words of a study's file.

    Attributes:
        seed: of the uniforms; by default the unit's number.
    """

    seed: int


@dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """What is to be done, known before anything is made.

    Attributes:
        unit: whose base network, held-out images and uniforms are used.
        trained: the training that makes the network of it; None for the base network itself.
        tabled: whether its metrics are rows of the frame; not of what only trains or chooses.
        trains: whether it trains a network.
    """

    unit: int
    trained: Task | None = None
    tabled: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def images(self) -> int:
        """Image passes that it takes."""

    @property
    def also_trained(self) -> tuple[Task, ...]:
        """Trainings whose networks it uses beside that of `trained`."""
        return ()

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits of the data set that it reads in tokens, beside the unit's."""
        return ()

    @abc.abstractmethod
    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        """Expected CPU-seconds on a machine of this speed, for a network of this geometry."""

    @abc.abstractmethod
    def identity(self, network: Network) -> dict[str, object]:
        """All that the result depends on, JSON-ready."""

    @abc.abstractmethod
    def measure(self, cell: Cell, folder: Path) -> CellResult:
        """Do the work; files go into `folder`, where an earlier visit may have left some.

        Seconds are given where earlier visits did a part; else they are this visit's.
        """

    def lacks(self, known: CellResult) -> bool:
        """Whether a finished cell, of an earlier version, lacks scores that `complete` adds."""
        return False

    def complete(self, cell: Cell, folder: Path, known: CellResult) -> CellResult:
        """What a finished cell lacks, of what its folder keeps."""
        return known

    def baseline(self) -> Task | None:
        """What its values are compared with; None for nothing."""
        return None

    def floor(self) -> Task | None:
        """What a perfect generator scores, measured as this is; None for nothing."""
        return None

    def untrained(self) -> tuple[Task | None, Task | None]:
        """The same on the network that its training began from, of a full network half its layers,
        and that network in full: the study may measure neither."""
        return None, None

    @property
    def tabled_plan(self) -> DepthPlan | None:
        """The plan that its rows of the frame are of; None where it has none."""
        return None

    def check_fits(self, geometry: Geometry, device: str) -> None:
        """Raise `UserError` where the device's memory is too small for it."""
        return

    def training_facts(self, geometry: Geometry) -> dict[str, Any]:
        """What `study.json` says of a training beside its result; nothing of others."""
        return {}

    def curve(self, folder: Path, geometry: Geometry) -> Iterable[dict[str, object]]:
        """Rows of select NLL over its training, as its folder tells; none of others."""
        return ()

    def cosines(self, folder: Path, geometry: Geometry) -> Iterable[tuple[int, int, int, float]]:
        """(images seen, subnet depth, layer, cosine) of gradients over its training; see there."""
        return ()

    def images_done(self, folder: Path) -> int:
        """How many of `images` are done, as the folder tells; 0 where it does not."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A task at a network: it says all that its result depends on, and can be run anywhere.

    Attributes:
        others: networks of `task.also_trained`.
        device: where it runs; no part of its identity, nor are paths.
        batch: images generated at once; each draws its own uniforms, so it is no identity either.
    """

    task: Task
    network: Network
    others: tuple[Network, ...] = ()
    device: str = "cpu"
    batch: int = 250

    @property
    def needs(self) -> tuple[str, ...]:
        """Digests of the cells that must be finished before this one can run."""
        trained = (network.trained_by for network in (self.network, *self.others))
        return tuple(digest for digest in trained if digest is not None)

    @functools.cached_property
    def identity(self) -> dict[str, object]:
        others = {"others": [other.model for other in self.others]} if self.others else {}
        return self.task.identity(self.network) | others

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.identity)


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a study's cells are.

    Attributes:
        networks: that were there before the study trained any, by unit.
        batch: images generated at once.
    """

    networks: Mapping[int, Network]
    workspace: Workspace
    device: str
    batch: int

    def cell(self, task: Task) -> Cell:
        """The task at its network, a base or the one that its training makes."""
        return Cell(
            task=task,
            network=self._network(task.unit, task.trained),
            others=tuple(self._network(task.unit, other) for other in task.also_trained),
            device=self.device,
            batch=self.batch,
        )

    def _network(self, unit: int, trained: Task | None) -> Network:
        network = self.networks[unit]
        if trained is None:
            return network
        digest = self.cell(trained).digest
        folder, model = self.workspace.cell(digest), f"cell {digest}"
        return replace(network, model_folder=folder, model=model, trained_by=digest)


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Run a cell and write its result; an exception becomes a `failed` result.

    A process that is at the same cell is waited for, and its result taken. What is damaged in the
    folder is made again; scores that came after a cell had finished are added. One thread on the
    CPU, so that the numbers are the same however many workers there are.

    Raises:
        OSError: the machine's trouble, not this cell's: disk full, files gone.
        UserError: a file that it needs is damaged or missing; mended, the cell can run.
    """
    with locked(folder / ".cell.lock"):
        known, work = kept_result(folder, cell.digest), cell.task.measure
        if known is not None and known.status == FINISHED:
            if not cell.task.lacks(known):
                return known
            work = functools.partial(cell.task.complete, known=known)
        result = attempt(cell.digest, functools.partial(work, cell, folder))
        if known is not None and known.status == FINISHED and result.status == FAILED:
            return known  # which is good without them
        if result.status != INTERRUPTED:
            write_result(folder, result)
        return result


def attempt(digest: str, work: Callable[[], CellResult]) -> CellResult:
    """What `work` gives, with its seconds, on one thread; an exception becomes a result that says
    so, but for those that `run_cell` raises."""
    import torch

    torch.set_num_threads(1)
    started = time.monotonic()
    try:
        result = work()
    except Preempted as stop:
        result = CellResult(digest=digest, status=INTERRUPTED, error=str(stop))
    except Diverged as trouble:
        result = CellResult(digest=digest, status=DIVERGED, error=str(trouble))
    except (OSError, UserError):
        raise
    except Exception as trouble:
        raise_again()  # no failure of the cell's
        error = f"{type(trouble).__name__}: {trouble}"
        result = CellResult(digest=digest, status=FAILED, error=error)
    return replace(result, seconds=result.seconds or time.monotonic() - started)
