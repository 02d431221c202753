"""A study's folder held against itself and the cells that it was made of, where these are there."""

import json
from pathlib import Path
from typing import Any

from analysis.errors import REMEDY, FrameError, verified
from analysis.frame import FINISHED, read_parquet
from analysis.statistics.units import WHOLE
from analysis.study_file import COMMON_BLOCK, FILE, FRAME_FILE, StudyFile, StudyHead
from varant import manifest

CELLS = "cells"


Values = dict[tuple[str, int], float]
"""By metric, and by the block that is left out."""


def check_sources(folder: Path, study: StudyHead) -> None:
    """Raise `FrameError` unless the frame is the one that the study file speaks of, and both say
    what the cells of their workspace say."""
    verified(folder / FRAME_FILE)
    if manifest.read(folder)[FRAME_FILE] != study.frame_sha256:
        raise FrameError(f"{folder / FRAME_FILE}: not the frame that {FILE} is of; {REMEDY}")
    cells = folder.resolve().parent / CELLS
    if isinstance(study, StudyFile) and cells.is_dir():
        _check_frame(folder / FRAME_FILE, cells)
        _check_plans(folder / FILE, study, cells)


def _check_frame(path: Path, cells: Path) -> None:
    texts = ["cell_digest", "status", "metric"]
    frame = read_parquet(path, texts, [*texts, "group", "value"])
    finished = frame[frame["status"] == FINISHED]
    columns = (finished["metric"], finished["group"].fillna(WHOLE), finished["value"])
    metrics, groups, values = (column.to_numpy() for column in columns)
    for digest, rows in finished.groupby("cell_digest", observed=True).indices.items():
        result = _read(cells, str(digest), "result.json")
        if result is None:
            continue
        held = _values(result)
        for metric, group, value in zip(metrics[rows], groups[rows], values[rows], strict=True):
            said = held.get((metric, group))
            if said != value:
                raise FrameError(
                    f"{path}: {metric} of cell {str(digest)[:16]} is {value}, in its result it is "
                    f"{said}; {REMEDY}"
                )


def _values(result: dict[str, Any]) -> Values:
    found: Values = {}
    for metric, of in result["metrics"].items():
        found[metric, WHOLE] = of["value"]
        found |= {(metric, group): value for group, value in enumerate(of["replicates"])}
        common = enumerate(of.get("common", ()), start=COMMON_BLOCK)
        found |= {(metric, group): value for group, value in common}
    return found


def _check_plans(path: Path, study: StudyFile, cells: Path) -> None:
    for digest, layers in study.plans.items():
        identity = _read(cells, digest, "config.json")
        if identity is not None and identity["plan"]["layers"] != [list(at) for at in layers]:
            raise FrameError(
                f"{path}: plan of cell {digest[:16]} is not the one that was measured; {REMEDY}"
            )


def _read(cells: Path, digest: str, name: str) -> dict[str, Any] | None:
    """A file of a cell; None where the cell is not there."""
    path = cells / digest[:16] / name
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(verified(path).read_bytes())
    return content
