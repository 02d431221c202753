"""What does depth save in time and in memory, on this machine?

    python -m studies.efficiency
    python -m studies.efficiency --geometry d30 --device cuda --precision float16 --batch 1,4,64

Random weights cost the same as trained ones, so no file is needed. Each plan is held against the
full network, against a sampler in the reference's style in the same run, and against arithmetic.
The last line on stdout is the record, as JSON.

Cost with the defaults (the preset small, one thread of a CPU): about 110 CPU-s, and 0.5 GiB. Expect
KV that equals the arithmetic in every plan; the full network 1.1 times as fast as the reference's
style and d2@4 2 to 2.5 times, at a quarter of its memory; speed-ups of 40 to 85 % of what FLOPs
allow, since a width of 32 leaves the processor waiting for launches. VAR-d16 at batch 1 takes about
11 CPU-s a generation in full; `--dry-run` predicts bytes and seconds of every stage.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from varant.devices import check_device, check_precision, is_cuda
from varant.errors import UserError, exit_codes, require_writable
from varant.files import digest_of, sha256_file
from varant.flags import Batches, Times, choices, command_words, flags_of, plain, shown
from varant.presets import presets
from varant.start.config import RunConfig
from varant.store.workspace import Workspace

if TYPE_CHECKING:  # torch takes seconds: --help and bad flags wait for nothing
    from analysis.efficiency_file import EfficiencyFile
    from reports import ReportPaths
    from studies.cells.gauge import Gauge, Subject
    from studies.cells.result import CellResult
    from varant.model.geometry import Geometry
    from varant.model.plan import DepthPlan

STUDY = "efficiency"
PARTS = ("sampling", "training", "overheads")
QUESTION = (
    "What does depth save in time and in memory on this machine, how near is that to what "
    "arithmetic allows, and what does it save against a sampler in the reference's style?"
)
PLAN_DEPTHS, OFFICIAL_SWITCH = (16, 8, 4, 2), 6
# Images of a training step, of the preset; of a training, of a published network.
PRESET_TRAINING_BATCH, IMAGENET_EPOCH = 16, 1_281_167
NOT_MEASURED = ("workspace", "dry_run", "retry_failed")


@dataclass(frozen=True, kw_only=True)
class EfficiencyConfig:
    run: RunConfig = RunConfig()
    part: Annotated[tuple[str, ...], choices(PARTS)] = PARTS
    """What to measure: a list."""
    geometry: Literal["tiny", "small", "d16", "d20", "d24", "d30", "d36"] = "small"
    """Of the network: that of a preset, or of a published VAR."""
    plans: tuple[str, ...] | None = None
    """Depth plans such as full d8@6 8,8,8,4,4 or a plan.json; default: full, and 16, 8, 4 and 2
    layers after scale 6 (a preset's: its own)."""
    batch: Batches | None = None
    """Images drawn at once: a list; default 1,4, and 64 on a GPU."""
    compile: bool = False
    """Compile the layers of our samplers; the reference's style runs as it is."""
    repeats: Times = 5
    """Timings of each thing, by turns."""
    report_cells: Batches = (250, 1000)
    """Cells of the made-up studies whose reports are timed, such as 250,1000,10000."""
    retry_failed: bool = False
    """Measure again what failed."""

    @classmethod
    def quick_defaults(cls) -> EfficiencyConfig:
        return cls(geometry="tiny", plans=("d2@3",), batch=(1,), repeats=2, report_cells=(65,))

    @property
    def batches(self) -> tuple[int, ...]:
        return self.batch or ((1, 4, 64) if is_cuda(self.run.device) else (1, 4))

    @property
    def training_batch(self) -> int:
        return PRESET_TRAINING_BATCH if self.geometry in presets() else self.batches[-1]

    @property
    def measured(self) -> dict[str, Any]:
        return plain(self, without=NOT_MEASURED) | {"batch": list(self.batches)}


def subject_of(config: EfficiencyConfig) -> Subject:
    """The network, its plans and the machine; `UserError` for what does not fit together."""
    import torch

    from studies.cells.gauge import Subject, code_digest
    from varant.devices import device_name
    from varant.model.geometry import Geometry
    from varant.model.tokenizer import TokenizerConfig
    from varant.start.presets import base_geometry, light_tokenizer

    preset = presets().get(config.geometry)
    if preset is not None:
        geometry, tokenizer, switch = base_geometry(preset), light_tokenizer(preset), preset.switch
    else:
        geometry = Geometry.official(int(config.geometry.removeprefix("d")))
        tokenizer, switch = TokenizerConfig.official(geometry.patch_nums), OFFICIAL_SWITCH
    return Subject(
        name=config.geometry,
        geometry=geometry,
        tokenizer=tokenizer,
        plans=plans_of(config.plans, geometry, switch),
        precision=config.run.precision,
        device=config.run.device,
        machine=device_name(config.run.device),
        torch=torch.__version__,
        compiled_batches=len(config.batches) if config.compile else 0,
        code=code_digest(),
        repeats=config.repeats,
    )


def plans_of(named: Sequence[str] | None, geometry: Geometry, switch: int) -> tuple[DepthPlan, ...]:
    """The full network first, then those named or the default ones."""
    from varant.model.plan import DepthPlan

    sides, depth = geometry.patch_nums, geometry.depth
    if named is None:
        named = [f"d{layers}@{switch}" for layers in PLAN_DEPTHS if layers < depth]
    plans = [DepthPlan.full(sides, depth)]
    for text in named:
        try:
            plans.append(DepthPlan.parse(text, sides, depth))
        except UserError as error:
            raise UserError(f"--plans {text}: {error}") from None
    return tuple({plan.name: plan for plan in plans}.values())


def gauges_of(config: EfficiencyConfig, subject: Subject) -> list[Gauge]:
    """The cells, in the order in which they are measured."""
    from studies.cells.machine import Machine
    from studies.cells.sampling_costs import Latency, Memory, Switching
    from studies.cells.training_costs import Around, Steps
    from studies.overheads import Imports, Reporting, Tracking

    gauges: list[Gauge] = [Machine(subject=subject)]
    if "sampling" in config.part:
        gauges += [
            kind(subject=subject, batch=batch)
            for batch in config.batches
            for kind in (Memory, Latency, Switching)
        ]
    if "training" in config.part:
        preset, batch = presets().get(config.geometry), config.training_batch
        budget = preset.base.budget if preset else IMAGENET_EPOCH
        gauges += [
            Steps(subject=subject, batch=batch),
            Around(subject=subject, batch=batch, budget_images=budget),
        ]
    if "overheads" in config.part:
        gauges += [Imports(subject=subject), Tracking(subject=subject)]
        gauges += [Reporting(subject=subject, cells=cells) for cells in config.report_cells]
    return gauges


def main(config: EfficiencyConfig, command: str) -> None:
    """Measure, write the study's folder, record it, build its report."""
    from analysis.statistics.units import LEAST_UNITS
    from analysis.study_file import FILE
    from reports import build
    from studies.cells.gauge import run_gauge
    from studies.grid.folder import write_facts
    from studies.grid.forecast import check_fits, check_training_fits

    started, run = time.monotonic(), config.run
    check_device(run.device)
    check_precision(config.run.precision, run.device)
    subject = subject_of(config)
    gauges = gauges_of(config, subject)
    if "sampling" in config.part and config.repeats < LEAST_UNITS:
        few = f"warning: --repeats {config.repeats}: no verdict on C7b below {LEAST_UNITS} turns"
        print(few, file=sys.stderr)
    if run.dry_run:
        lines = ["", f"{len(gauges)} cells: {'; '.join(gauge.name for gauge in gauges)}"]
        lines += _forecast_lines(config, subject)
        lines += _power_lines(config)
        print("\n".join([*shown(config.measured), *lines]))
        return
    if "sampling" in config.part:
        check_fits(subject, config.batches[-1])
    if "training" in config.part:
        check_training_fits(subject, config.training_batch)
    require_writable("--workspace", run.workspace)
    workspace = Workspace(folder=run.workspace.resolve())
    workspace.claim()
    results: dict[Gauge, CellResult] = {}
    for place, gauge in enumerate(gauges):
        print(f"{place + 1}/{len(gauges)} {gauge.name}", file=sys.stderr, flush=True)
        results[gauge] = run_gauge(gauge, workspace, again=config.retry_failed)
    frame = _write_frame(config, workspace, results)
    file = study_file(config, command, subject, results, frame_sha256=sha256_file(frame))
    paths = build(write_facts(frame.with_name(FILE), file).parent)
    _record(workspace, file, results, paths)
    pdf = run.workspace / paths.pdf.parent.name / paths.pdf.name
    print(f"{paths.verdict} ({time.monotonic() - started:.0f} s)\n{pdf}")
    print(json.dumps(paths.said["record"]))


def _forecast_lines(config: EfficiencyConfig, subject: Subject) -> list[str]:
    """What `--dry-run` predicts of bytes and seconds."""
    from studies.cells.machine import measured_rates
    from studies.grid.forecast import rate_line, sampling_lines, training_lines

    rates = measured_rates(subject)
    lines = [rate_line(rates), ""]
    if "sampling" in config.part:
        lines += sampling_lines(subject, config.batches, rates)
    if "training" in config.part:
        lines += training_lines(subject, config.training_batch, rates)
    return lines


def _power_lines(config: EfficiencyConfig) -> list[str]:
    """What can be said of C7b's power before anything is timed."""
    from analysis import numbers
    from analysis.claims.c7b import MARGIN, most_deviation

    if "sampling" not in config.part:
        return []
    return [
        "",
        "C7b: power not planned, since how far turns move is this machine's and in no noise table; "
        f"margin {numbers.percent(MARGIN)}, power 80 % in {config.repeats} turns if a turn, the "
        f"mean over plans, has a standard deviation of at most "
        f"{100 * most_deviation(config.repeats):.2g} %",
    ]


def study_file(
    config: EfficiencyConfig,
    command: str,
    subject: Subject,
    results: Mapping[Gauge, CellResult],
    *,
    frame_sha256: str,
) -> EfficiencyFile:
    from analysis.efficiency_file import EfficiencyFile
    from analysis.study_file import GeometryFacts
    from studies.grid.costs import paper_cost, plan_facts
    from studies.grid.folder import head_facts

    digests = sorted(gauge.digest for gauge in results)
    return EfficiencyFile(
        **head_facts(STUDY, command, config.run, workers=1),
        frame_sha256=frame_sha256,
        question=QUESTION,
        config=config.measured,
        config_digest=digest_of({"flags": config.measured, "cells": digests}),
        seconds=sum(result.seconds for result in results.values()),
        parts=config.part,
        name=subject.name,
        geometry=GeometryFacts.model_validate(subject.geometry),
        precision=config.run.precision,
        compiled=config.compile,
        batches=config.batches,
        plans={
            plan.name: plan_facts(subject.geometry, plan, config.run.precision)
            for plan in subject.plans
        },
        paper_cost=paper_cost(),
        failed={gauge.name: found.error for gauge, found in results.items() if found.error},
    )


def _write_frame(
    config: EfficiencyConfig, workspace: Workspace, results: Mapping[Gauge, CellResult]
) -> Path:
    import pandas as pd

    from analysis.efficiency_file import COLUMNS, checked_measured
    from analysis.study_file import FRAME_FILE
    from studies.cells.gauge import rows_of
    from studies.grid.folder import write_table

    path = workspace.study(f"{STUDY}-quick" if config.run.quick else STUDY) / FRAME_FILE
    rows = [row for result in results.values() for row in rows_of(result)]
    frame = checked_measured(pd.DataFrame(rows, columns=list(COLUMNS)))
    return write_table(path, frame, fresh=True)


def _record(
    workspace: Workspace,
    file: EfficiencyFile,
    results: Mapping[Gauge, CellResult],
    paths: ReportPaths,
) -> None:
    """A parent run with the answer, a child run a cell."""
    from studies.tracking.logged import Answer, LoggedStudy
    from studies.tracking.mirror import mirror_study, mirroring
    from studies.tracking.outline import Outline, OutlinedCell, relative

    study = LoggedStudy(
        experiment=paths.pdf.parent.name,
        study=file.study,
        run_name=file.measured_on,
        quick=file.quick,
        question=file.question,
        config_digest=file.config_digest,
        params=file.config,
    )
    files = {
        "": [paths.pdf, paths.answer, paths.pdf.with_name("study.json")],
        "figures": [path for path in paths.figures if path.suffix == ".png"],
    }
    outline = Outline(
        study=study,
        cells=tuple(
            OutlinedCell(digest=result.digest, name=gauge.name, params={"part": gauge.part})
            for gauge, result in results.items()
        ),
        answer=Answer(
            note=f"{file.question}\n\n**{paths.verdict}**. {paths.said['answer']}",
            metrics={"study/seconds cells": file.seconds},
            tags={f"verdict {row['claim']}": row["verdict"] for row in paths.said["ledger"]},
            artifacts={folder: relative(some, workspace) for folder, some in files.items()},
        ),
    )
    with mirroring():
        outline.write(workspace)
        mirror_study(outline, {result.digest: result for result in results.values()}, workspace)


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(EfficiencyConfig, __doc__), command_words("studies.efficiency"))
