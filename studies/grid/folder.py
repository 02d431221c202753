"""What a study leaves behind for `reports`: frame, facts and sample sheet, in one folder."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS, checked_frame, write_parquet
from analysis.metrics import NLL
from analysis.statistics.conflict import CONFLICT_FILE
from analysis.study_file import CURVES_FILE, FRAME_FILE, SHEET_FILE, Facts
from studies.cells.measuring import SAMPLES_FILE
from studies.cells.result import FINISHED
from studies.grid.flags import StudyConfig
from studies.grid.point import Outcome, Point
from varant import __version__
from varant.devices import device_name, is_cuda
from varant.manifest import recording, verified
from varant.model.cost import parameter_count
from varant.start.config import RunConfig

_REPORTED_PACKAGES = ("torch", "numpy", "scipy", "mlflow")


def write_frame(study: str, outcome: Outcome[Any]) -> Path:
    """Write the results of the points' cells under their columns, once they pass for a frame.

    What an earlier visit left beside it, which is of another frame, goes.
    """
    cells, place = list[dict[str, object]](), list[int]()
    measured: dict[str, list[object]] = {n: [] for n in ("metric", "group", "value", "count")}
    for point in outcome.points:
        if not point.task.tabled:
            continue
        result = outcome.result(point)
        for row in result.rows():
            place.append(len(cells))
            for name, values in measured.items():
                values.append(row[name])
        of = {"study": study, "cell_digest": result.digest, "status": result.status}
        cells.append(of | dict(point.columns))
    # A cell has hundreds of rows: what they share is put down once.
    columns = dict.fromkeys(name for cell in cells for name in (*COLUMNS, *cell))
    shared = pd.DataFrame(cells, columns=[name for name in columns if name not in measured])
    texts = {n: "category" for n, kind in COLUMNS.items() if kind == "category" and n in shared}
    frame = shared.astype(texts).iloc[place].reset_index(drop=True).assign(**measured)
    path = outcome.folder / FRAME_FILE
    write_table(path, checked_frame(frame, full=False), fresh=True)
    for name in (SHEET_FILE, CURVES_FILE, CONFLICT_FILE):
        (outcome.folder / name).unlink(missing_ok=True)
    return path


def write_table(path: Path, table: pd.DataFrame, *, fresh: bool = False) -> Path:
    """Write a table as parquet; `fresh` as of `recording`."""
    with recording(path, fresh=fresh) as aside:
        write_parquet(aside, table)
    return path


def write_facts(path: Path, facts: Facts) -> Path:
    """Write `study.json`, or a study's table."""
    with recording(path) as aside:
        aside.write_text(facts.json_text())
    return path


def write_sheet(outcome: Outcome[Any], rows: Sequence[tuple[str, Point]]) -> None:
    """Write the sample sheet: (rows, columns, H, W, 3) uint8 images and their names, of points that
    share a task the first."""
    first = {point.task: (name, point) for name, point in reversed(rows)}
    distinct = [(name, point) for name, point in rows if first[point.task] == (name, point)]
    shown = {
        name: np.load(verified(outcome.folder_of(point) / SAMPLES_FILE))
        for name, point in distinct
        if outcome.result(point).status == FINISHED
    }
    if not shown:
        return
    images, names = np.stack(list(shown.values())), np.array(list(shown))
    classes = np.array(outcome.bench.dataset.class_names)
    with recording(outcome.folder / SHEET_FILE) as aside, aside.open("wb") as file:
        np.savez_compressed(file, images=images, rows=names, columns=classes)


def head_facts(study: str, command: str, run: RunConfig, *, workers: int) -> dict[str, Any]:
    """What `study.json` says of any study, of this machine and installation."""
    gpu = device_name(run.device) if is_cuda(run.device) else None
    versions = {name: metadata.version(name) for name in _REPORTED_PACKAGES}
    return {
        "study": study,
        "quick": run.quick,
        "command": command,
        "code_version": __version__,
        "created": datetime.now(UTC).replace(microsecond=0),
        "hardware": {
            "cpu": device_name("cpu"),
            "cores": os.cpu_count() or 1,
            "threads_per_process": 1,
            "workers": workers,
            "device": run.device,
            "precision": run.precision,
            "platform": f"{platform.system()} {platform.machine()}",
            "gpu": gpu,
        },
        "versions": {"python": platform.python_version(), "varant": __version__, **versions},
    }


def measured_facts(outcome: Outcome[Any], config: StudyConfig) -> dict[str, Any]:
    """What `study.json` says of any study that measures plans: the fields of `StudyFile`."""
    bench, dataset = outcome.bench, outcome.bench.dataset
    tokenizer = bench.start.tokenizer.config
    described = (
        f"{tokenizer.backbone} multi-scale residual VQ-VAE, {tokenizer.vocab_size} codes of "
        f"{tokenizer.code_channels} channels"
    )
    return {
        "config": config.measured,
        "seconds": {
            **outcome.seconds,
            "cells": sum(result.seconds for result in outcome.results.values()),
        },
        "dataset": {
            **{f"{split}_images": images for split, images in dataset.sizes.items()},
            **{n: getattr(dataset, n) for n in ("name", "digest", "image_side", "num_classes")},
            "units_share_images": dataset.make_unit is None,
        },
        "tokenizer": {
            "digest": bench.start.tokenizer_sha256,
            "description": described,
            "psnr_db": bench.start.psnr_db,
        },
        "extractors": bench.extractors,
        "bases": [_base_facts(outcome, unit) for unit in bench.seeds],
        "model": bench.description,
        "geometry": bench.geometry,
        "sampling": bench.evaluation,
        "likelihood": bench.evaluation,
        "plans": {
            outcome.result(point).digest: plan.layers
            for point in outcome.points
            if (plan := point.task.tabled_plan) is not None
        },
    }


def _base_facts(outcome: Outcome[Any], unit: int) -> dict[str, Any]:
    bench = outcome.bench
    whole = outcome.where(unit=unit, family="full")
    own = [outcome.result(point).values for point in whole if point.task.trained is None]
    means = own[0] if own else {}
    return {
        "unit": unit,
        "digest": bench.site.networks[unit].model,
        "parameters": parameter_count(bench.geometry),
        "training_images": bench.training_images,
        "nll_mean": means.get(NLL.name),
        "class_accuracy": means.get("class_accuracy"),
    }
