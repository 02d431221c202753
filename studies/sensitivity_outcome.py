"""What the sensitivity study makes of its results: frame, facts, sample sheet, MLflow runs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from reports import ReportPaths
from studies.cell import SAMPLES_FILE, Cell, CellResult
from studies.folder import (
    FRAME_FILE,
    STUDY_FILE,
    hardware,
    write_frame,
    write_samples,
    write_study,
)
from studies.networks import Bench
from studies.sensitivity_grid import Entry, windows_of
from varant.cost import parameter_count
from varant.errors import one_line
from varant.preparation import Workspace

if TYPE_CHECKING:
    from studies.records import StudyRecord


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study's grid and setting; with the results of its cells, all that is written of it."""

    study: str
    quick: bool
    command: str
    flags: dict
    config_digest: str
    folder: Path
    workspace: Workspace
    bench: Bench
    entries: list[Entry]
    cells: dict[tuple[int, str], Cell]
    depths: tuple[int, ...]
    selectors: tuple[str, ...]
    workers: int
    device: str
    preparation_seconds: float

    def placed(self) -> Iterator[tuple[int, Entry, Cell]]:
        """Every (base seed, entry, cell), base after base, in the grid's order."""
        for network in self.bench.networks:
            for entry in self.entries:
                yield network.base_seed, entry, self.cells[network.base_seed, entry.name]


def write_folder(outcome: Outcome, results: dict[str, CellResult], *, wall_seconds: float) -> None:
    """Write frame, sample sheet and facts into the study's folder."""
    write_frame(outcome.folder, list(_rows(outcome, results)))
    _write_sheet(outcome, results)
    write_study(outcome.folder, _facts(outcome, results, wall_seconds))


def _rows(outcome: Outcome, results: dict[str, CellResult]) -> Iterator[dict]:
    """Rows of the frame: one for each value, and one for a cell that failed."""
    for base_seed, entry, cell in outcome.placed():
        result = results[cell.digest]
        shared = {
            "study": outcome.study,
            "base_seed": base_seed,
            "family": entry.family,
            "cell": entry.name,
            "scale": entry.scale,
            "window": entry.window,
            "switch": entry.switch,
            "subnet_depth": entry.subnet_depth,
            "selector": entry.selector,
            "cell_digest": cell.digest,
            "status": result.status,
        }
        if result.status != "finished":
            yield shared | {"metric": "", "set": None, "value": float("nan"), "count": 0}
        for metric, found in result.metrics.items():
            for i, value in enumerate(found.values):
                index = i if found.count else None
                yield shared | {
                    "metric": metric, "set": index, "value": value, "count": found.count
                }  # fmt: skip


def _write_sheet(outcome: Outcome, results: dict[str, CellResult]) -> None:
    """Sample images of the first network: full, the windows, and the shallowest plans."""
    seed = outcome.bench.networks[0].base_seed
    selector = outcome.selectors[0]
    middle_switch = len(outcome.bench.geometry.patch_nums) // 2
    wanted = [
        entry
        for entry in outcome.entries
        if entry.selector == selector
        and (
            entry.family in ("full", "window")
            or (entry.family == "switch" and entry.switch in (0, middle_switch))
        )
    ]
    images, rows = [], []
    for entry in wanted:
        cell = outcome.cells[seed, entry.name]
        if results[cell.digest].status == "finished":
            images.append(np.load(outcome.workspace.cell(cell.digest) / SAMPLES_FILE))
            rows.append(entry.name)
    if images:
        columns = list(outcome.bench.dataset.class_names)
        write_samples(outcome.folder, np.stack(images), rows, columns)


def _facts(outcome: Outcome, results: dict[str, CellResult], wall_seconds: float) -> dict:
    """The content of `study.json`."""
    bench, dataset = outcome.bench, outcome.bench.dataset
    evaluation = next(iter(outcome.cells.values())).evaluation
    return {
        "study": "sensitivity",
        "quick": outcome.quick,
        "command": outcome.command.strip(),
        "config": outcome.flags,
        "config_digest": outcome.config_digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": wall_seconds,
        "preparation_seconds": outcome.preparation_seconds,
        "cell_seconds": sum(result.seconds for result in results.values()),
        "hardware": hardware(workers=outcome.workers, device=outcome.device),
        "dataset": {
            "name": dataset.name,
            "digest": dataset.digest,
            "train_images": dataset.sizes["train"],
            "select_images": dataset.sizes["select"],
            "test_images": dataset.sizes["test"],
            "image_side": dataset.image_side,
            "num_classes": dataset.num_classes,
        },
        "tokenizer": {
            "digest": bench.tokenizer_sha256,
            "description": bench.tokenizer_description,
            "psnr_db": bench.psnr_db,
        },
        "extractor": {
            "name": bench.extractor_name,
            "digest": bench.extractor_digest,
            "features": bench.features,
        },
        "bases": [_base_facts(outcome, results, i) for i in range(len(bench.networks))],
        "model": bench.description,
        "geometry": bench.geometry.as_dict(),
        "sampling": {
            key: getattr(evaluation, key)
            for key in ("cfg", "top_k", "top_p", "seed", "samples", "sets")
        },
        "nll_images": evaluation.nll_images,
        "nll_sets": evaluation.nll_sets,
        "depths": outcome.depths,
        "selectors": outcome.selectors,
        "windows": windows_of(len(bench.geometry.patch_nums)),
        "half_depth": bench.geometry.depth // 2,
        "plans": {cell.digest: cell.plan.layers for cell in outcome.cells.values()},
    }


def _base_facts(outcome: Outcome, results: dict[str, CellResult], index: int) -> dict:
    bench, network = outcome.bench, outcome.bench.networks[index]
    full = results[outcome.cells[network.base_seed, "full"].digest].metrics
    facts = {
        "base_seed": network.base_seed,
        "digest": network.model_sha256,
        "parameters": parameter_count(bench.geometry),
    }
    if bench.training_images[index] is not None:
        facts["training_images"] = bench.training_images[index]
    if full:
        facts["nll_mean"] = fmean(full["nll/mean"].values)
        facts["class_accuracy"] = fmean(full["class_accuracy"].values)
    return facts


@contextlib.contextmanager
def mirroring() -> Iterator[None]:
    """MLflow mirrors what is on disk: a database that is locked or gone stops no study."""
    try:
        yield
    except Exception as error:
        print(
            f"warning: MLflow: {one_line(error)[:300]}; results are on disk, run the same command "
            "again to mirror them",
            file=sys.stderr,
        )


def open_record(outcome: Outcome) -> StudyRecord | None:
    """Find or begin the study's parent run; None, said aloud, where MLflow cannot be used."""
    with mirroring():
        return _open_record(outcome)
    return None


def _open_record(outcome: Outcome) -> StudyRecord:
    from studies.records import open_study

    dataset, geometry = outcome.bench.dataset, outcome.bench.geometry
    return open_study(
        outcome.workspace.folder,
        study=outcome.study,
        run_name=f"{outcome.study} {dataset.name} s{outcome.bench.networks[0].base_seed}",
        config_digest=outcome.config_digest,
        params=outcome.flags,
        tags={
            "study": outcome.study,
            "dataset": dataset.name,
            "geometry": f"d{geometry.depth} w{geometry.width} {len(geometry.patch_nums)} scales",
            "quick": str(outcome.quick).lower(),
        },
        dataset=_logged_dataset(outcome),
    )


def _logged_dataset(outcome: Outcome):
    from studies.records import LoggedDataset

    dataset = outcome.bench.dataset
    return LoggedDataset(
        name=dataset.name,
        digest=dataset.digest,
        source=f"varant.datasets.load_dataset({dataset.name!r})",
        images=dataset.sizes["test"],
    )


def record_interrupt(record: StudyRecord | None) -> None:
    """Leave no run marked as running behind."""
    if record is not None:
        with mirroring():
            record.interrupt()


def record_results(
    record: StudyRecord | None,
    outcome: Outcome,
    results: dict[str, CellResult],
    paths: ReportPaths,
) -> None:
    """Mirror every cell into MLflow as a child run, and attach what the report made."""
    if record is not None:
        with mirroring():
            _record_results(record, outcome, results, paths)


def _record_results(
    record: StudyRecord, outcome: Outcome, results: dict[str, CellResult], paths: ReportPaths
) -> None:
    several = len(outcome.bench.networks) > 1
    seen: set[str] = set()
    for base_seed, entry, cell in outcome.placed():
        if cell.digest in seen:
            continue  # the same plan under a second name
        seen.add(cell.digest)
        result = results[cell.digest]
        index = [n.base_seed for n in outcome.bench.networks].index(base_seed)
        params = {
            "family": entry.family,
            "subnet_depth": entry.subnet_depth or outcome.bench.geometry.depth,
            "selector": entry.selector,
            "seed": base_seed,
            "schedule": "full",
            "budget_images": outcome.bench.training_images[index],
        } | {
            key: getattr(entry, key)
            for key in ("scale", "window", "switch")
            if getattr(entry, key) is not None
        }
        record.record_cell(
            digest=cell.digest,
            name=f"{entry.name} s{base_seed}" if several else entry.name,
            status=result.status,
            params=params,
            metrics={name: fmean(found.values) for name, found in result.metrics.items()},
            images_seen=outcome.bench.training_images[index] or 0,
            tags={"error": result.error} if result.error else {},
            dataset=_logged_dataset(outcome),
        )
    failed = any(result.status == "failed" for result in results.values())
    record.finish(
        note="\n\n".join(
            [
                "Which scales of this network need depth? Layers are removed without training.",
                f"C1 (early scales need depth, late ones do not): {paths.verdict}.",
                f"{len(seen)} cells on {outcome.bench.dataset.name}; see report.pdf below."
                + (" QUICK RUN: not a result." if outcome.quick else ""),
            ]
        ),
        artifacts={
            "": [paths.pdf, paths.answer, outcome.folder / FRAME_FILE, outcome.folder / STUDY_FILE],
            "figures": sorted(paths.figures),
        },
        failed=failed,
    )


__all__ = ["Outcome", "open_record", "record_interrupt", "record_results", "write_folder"]
