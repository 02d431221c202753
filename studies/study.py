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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from varant.start.train_flags import TrainFlags, check_flags

from analysis.frame import FrameError
from reports import ReportPaths, build
from studies.cells.cell import Cell
from studies.cells.evaluation import SAMPLES_FILE, Evaluation, EvaluationCell, Network
from studies.cells.result import FINISHED
from studies.cells.score import ScoreCell
from studies.cells.training import TrainingCell
from studies.grid.bench import Bench, Yardstick, planned_bench, prepare_bench
from studies.grid.flags import EXTRACTORS, NOT_MEASURED, StudyFlags
from studies.grid.folder import (
    FRAME_FILE,
    STUDY_FILE,
    common_facts,
    write_frame,
    write_samples,
    write_study,
)
from studies.grid.point import Outcome, Point, Results
from studies.running.executors import open_executor
from studies.running.runner import Split, run_cells, split_cells
from studies.tracking.mirror import Answer, Invocation, Mirror
from varant.data.datasets import check_dataset
from varant.devices import check_device
from varant.errors import Preempted, UserError, require_count, require_writable
from varant.files import digest_of
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.start.calibration import calibrate
from varant.start.preparation import Workspace

NLL_SETS, SELECT_SETS = 40, 20


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
            workers=flags.workers,
            scheduler=flags.scheduler,
            workspace=flags.workspace.resolve(),
            device=flags.device,
        )
        with _preempted_by_signals(), executing as executor:
            bench = prepare_bench(
                workspace, self.train_flags(), yardstick, executor, networks=self.networks
            )
            preparation_seconds = time.monotonic() - started
            resolved = Workspace(folder=flags.workspace.resolve())
            self.explore(
                bench,
                lambda cells: run_cells(
                    split_cells(cells, workspace, retry_failed=flags.retry_failed),
                    resolved,
                    executor,
                ),
            )
            points = tuple(self.points(bench))
            cells = list({point.cell.digest: point.cell for point in points}.values())
            split = split_cells(cells, workspace, retry_failed=flags.retry_failed)
            _say_done(split)
            mirror = Mirror(self._invocation(bench, cells), points, workspace)
            try:
                results = run_cells(split, resolved, executor, on_result=mirror.on_result)
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
            mirror.finish(results, self._mirrored(outcome, paths, more))
        _say_bad(outcome)
        print(f"{paths.verdict} ({time.monotonic() - started:.0f} s)\n{paths.pdf}")
        return paths

    def _invocation(self, bench: Bench, cells: Sequence[Cell]) -> Invocation:
        return Invocation(
            experiment=self.folder_name,
            run_name=self.run_name(bench),
            question=self.question,
            source=f"studies.{self.name}",
            quick=self.flags.quick,
            config_digest=self._digest(cells),
            params=self.measured_flags(),
            dataset=bench.dataset,
            geometry=bench.geometry,
            training_images=bench.training_images[0],
        )

    def _mirrored(self, outcome: Outcome, paths: ReportPaths, more: Sequence[Path]) -> Answer:
        written = [outcome.folder / FRAME_FILE, outcome.folder / STUDY_FILE, *more]
        seconds = {
            "study/seconds wall": outcome.wall_seconds,
            "study/seconds preparation": outcome.preparation_seconds,
        }
        return Answer(
            verdict=paths.verdict,
            note=self.note(paths),
            metrics=seconds | self.parent_metrics(outcome, paths),
            tags=self.parent_tags(paths),
            artifacts={
                "": [paths.pdf, paths.answer, *written],
                "figures": sorted(path for path in paths.figures if path.suffix == ".png"),
                "figures_svg": sorted(path for path in paths.figures if path.suffix == ".svg"),
            },
        )

    def _digest(self, cells: Sequence[Cell]) -> str:
        identity = {"flags": self.measured_flags(), "cells": sorted(c.digest for c in cells)}
        return digest_of(identity)

    def _write_folder(self, outcome: Outcome, config_digest: str) -> list[Path]:
        write_frame(outcome.folder, list(frame_rows(self.folder_name, outcome)))
        self._write_sheet(outcome)
        facts = common_facts(
            outcome,
            self.flags,
            command=self.command,
            config=self.measured_flags(),
            config_digest=config_digest,
            study=self.name,
        )
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
                    "metric": metric,
                    "set": index,
                    "value": value,
                    "count": found.count,
                }


def check_common(flags: StudyFlags) -> None:
    """Raise `UserError` for flags that every study has."""
    for flag, value in (
        ("--sets", flags.sets),
        ("--workers", flags.workers),
        ("--samples", flags.samples),
        ("--sample-batch", flags.sample_batch),
    ):
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
