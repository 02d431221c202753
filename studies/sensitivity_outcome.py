"""What the sensitivity study makes of its results: frame, facts and sample sheet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import numpy as np

from studies.cell import SAMPLES_FILE, Cell, CellResult
from studies.folder import (
    hardware,
    write_frame,
    write_samples,
    write_study,
)
from studies.networks import Bench
from studies.sensitivity_grid import Entry, windows_of
from varant.cost import parameter_count
from varant.preparation import Workspace


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


__all__ = ["Outcome", "write_folder"]
