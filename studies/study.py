"""What a study is: a frozen config, a grid of cells and a page of text. The rest is done here:
digests, skipping what is done, running, MLflow, frame, figures and PDF.

A study is a subclass of `Study` with `name`, `question` and `points`; the README has one of about
thirty lines.
"""

from __future__ import annotations

import abc
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from analysis.frame import FrameError
from reports import ReportPaths, build
from studies.cell import Cell
from studies.evaluation_cell import SAMPLES_FILE, Evaluation, EvaluationCell, Network
from studies.executors import open_executor
from studies.folder import (
    common_facts,
    write_frame,
    write_samples,
    write_study,
)
from studies.mirror import Mirror
from studies.networks import Bench, Yardstick, planned_bench, prepare_bench
from studies.results import FINISHED, CellResult
from studies.runner import Split, run_cells, split_cells
from studies.score_cell import ScoreCell
from studies.training_cell import TrainingCell
from varant.calibration import calibrate
from varant.cost import plan_cost
from varant.datasets import check_dataset
from varant.devices import check_device
from varant.errors import Preempted, UserError, require_count, require_writable
from varant.files import digest_of
from varant.plan import DepthPlan
from varant.preparation import Workspace
from varant.train_flags import TrainFlags, check_flags

NLL_SETS, SELECT_SETS = 40, 20
Results = Mapping[str, CellResult]  # by digest
EXTRACTORS = ("packaged", "inception")


@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """Flags that every study has."""

    workspace: Path = Path("runs")
    """Folder of all that studies write."""
    dataset: str = "shapes"
    """shapes, digits or folder."""
    data_path: Path | None = None
    """For --dataset folder: a folder of class folders, or of train/ and val/ with class folders."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read, and list them."""
    model: Path | None = None
    """A checkpoint folder to start from in place of the base network."""
    vae: Path | None = None
    """The tokenizer of an official checkpoint."""
    var: Path | None = None
    """The transformer of an official checkpoint, with --vae, to start from."""
    extractor: str = "packaged"
    """Features that samples are scored on: packaged (of an embedded data set) or inception."""
    inception: Path | None = None
    """For --extractor inception: its TorchScript file, such as inception-2015-12-05.pt."""
    reference: Path | None = None
    """NPZ file with mu and sigma of the features of real images, as ADM's; default: reconstructed
    test images."""
    base_budget: str = "48k"
    """Training images of a base network."""
    samples: int = 2000
    """Generated images a cell."""
    sample_batch: int = 250
    """Images generated at once."""
    sets: int = 8
    """Disjoint sets that the samples are split into, for intervals."""
    nll_images: int | None = None
    """Test images a cell for the teacher-forced NLL; default: 2000, or as many as there are."""
    cfg: float = 0.0
    """Classifier-free guidance; 0 is off."""
    top_k: int = 0
    """Sample among the k likeliest codes; 0 is off."""
    top_p: float = 0.0
    """Sample among the likeliest codes of this probability; 0 is off."""
    seed: int = 0
    """Seed of the base network and of sampling."""
    workers: int = 1
    """One-thread processes that run cells; 1 runs them in this process."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers run the cells, such as tcp://host:8786."""
    retry_failed: bool = False
    """Run cells again that failed or diverged."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    quick: bool = False
    """The whole path on tiny data; every output is marked, none is a result."""
    dry_run: bool = False
    """Print config, cells and expected cost; run nothing."""


# Flags that say where and how, not what is measured.
NOT_MEASURED = (
    "workspace", "workers", "scheduler", "retry_failed", "dry_run", "sample_batch",
    "skip_unreadable",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a study's grid.

    Attributes:
        name: as people say it; unique among points of the same columns but for metrics.
        cell: what is run there; points may share one (then it runs once).
        columns: its columns of the frame (`analysis.frame.COLUMNS`); cells without rows there say
            by them what they are.
    """

    name: str
    cell: Cell
    columns: Mapping[str, object] = field(default_factory=dict)

    @property
    def in_frame(self) -> bool:
        return self.cell.tabled


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study's grid with the results of its cells."""

    bench: Bench
    evaluation: Evaluation
    points: tuple[Point, ...]
    results: Mapping[str, CellResult]
    workspace: Workspace
    folder: Path
    workers: int
    preparation_seconds: float
    wall_seconds: float

    def result(self, point: Point) -> CellResult:
        return self.results[point.cell.digest]


class Study(abc.ABC):
    """A question, asked of a grid of cells.

    Attributes:
        name: of the study's folder in the workspace and of its MLflow experiment.
        question: a page of text that the report begins with.
        baseline: name of the point that the others are compared with, if any.
        flags: the config.
    """

    name: str
    question: str
    baseline: str | None = "full"
    title: str | None = None
    networks = 1  # base networks
    select = False  # whether cells are measured on the select split too, for choosing

    def __init__(self, flags: StudyFlags, command: str = "") -> None:
        self.flags = self.quick_flags(flags) if flags.quick else flags
        self.command = command.strip()

    # What a study says of itself.

    @abc.abstractmethod
    def points(self, bench: Bench) -> Iterable[Point]:
        """The grid. Called before anything is made, too, with a bench that is not `made`."""

    def quick_flags(self, flags: StudyFlags) -> StudyFlags:
        """The flags of a `--quick` run."""
        return replace(flags, samples=160, sets=4, nll_images=200)

    def check(self, bench: Bench) -> None:  # noqa: B027 - most studies have nothing to check
        """Raise `UserError` for flags of this study that make no sense; nothing is written yet."""

    def explore(self, bench: Bench, run: Callable[[Sequence[Cell]], Results]) -> None:  # noqa: B027
        """Look before the grid is made: `run` gives the results of cells, which it caches."""

    def facts(self, outcome: Outcome) -> dict:
        """What `study.json` says beyond what is common to all studies."""
        return {}

    def sheet(self, outcome: Outcome) -> Sequence[tuple[str, Point]]:
        """Rows of the sample sheet: a name and whose samples; none for no sheet."""
        chosen = {p.name: p for p in outcome.points if p.in_frame}
        return list(chosen.items())[:8]

    def write_more(self, outcome: Outcome) -> list[Path]:
        """Write files of this study's own into its folder; they become artifacts."""
        return []

    def run_name(self, bench: Bench) -> str:
        """How MLflow lists an invocation."""
        geometry = bench.geometry
        return (
            f"{bench.dataset.name} d{geometry.depth} w{geometry.width}, "
            f"{self.flags.samples} samples"
        )

    def note(self, paths: ReportPaths) -> str:
        """The last line of the note on the MLflow run: what was found."""
        return paths.verdict

    def parent_metrics(self, outcome: Outcome, paths: ReportPaths) -> dict[str, float]:
        """Metrics of the MLflow parent run."""
        return {}

    def parent_tags(self, paths: ReportPaths) -> dict[str, str]:
        """Tags of the MLflow parent run."""
        return {}

    # What is done with it.

    @property
    def folder_name(self) -> str:
        """A quick run is a study of its own, so that it never stands in a result's place."""
        return f"{self.name}-quick" if self.flags.quick else self.name

    def measured_flags(self) -> dict:
        """The flags that say what is measured, JSON-ready."""
        flags = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.flags).items()}
        return {k: v for k, v in flags.items() if k not in NOT_MEASURED}

    def train_flags(self) -> TrainFlags:
        """The start of a training as `varant.train` would be told of it."""
        flags = self.flags
        return TrainFlags(
            workspace=flags.workspace,
            dataset=flags.dataset,
            data_path=flags.data_path,
            skip_unreadable=flags.skip_unreadable,
            model=flags.model,
            vae=flags.vae,
            var=flags.var,
            base_budget=flags.base_budget,
            seed=flags.seed,
            device=flags.device,
            quick=flags.quick,
        )

    def plan_point(
        self,
        bench: Bench,
        name: str,
        plan: DepthPlan,
        *,
        network: Network | None = None,
        **columns: object,
    ) -> Point:
        """A point that measures `plan` on `network` (default: the first of the bench)."""
        network = network or bench.networks[0]
        cell = EvaluationCell(
            network=network,
            plan=plan,
            evaluation=self.evaluation(bench),
            batch=self.flags.sample_batch,
            device=self.flags.device,
        )
        placed = {
            "base_seed": network.base_seed,
            "family": "full" if plan.is_full else "plan",
            "cell": name,
            "selector": "equidistant",
        }
        return Point(name=name, cell=cell, columns=placed | columns)

    def evaluation(self, bench: Bench) -> Evaluation:
        """How every cell is measured.

        Raises:
            UserError: naming the flag, its value and what would be right.
        """
        flags, sizes = self.flags, bench.dataset.sizes
        _check_sampling(flags, bench.geometry.num_classes)
        nll_images = flags.nll_images
        if nll_images is None:
            nll_images = _whole_sets(min(2000, sizes["test"]), NLL_SETS)
        require_count("--nll-images", nll_images)
        if nll_images > sizes["test"]:
            raise UserError(
                f"--nll-images {nll_images}: {flags.dataset} has {sizes['test']} test images"
            )
        nll_sets = min(NLL_SETS, nll_images)
        if nll_images % nll_sets:
            raise UserError(f"--nll-images {nll_images}: must be a multiple of {nll_sets}")
        select_images = _whole_sets(min(1000, sizes["select"]), SELECT_SETS)
        return Evaluation(
            samples=flags.samples,
            sets=flags.sets,
            nll_images=nll_images,
            nll_sets=nll_sets,
            select_images=select_images if self.select else 0,
            select_sets=min(SELECT_SETS, select_images) if self.select else 0,
            cfg=flags.cfg,
            top_k=flags.top_k,
            top_p=flags.top_p,
            seed=flags.seed,
        )

    def run(self) -> ReportPaths | None:
        """Check, prepare, run the cells, record them, build the report; None for a dry run.

        Raises:
            UserError: flags, files or folders that the user can mend.
            Preempted: SIGTERM or SIGUSR1 came.
        """
        started, flags = time.monotonic(), self.flags
        check_common(flags)
        check_flags(self.train_flags())
        yardstick = Yardstick(inception=flags.inception, reference=flags.reference)
        planned = planned_bench(self.train_flags(), yardstick, self.networks)
        self.check(planned)
        if not list(self.points(planned)):
            raise UserError(f"{self.name}: these flags leave no cell to run")
        if flags.dry_run:
            print(self._dry_run_text(planned))
            return None
        require_writable("--workspace", flags.workspace)
        workspace = Workspace(folder=flags.workspace)
        workspace.claim()
        executing = open_executor(
            workers=flags.workers, scheduler=flags.scheduler,
            workspace=flags.workspace.resolve(), device=flags.device,
        )  # fmt: skip
        with _preempted_by_signals(), executing as executor:
            bench = prepare_bench(
                workspace, self.train_flags(), yardstick, executor, networks=self.networks
            )
            preparation_seconds = time.monotonic() - started
            resolved = Workspace(folder=flags.workspace.resolve())
            self.explore(
                bench,
                lambda cells: run_cells(
                    split_cells(cells, workspace, retry_failed=flags.retry_failed), resolved,
                    executor,
                ),
            )  # fmt: skip
            points = tuple(self.points(bench))
            cells = list({point.cell.digest: point.cell for point in points}.values())
            split = split_cells(cells, workspace, retry_failed=flags.retry_failed)
            _say_done(split)
            mirror = Mirror(self, bench, points, workspace, self._digest(cells))
            try:
                results = run_cells(
                    split, resolved, executor,
                    on_result=mirror.on_result,
                )  # fmt: skip
                outcome = Outcome(
                    bench=bench,
                    evaluation=self.evaluation(bench),
                    points=points,
                    results=results,
                    workspace=workspace,
                    folder=workspace.study(self.folder_name),
                    workers=executor.slots,
                    preparation_seconds=preparation_seconds,
                    wall_seconds=time.monotonic() - started,
                )
                more = self._write_folder(outcome, self._digest(cells))
                paths = build(outcome.folder)
            except FrameError as error:
                mirror.interrupt()
                _say_bad(outcome)
                raise UserError(f"no report: {error}") from None
            except BaseException:
                mirror.interrupt()
                raise
            mirror.finish(outcome, paths, more)
        _say_bad(outcome)
        print(f"{paths.verdict} ({time.monotonic() - started:.0f} s)\n{paths.pdf}")
        return paths

    def _digest(self, cells: Sequence[Cell]) -> str:
        identity = {"flags": self.measured_flags(), "cells": sorted(c.digest for c in cells)}
        return digest_of(identity)

    def _write_folder(self, outcome: Outcome, config_digest: str) -> list[Path]:
        write_frame(outcome.folder, list(frame_rows(self.folder_name, outcome)))
        self._write_sheet(outcome)
        facts = common_facts(
            outcome, self.flags, command=self.command, config=self.measured_flags(),
            config_digest=config_digest, study=self.name,
        )  # fmt: skip
        own = {"question": self.question, "title": self.title, "baseline": self.baseline}
        write_study(outcome.folder, facts | own | self.facts(outcome))
        return self.write_more(outcome)

    def _write_sheet(self, outcome: Outcome) -> None:
        images, rows = [], []
        for name, point in self.sheet(outcome):
            if outcome.result(point).status == FINISHED:
                folder = outcome.workspace.cell(point.cell.digest)
                images.append(np.load(folder / SAMPLES_FILE))
                rows.append(name)
        if images:
            columns = list(outcome.bench.dataset.class_names)
            write_samples(outcome.folder, np.stack(images), rows, columns)

    def _dry_run_text(self, bench: Bench) -> str:
        """Config, cells and expected cost, from a calibration of a second or two."""
        points, geometry = list(self.points(bench)), bench.geometry
        cells = {point.cell.digest: point for point in points}
        lines = [f"{key} = {value}" for key, value in self.measured_flags().items()]
        lines += ["", *self.grid_lines(points), ""]
        lines.append(f"{len(cells)} cells")
        workspace = self.flags.workspace
        lines.append(f"workspace {workspace}: cells and networks that are there are not made again")
        if geometry.width >= 256:  # not a network that the processor we would time could run
            return "\n".join(lines)
        speed = calibrate(geometry, guidance=self.flags.cfg != 0)
        seconds = {digest: cell_seconds(p.cell, bench, speed) for digest, p in cells.items()}
        trainings = {d: p.cell for d, p in cells.items() if isinstance(p.cell, TrainingCell)}
        if bench.training_images[0] is not None:
            images = bench.training_images[0]
            each = images / speed.training_images_per_second
            lines.append(
                f"base network: {images:,} training images, about {each:.0f} CPU-s each; "
                "the tokenizer before it about a quarter of that"
            )
        training = sum(seconds[digest] for digest in trainings)
        if trainings:
            passes = sum(cell.images for cell in trainings.values())
            lines.append(f"training: {passes:,} image passes, about {training:.0f} CPU-s")
        slots = f"{self.flags.workers} one-thread processes"
        total = sum(seconds.values())
        lines.append(
            f"evaluation: about {total - training:.0f} CPU-s; on {slots} about "
            f"{total / self.flags.workers:.0f} s of wall time for all cells; then MLflow and the "
            "report, about 15 s"
        )
        return "\n".join(lines)

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        """The grid, for `--dry-run`."""
        names = list(dict.fromkeys(point.name for point in points))
        return [f"{len(names)} points: {', '.join(names)}"]


def cell_seconds(cell: Cell, bench: Bench, speed) -> float:
    """Expected CPU-seconds of a cell on this machine."""
    full = plan_cost(bench.geometry).flops
    if isinstance(cell, TrainingCell):
        return cell.images * cell.mean_flops(bench.geometry) / speed.training_images_per_second
    share = plan_cost(bench.geometry, cell.plan).flops / full
    if isinstance(cell, ScoreCell):
        return share * cell.images / speed.nll_images_per_second
    wanted = cell.evaluation
    likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
    return share * (wanted.samples / speed.samples_per_second + likelihood) + 0.7


def frame_rows(study: str, outcome: Outcome) -> Iterator[dict]:
    """Rows of the frame: one for each value, and one for a cell that did not finish."""
    for point in outcome.points:
        if not point.in_frame:
            continue
        result = outcome.result(point)
        shared = {"study": study} | dict(point.columns)
        shared |= {"cell_digest": point.cell.digest, "status": result.status}
        if result.status != FINISHED:
            yield shared | {"metric": "", "set": None, "value": math.nan, "count": 0}
        for metric, found in result.metrics.items():
            for i, value in enumerate(found.values):
                index = i if found.count else None
                yield shared | {
                    "metric": metric, "set": index, "value": value, "count": found.count
                }  # fmt: skip


def check_common(flags: StudyFlags) -> None:
    """Raise `UserError` for flags that every study has."""
    for flag, value in (
        ("--sets", flags.sets), ("--workers", flags.workers), ("--samples", flags.samples),
        ("--sample-batch", flags.sample_batch),
    ):  # fmt: skip
        require_count(flag, value)
    require_count("--seed", flags.seed, least=0)
    require_count("--top-k", flags.top_k, least=0)
    if not 0.0 <= flags.top_p <= 1.0:
        raise UserError(f"--top-p {flags.top_p}: must be from 0.0 (off) to 1.0")
    if not math.isfinite(flags.cfg):
        raise UserError(f"--cfg {flags.cfg}: must be a finite number")
    if flags.sets < 2:
        raise UserError(f"--sets {flags.sets}: an interval needs at least 2 disjoint sets")
    if flags.scheduler is not None and flags.workers != type(flags)().workers:
        raise UserError(f"--workers {flags.workers}: --scheduler has workers of its own; drop it")
    check_device(flags.device)
    if flags.dataset != "folder":
        check_dataset(flags.dataset, others=("folder",))
    if flags.extractor not in EXTRACTORS:
        raise UserError(f"--extractor {flags.extractor}: use one of {', '.join(EXTRACTORS)}")
    if (flags.extractor == "inception") != (flags.inception is not None):
        raise UserError("--inception: goes with --extractor inception, which needs it")
    if flags.reference is not None and flags.inception is None:
        raise UserError(f"--reference {flags.reference}: goes with --extractor inception")
    if flags.dataset == "folder" and flags.inception is None:
        raise UserError(
            "--dataset folder: has no packaged features; give --extractor inception and its file"
        )


def _whole_sets(images: int, sets: int) -> int:
    """The most images that make up so many sets of equal size, or one set an image."""
    return images - images % max(1, min(sets, images))


def _check_sampling(flags: StudyFlags, num_classes: int) -> None:
    least = flags.sets * 2 * num_classes
    if flags.samples < least or flags.samples % flags.sets:
        raise UserError(
            f"--samples {flags.samples}: must be a multiple of --sets ({flags.sets}) and at "
            f"least {least}, two of each class in each set"
        )


def _say_done(split: Split) -> None:
    if split.done:
        print(f"{len(split.done)} cells are finished already", file=sys.stderr)
    bad = sum(result.status != FINISHED for result in split.done.values())
    if bad:
        print(f"{bad} of them without success; --retry-failed runs them again", file=sys.stderr)


def _say_bad(outcome: Outcome) -> None:
    counts: dict[str, int] = {}
    for result in outcome.results.values():
        counts[result.status] = counts.get(result.status, 0) + 1
    for status, count in sorted(counts.items()):
        if status != FINISHED:
            print(f"{count} cells {status}; the report names them", file=sys.stderr)


@contextmanager
def _preempted_by_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGUSR1, by which batch systems end jobs, into `Preempted`."""

    def stop(number: int, frame: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kinds = (signal.SIGTERM, signal.SIGUSR1)
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    except _Terminated:
        raise Preempted(
            "stopped; finished cells and checkpoints are kept: run the same command to go on"
        ) from None
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


class _Terminated(KeyboardInterrupt):
    """Like Ctrl-C no `Exception`: nothing that copes with errors swallows it."""
