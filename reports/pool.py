"""Study folders of one config that hold different units, joined into one: a night each, a machine
each. Everything that decides a number has to agree; what was spent is added up.
"""

import hashlib
import io
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.planned import planned_power
from analysis.errors import FrameError, verified
from analysis.frame import load_frame, read_parquet, write_parquet
from analysis.statistics.conflict import CONFLICT_FILE
from analysis.study_file import (
    CURVES_FILE,
    FILE,
    FRAME_FILE,
    SHEET_FILE,
    AnyStudyFile,
    StudyFile,
    SupernetFile,
)
from reports.build import load_study
from reports.parts.report import check_anchors, write_atomically
from varant import manifest
from varant.files import differences, sha256_file

TABLES = (CURVES_FILE, CONFLICT_FILE)  # of units, which some studies have beside the frame
OF_A_RUN = {"code_version", "created", "command", "hardware", "pooled", "question", "seconds"}
OF_A_RUN |= {"versions", "floor_spreads"}
"""What may differ between runs of one config, since no number of units depends on it."""
OF_UNITS = {"bases", "units", "models", "plans", "config", "config_digest", "frame_sha256"}
OF_UNITS |= {"power", "spreads"}
"""What belongs to units, and is joined; power is that of them all, where all planned it alike."""
FLAGS_OF_UNITS = ("seed", "units")  # the first, and how many


def pool(folders: Sequence[Path], out: Path) -> Path:
    """Join study folders into `out`, which appears whole or not at all; returns it.

    Writes `frame.parquet` and `study.json`, those of `TABLES` that all have, and the first one's
    `samples.npz`. An earlier pool at `out` is replaced.

    Raises:
        FrameError: folders that differ in what decides a number, one unit in two of them, one
            base network in two units, a unit without anchors, or an `out` that holds something
            else. Nothing is written.
    """
    _check_out(out, folders)
    studies = [load_study(folder) for folder in folders]
    for folder, study in zip(folders[1:], studies[1:], strict=True):
        _check_same(folders[0], studies[0], folder, study)
    training = isinstance(studies[0], SupernetFile)
    frames = [load_frame(folder / FRAME_FILE, training=training, full=False) for folder in folders]
    units = _units_of(folders, frames)
    _check_bases(folders, studies)
    anchors = set[str]().union(*(frame["anchor"].dropna() for frame in frames))
    for folder, study, frame in zip(folders, studies, frames, strict=True):
        check_anchors(folder, frame, study, anchors)
    if len(versions := {study.code_version for study in studies}) > 1:
        said = f"folders of versions {' and '.join(sorted(versions))}"
        print(f"warning: {said}, which may differ by themselves", file=sys.stderr)
    joined = _joined(folders, studies, out, units)
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        frame = _write(aside / FRAME_FILE, pd.concat(frames, ignore_index=True))
        joined = joined.model_copy(update={"frame_sha256": sha256_file(frame)})
        write_atomically(aside / FILE, joined.json_text().encode())
        for name in TABLES:
            if all((folder / name).exists() for folder in folders):
                parts = [read_parquet(folder / name) for folder in folders]
                _write(aside / name, pd.concat(parts, ignore_index=True))
        if (folders[0] / SHEET_FILE).exists():
            shutil.copyfile(verified(folders[0] / SHEET_FILE), aside / SHEET_FILE)
        manifest.record(*aside.iterdir())
        if out.exists():
            shutil.rmtree(out)
        aside.rename(out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return out


def _write(path: Path, table: pd.DataFrame) -> Path:
    payload = io.BytesIO()
    write_parquet(payload, table)
    return write_atomically(path, payload.getvalue())


def _check_out(out: Path, folders: Sequence[Path]) -> None:
    """Nothing but an earlier pool may be replaced."""
    if out.resolve() in [folder.resolve() for folder in folders]:
        raise FrameError(f"{out}: is one of the folders to pool; name a new one")
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / FILE).is_file():
        raise FrameError(f"{out}: not empty and no study folder; name a new or an empty folder")
    if not AnyStudyFile.load(out / FILE).pooled:
        raise FrameError(f"{out}: holds a study of its own; name a new folder, or an earlier pool")


def _check_same(one: Path, a: StudyFile, other: Path, b: StudyFile) -> None:
    """Both are of one config, else a line that names the first thing that differs."""
    for name, mine, theirs in differences(_decisive(a), _decisive(b)):
        said = f"{name} differs: {one} has {_short(mine)}, {other} has {_short(theirs)}"
        raise FrameError(f"{said}; pool studies of one config, that differ in units")


def _decisive(study: StudyFile) -> dict[str, Any]:
    """What a number depends on, whatever the unit: study, flags, and the facts of the file."""
    flags = {f"--{name.replace('_', '-')}": v for name, v in study.config.items()}
    for name in FLAGS_OF_UNITS:
        flags.pop(f"--{name}", None)
    facts = study.model_dump(mode="json", exclude=OF_A_RUN | OF_UNITS)
    return {"study": study.study} | flags | facts


def _short(value: Any) -> str:
    text = "nothing" if value is None else " ".join(str(value).split())
    return text if len(text) <= 40 else f"{text[:37]}..."


def _units_of(folders: Sequence[Path], frames: Sequence[pd.DataFrame]) -> list[int]:
    """Of all frames; `FrameError` where two have one."""
    seen: dict[int, Path] = {}
    for folder, frame in zip(folders, frames, strict=True):
        for unit in sorted(frame["unit"].unique().tolist()):
            if unit in seen:
                raise FrameError(
                    f"unit {unit} is in both {seen[unit]} and {folder}; pool folders of different "
                    "units (--seed is the first)"
                )
            seen[unit] = folder
    return sorted(seen)


def _check_bases(folders: Sequence[Path], studies: Sequence[StudyFile]) -> None:
    """No base network is two units: a copy under another number adds no network to a test."""
    seen: dict[str, tuple[int, Path]] = {}
    for folder, study in zip(folders, studies, strict=True):
        for base in study.bases:
            unit, first = seen.setdefault(base.digest, (base.unit, folder))
            if unit != base.unit:
                said = f"is unit {unit} of {first} and unit {base.unit} of {folder}"
                raise FrameError(
                    f"base network {base.digest[:8]} {said}; pool units of different base networks"
                )


def _joined(
    folders: Sequence[Path], studies: Sequence[StudyFile], out: Path, units: Sequence[int]
) -> StudyFile:
    """The file of them all: units, bases, models and plans together, seconds added."""
    first, digests = studies[0], "".join(sorted(study.config_digest for study in studies))
    bases = sorted((base for study in studies for base in study.bases), key=attrgetter("unit"))
    seconds = [study.seconds.model_dump() for study in studies]
    flags = dict(zip(FLAGS_OF_UNITS, (units[0], len(units)), strict=True))
    spreads = first.spreads if all(one.spreads == first.spreads for one in studies) else None
    changes: dict[str, Any] = {
        "command": f"python -m reports --pool {' '.join(map(str, [*folders, out]))}",
        "pooled": tuple(map(str, folders)),
        "config": {name: flags.get(name, value) for name, value in first.config.items()},
        "config_digest": hashlib.sha256(digests.encode()).hexdigest(),
        "created": max(study.created for study in studies),
        "seconds": {name: sum(one[name] for one in seconds) for name in seconds[0]},
        "hardware": _either([study.hardware.model_dump() for study in studies]),
        "versions": _either([dict(study.versions) for study in studies]),
        "spreads": spreads,
        "power": planned_power(spreads, len(units)),
        "code_version": _either([{"": study.code_version} for study in studies])[""],
        "bases": [base.model_dump() for base in bases],
        "plans": {digest: plan for study in studies for digest, plan in study.plans.items()},
    }
    trained = [study for study in studies if isinstance(study, SupernetFile)]
    if trained:
        changes["units"] = sorted(unit for study in trained for unit in study.units)
        changes["models"] = [model.model_dump() for study in trained for model in study.models]
    return type(first).model_validate(first.model_dump() | changes)


def _either(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all say; texts that differ are named one after the other, of other things the first."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(key for one in facts for key in one):
        values = list(dict.fromkeys(one[name] for one in facts if name in one))
        text = all(isinstance(value, str) for value in values)
        found[name] = " / ".join(values) if text else values[0]
    return found
