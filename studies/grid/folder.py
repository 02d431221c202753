"""What a study leaves behind for `reports`: frame, facts and sample sheet, in one folder."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS, checked_frame
from studies.grid.flags import StudyFlags
from studies.grid.point import Outcome
from varant import __version__
from varant.files import replacing, write_json
from varant.model.cost import parameter_count

FRAME_FILE, STUDY_FILE, SAMPLES_FILE = "frame.parquet", "study.json", "samples.npz"
_REPORTED_PACKAGES = ("torch", "numpy", "scipy", "clean-fid", "mlflow")


def write_frame(folder: Path, rows: list[dict]) -> pd.DataFrame:
    """Check the rows against the frame's contract and write them."""
    columns = dict.fromkeys(name for row in rows for name in (*COLUMNS, *row))
    frame = checked_frame(pd.DataFrame(rows, columns=list(columns)), full=False)
    with replacing(folder / FRAME_FILE) as aside:
        frame.to_parquet(aside, index=False, compression="zstd", compression_level=9)
    return frame


def write_study(folder: Path, facts: dict) -> None:
    """Write `study.json`, adding what is true of this machine and installation."""
    versions = {name: metadata.version(name) for name in _REPORTED_PACKAGES}
    content = {
        "format": "varant-study",
        "version": 1,
        "code_version": __version__,
        **facts,
        "versions": {"python": platform.python_version(), "varant": __version__, **versions},
    }
    write_json(folder / STUDY_FILE, content)


def write_samples(folder: Path, images: np.ndarray, rows: list[str], columns: list[str]) -> None:
    """Write the sample sheet: (rows, columns, H, W, 3) uint8 images and their names."""
    with replacing(folder / SAMPLES_FILE) as aside, aside.open("wb") as file:
        np.savez_compressed(file, images=images, rows=np.array(rows), columns=np.array(columns))


def common_facts(
    outcome: Outcome,
    flags: StudyFlags,
    *,
    study: str,
    command: str,
    config: dict,
    config_digest: str,
) -> dict:
    """What `study.json` says of every study."""
    bench, evaluation = outcome.bench, outcome.evaluation
    dataset = bench.dataset
    return {
        "study": study,
        "quick": flags.quick,
        "command": command,
        "config": config,
        "config_digest": config_digest,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_seconds": outcome.wall_seconds,
        "preparation_seconds": outcome.preparation_seconds,
        "cell_seconds": sum(result.seconds for result in outcome.results.values()),
        "hardware": hardware(workers=outcome.workers, device=flags.device),
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
        "bases": [_base_facts(outcome, i) for i in range(len(bench.networks))],
        "model": bench.description,
        "geometry": bench.geometry.as_dict(),
        "sampling": {
            key: getattr(evaluation, key)
            for key in ("cfg", "top_k", "top_p", "seed", "samples", "sets")
        },
        "nll_images": evaluation.nll_images,
        "nll_sets": evaluation.nll_sets,
        "select_images": evaluation.select_images,
        "select_sets": evaluation.select_sets,
        "plans": {
            point.cell.digest: point.cell.plan.layers for point in outcome.points if point.in_frame
        },
    }


def _base_facts(outcome: Outcome, index: int) -> dict:
    bench = outcome.bench
    network = bench.networks[index]
    facts = {
        "base_seed": network.base_seed,
        "digest": network.model,
        "parameters": parameter_count(bench.geometry),
    }
    if bench.training_images[index] is not None:
        facts["training_images"] = bench.training_images[index]
    for point in outcome.points:
        if point.in_frame and point.cell.network == network and point.cell.plan.is_full:
            found = outcome.result(point).metrics
            for key, metric in (("nll_mean", "nll/mean"), ("class_accuracy", "class_accuracy")):
                if metric in found:
                    facts[key] = fmean(found[metric].values)
            break
    return facts


def hardware(*, workers: int, device: str) -> dict:
    """The machine, as the protocol of a report names it."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "threads_per_process": 1,
        "workers": workers,
        "device": device,
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
