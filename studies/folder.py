"""What a study leaves behind for `reports`: frame, facts and sample sheet, in one folder."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.frame import checked_frame
from varant import __version__
from varant.files import replacing, write_json

FRAME_FILE, STUDY_FILE, SAMPLES_FILE = "frame.parquet", "study.json", "samples.npz"
_REPORTED_PACKAGES = ("torch", "numpy", "scipy", "clean-fid", "mlflow")


def write_frame(folder: Path, rows: list[dict]) -> pd.DataFrame:
    """Check the rows against the frame's contract and write them."""
    frame = checked_frame(pd.DataFrame(rows))
    with replacing(folder / FRAME_FILE) as aside:
        frame.to_parquet(aside, index=False)
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
