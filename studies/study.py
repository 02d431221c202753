"""What a study is: a frozen config, a grid of tasks and a page of text. The rest is done here:
digests, skipping what is done, running, MLflow, frame, figures and PDF.

A study is a subclass of `Study` with `name`, `question` and `points`; docs/own_study.md has one of
about thirty lines.
"""

from __future__ import annotations

import abc
import contextlib
import functools
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from analysis.metrics import parse_metric
from analysis.study_file import BASE, EQUIDISTANT, FILE, REAL, StudyFile
from studies.cells.cell import Cell, Task
from studies.cells.evaluation import Measurement, RealImages
from studies.cells.result import PENDING, CellResult
from studies.cells.training import Training
from studies.grid.flags import StudyConfig
from studies.grid.point import Found, Outcome, Point, bounded, splits_of
from studies.tracking.logged import Answer, LoggedData, LoggedStudy
from varant.errors import UserError, exit_codes, require_writable
from varant.files import digest_of, locked, sha256_file
from varant.flags import command_words, flags_of, shown
from varant.model.plan import DepthPlan
from varant.store.workspace import Workspace

if TYPE_CHECKING:  # what runs is imported when it runs: --help and bad flags wait for nothing
    from analysis.claims.planned import Lines, Outlook
    from reports import ReportPaths
    from studies.grid.bench import Planned, Prepared
    from studies.running.executors import Executor

Config = TypeVar("Config", bound=StudyConfig)
Run = Callable[[Sequence[Task]], Mapping[Task, CellResult]]
SAY_SECONDS = 60.0  # between what a running study says of itself in its folder


class Study(abc.ABC, Generic[Config, Found]):
    """A question, asked of a grid of tasks.

    Type parameters: `Config`, its flags; `Found`, what `explore` gives, None for most.

    Attributes:
        name: of the study's folder in the workspace and of its MLflow experiment.
        question: a page of text that the report begins with.
        networks: whether its units have base networks; else just data are measured.
        anchored: whether its frame has the anchor rows of real images.
        select: whether cells are measured on the select split too, for choosing.
        draws: whether cells draw samples; else likelihood is all.
        verdicts: whether something is judged over units.
        file: what `study.json` is.
    """

    name: str
    question: str
    title: str | None = None
    networks = anchored = draws = verdicts = True
    select = False
    file: type[StudyFile] = StudyFile

    def __init__(self, config: Config, command: str = "") -> None:
        self.config, self.command = config, command

    # What a study says of itself.

    @abc.abstractmethod
    def points(self, bench: Planned, found: Found | None) -> Iterable[Point]:
        """The grid.

        Args:
            found: what `explore` gave; None before anything is made, where the points stand for
                what would be run.
        """

    def check(self, bench: Planned) -> None:
        """Raise `UserError` for flags that do not suit the network; nothing is written yet."""

    def planned(self, bench: Planned) -> Lines:
        """What its tests decide, line by line: for what it prints first, and `StudyFile.power`."""
        return {}

    def drawn(self, bench: Planned) -> Mapping[str, int]:
        """Samples that a distance is taken of, by the flag that says how many."""
        return {"--samples": bench.evaluation.samples} if self.draws else {}

    def explore(self, bench: Prepared, run: Run) -> Found:
        """Look before the grid is made: `run` gives the results of tasks, which are cached."""
        return None  # type: ignore[return-value]  # `Found` is None for those that do not look

    def facts(self, outcome: Outcome[Found]) -> dict[str, Any]:
        """What `study.json` says beyond what it says of any study: the other fields of `file`."""
        return {}

    def sheet(self, outcome: Outcome[Found]) -> Sequence[tuple[str, Point]]:
        """Rows of the sample sheet in reading order, a name and whose samples; none: no sheet."""
        return list({point.name: point for point in outcome.where()}.items())[:8]

    def write_more(self, outcome: Outcome[Found]) -> list[Path]:
        """Write files of this study's own into its folder; they become artifacts."""
        return []

    def run_name(self, bench: Planned) -> str:
        geometry, samples = bench.geometry, bench.evaluation.samples
        return f"{bench.dataset.name} d{geometry.depth} w{geometry.width}, {samples} samples"

    def answer(self, outcome: Outcome[Found], paths: ReportPaths) -> Answer:
        """What the MLflow run shows of the report: the verdict of every claim that it judges."""
        ledger = paths.said.get("ledger", [])
        tags = {f"verdict {row['claim']}": row["verdict"] for row in ledger}
        return Answer(note=paths.verdict, tags=tags)

    def price_lines(self, points: Sequence[Point], seconds: Mapping[Task, float]) -> Iterable[str]:
        """What a dry run says of parts of the price, by CPU-seconds of each task."""
        return ()

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        """The grid, for `--dry-run`."""
        names = list(dict.fromkeys(point.name for point in points))
        return [f"{len(names)} points: {', '.join(names)}"]

    @property
    def units(self) -> tuple[int, ...]:
        return self.config.unit_numbers

    @property
    def judged(self) -> tuple[int, ...]:
        """Those that the frame is of: not the pilots, on which something was chosen."""
        return self.units

    # What is done with it.

    @property
    def folder_name(self) -> str:
        """A quick run is a study of its own, so that it never stands in a result's place."""
        return f"{self.name}-quick" if self.config.run.quick else self.name

    def plan_point(
        self,
        bench: Planned,
        name: str,
        plan: DepthPlan,
        /,
        *,
        unit: int | None = None,
        trained: Training | None = None,
        **columns: Any,
    ) -> Point:
        """A point that measures `plan`, on a base network or on one that is trained from it.

        Args:
            unit: default: the first of the bench.
        """
        unit = bench.units[0] if unit is None else unit
        task = self.measurement(bench, plan, unit, trained)
        family = "full" if plan.is_full else "plan"
        placed: dict[str, Any] = {"unit": unit, "family": family, "plan": plan.name}
        placed["anchor"] = None if trained else BASE
        return Point(name=name, task=task, columns=placed | {"selector": EQUIDISTANT} | columns)

    def measurement(
        self, bench: Planned, plan: DepthPlan, unit: int, trained: Training | None
    ) -> Task:
        """What a point of a plan does: measure all that a study may report."""
        evaluation = bench.evaluation_of(unit)
        return Measurement(plan=plan, evaluation=evaluation, unit=unit, trained=trained)

    def real_points(self, bench: Planned) -> Iterator[Point]:
        """The floor of every unit: held-out images, as many as samples."""
        for unit in self.judged if self.anchored else ():
            columns = {"unit": unit, "family": REAL, "plan": REAL, "anchor": REAL}
            name = f"real u{unit}" if len(self.judged) > 1 else "real"
            yield Point(name=name, task=self.real_images(bench, unit), columns=columns)

    def real_images(self, bench: Planned, unit: int) -> RealImages:
        """Those of a unit that are scored as samples are."""
        return RealImages(unit=unit, samples=bench.evaluation.samples)

    def _points(self, bench: Planned, found: Found | None) -> tuple[Point, ...]:
        parts = self.points(bench, found), self.real_points(bench)
        times = {"units": len(self.units), "seeds": self.config.training_seeds}
        return bounded(*parts, times={**times, **self.config.more_times})

    def plan(self) -> tuple[Planned, tuple[Point, ...]]:
        """Bench and grid, before anything is made; `UserError` for flags that make none."""
        from studies.grid.bench import plan_bench
        from varant.devices import check_device, check_precision

        check_device(self.config.run.device)
        check_precision(self.config.run.precision, self.config.run.device)
        planned = plan_bench(self.config, networks=self.networks, select=self.select)
        self.check(planned)
        points = self._points(planned, None)
        if not points:
            raise UserError(f"{self.name}: these flags leave no cell to run")
        return planned, points

    def run(self) -> ReportPaths | None:
        """Check, prepare, run the cells, record them, build the report; None for a dry run.

        Raises:
            UserError: flags, files or folders that the user can mend.
            Preempted: SIGTERM or SIGUSR1 came while a cell was training here.
        """
        from studies.grid.bench import prepare_bench
        from studies.grid.outlook import warn_of_little
        from studies.running.executors import open_executor

        started, run = time.monotonic(), self.config.run
        planned, points = self.plan()
        warn_of_little(planned, self.verdicts * len(self.judged), self.drawn(planned))
        if run.dry_run:
            print(self._dry_run_text(planned, points))
            return None
        require_writable("--workspace", run.workspace)
        workspace = Workspace(folder=run.workspace.resolve())
        workspace.claim()
        executing = open_executor(
            self.config.workers, run.scheduler, workspace=workspace.folder, device=run.device
        )
        with executing as executor:
            for line in self._outlook_lines(planned):
                print(line, file=sys.stderr)
            bench = prepare_bench(planned, self.config, workspace, executor, splits_of(points))
            times = (started, time.monotonic() - started)
            found = self.explore(bench, functools.partial(self._run_tasks, bench, executor))
            paths = self._record(bench, found, executor, times)
        pdf = self.config.run.workspace / self.folder_name / paths.pdf.name
        print(f"{paths.verdict} ({time.monotonic() - started:.0f} s)\n{pdf}")
        return paths

    def _run_tasks(
        self, bench: Prepared, executor: Executor, tasks: Sequence[Task]
    ) -> Mapping[Task, CellResult]:
        from studies.running.runner import run_cells, split_cells

        cells, workspace = {task: bench.site.cell(task) for task in tasks}, bench.site.workspace
        split = split_cells(cells.values(), workspace, retry_failed=self.config.run.retry_failed)
        results = run_cells(split, workspace, executor)
        return {task: results[cell.digest] for task, cell in cells.items()}

    def _record(
        self, bench: Prepared, found: Found, executor: Executor, times: tuple[float, float]
    ) -> ReportPaths:
        """Run the points' cells, write the folder, build the report; all of it in MLflow.

        Args:
            times: when the study began, and the seconds of its preparation.
        """
        from analysis.errors import FrameError
        from reports import build
        from studies.grid.folder import write_sheet
        from studies.running.runner import run_cells, say_bad, say_done, split_cells
        from studies.tracking.mirror import Mirror
        from studies.tracking.outline import Outline

        points, workspace = self._points(bench, found), bench.site.workspace
        cells = {point.task: bench.site.cell(point.task) for point in points}
        split = split_cells(cells.values(), workspace, retry_failed=self.config.run.retry_failed)
        say_done(split)
        digests = sorted({cell.digest for cell in cells.values()})
        digest = digest_of({"flags": self.config.measured, "cells": digests})
        outline = Outline.of_grid(self._logged(bench, digest), points, cells, bench)
        started, prepared = times

        def outcome_of(ended: Mapping[str, CellResult]) -> Outcome[Found]:
            return Outcome(
                bench=bench,
                found=found,
                points=points,
                results={task: ended[cell.digest] for task, cell in cells.items()},
                folder=workspace.study(self.folder_name),
                workers=executor.slots,
                seconds={"wall": time.monotonic() - started, "preparation": prepared},
            )

        so_far = {d: CellResult(digest=d, status=PENDING) for d in digests} | split.done
        said_at = time.monotonic()

        def on_result(cell: Cell, result: CellResult) -> None:
            nonlocal said_at
            mirror.on_result(cell, result)
            so_far[cell.digest] = result
            if time.monotonic() - said_at > SAY_SECONDS:
                outcome = outcome_of(so_far)
                with locked(outcome.folder / ".lock"), contextlib.suppress(FrameError):
                    self._write_basis(outcome, digest)
                said_at = time.monotonic()

        with Mirror(outline, workspace) as mirror:
            ended = run_cells(split, workspace, executor, on_result=on_result)
            outcome = outcome_of(ended)
            say_bad(ended)
            with locked(outcome.folder / ".lock"):  # one study writes there at a time
                try:
                    written = self._write_basis(outcome, digest)
                    write_sheet(outcome, self.sheet(outcome))
                    written += self.write_more(outcome)
                    paths = build(outcome.folder)
                except FrameError as error:
                    raise UserError(f"no report: {error}") from None
                answer = self.answer(outcome, paths)
                mirror.finish(outline.ended(answer, paths, written, outcome), ended)
        return paths

    def _logged(self, bench: Planned, digest: str) -> LoggedStudy:
        data, shape = bench.dataset, bench.geometry
        return LoggedStudy(
            experiment=self.folder_name,
            study=self.name,
            run_name=self.run_name(bench),
            quick=self.config.run.quick,
            question=self.question,
            config_digest=digest,
            params=self.config.measured,
            data=LoggedData(name=data.name, digest=data.digest, images=data.sizes["test"]),
            geometry=f"d{shape.depth} w{shape.width} {len(shape.patch_nums)} scales",
        )

    def _write_basis(self, outcome: Outcome[Found], digest: str) -> list[Path]:
        """Frame and study file, of what has ended so far."""
        from analysis.claims.planned import planned_power, planned_spreads
        from studies.grid import folder

        frame = folder.write_frame(self.folder_name, outcome)
        facts = folder.head_facts(self.name, self.command, self.config.run, workers=outcome.workers)
        facts |= folder.measured_facts(outcome, self.config) | self.facts(outcome)
        tabled = (outcome.result(point) for point in outcome.points if point.task.tabled)
        names = dict.fromkeys(name for result in tabled for name in result.metrics)
        samples, found = outcome.bench.evaluation.samples, self._outlooks(outcome.bench)
        facts |= outcome.bench.instrument.facts(names, samples)
        spreads = planned_spreads(found, [parse_metric(name) for name in names])
        facts |= {"spreads": spreads, "power": planned_power(spreads, len(self.judged))}
        facts |= {"question": self.question, "title": self.title, "config_digest": digest}
        pending = sum(r.status == PENDING for t, r in outcome.results.items() if t.tabled)
        facts |= {"frame_sha256": sha256_file(frame), "pending": pending}
        return [frame, folder.write_facts(outcome.folder / FILE, self.file(**facts))]

    def _outlook_lines(self, bench: Planned, unit_seconds: float | None = None) -> list[str]:
        """What its tests could show, before anything is paid for; nothing where it plans none."""
        from studies.grid.outlook import outlook_lines

        lines = self.planned(bench)
        return outlook_lines(bench, lines, self._outlooks(bench), unit_seconds) if lines else []

    def _outlooks(self, bench: Planned) -> tuple[Outlook, ...]:
        from studies.grid.outlook import outlooks_of

        lines, units = self.planned(bench), len(self.judged)
        return outlooks_of(bench, self.config, lines, units=units, draws=self.draws)

    def _dry_run_text(self, bench: Planned, points: Sequence[Point]) -> str:
        """Config, cells and expected cost, from a calibration of a second or two."""
        from studies.grid.price import price_of

        tasks = list(dict.fromkeys(point.task for point in points))
        lines = [*shown(self.config.measured), "", *self.grid_lines(points), ""]
        drawn = f", of {bench.evaluation.samples:,} samples where they draw" if self.draws else ""
        lines.append(f"{len(tasks)} cells{drawn}")
        lines.append(
            f"workspace {self.config.run.workspace}: cells and networks that are there are not "
            "made again"
        )
        price = price_of(bench, tasks, self.config)
        if price is not None:
            lines += [*price.lines, *self.price_lines(points, price.seconds)]
        if said := self._outlook_lines(bench, None if price is None else price.unit_seconds):
            lines += ["", *said]
        return "\n".join(lines)


def main(study: type[Study[Config, Any]], config: type[Config], about: str | None) -> None:
    """The command `studies.<name>`; its help page says `about`."""
    with exit_codes():
        study(flags_of(config, about), command_words(f"studies.{study.name}")).run()
