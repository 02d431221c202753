"""How a cell ended, as a file in its folder; a manifest beside it holds what others read there."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from analysis.study_file import COMMON_BLOCK, STATUSES
from varant import manifest
from varant.files import replacing, sha256_file
from varant.manifest import Damaged

RESULT_FILE, WHOLE_FILE = "result.json", "config.json"  # the second says that a folder is whole
KEPT = (WHOLE_FILE, "metrics.jsonl", "*.safetensors", "features-*.npy", "samples.npy")
"""What others read in the folder of a cell that has finished, beside its result."""
REMEDY = "it is made again"
FINISHED, FAILED, DIVERGED, WORSE, INTERRUPTED, PENDING = STATUSES


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """One metric.

    Attributes:
        value: of all samples or images.
        count: samples or images behind it; 0 for an exact number.
        replicates: the jackknife's, the value without each block of them; () where there are none.
        common: the value without each block of what all units share, the reference or the test
            images; () where a unit has its own.
    """

    value: float
    count: int
    replicates: tuple[float, ...] = ()
    common: tuple[float, ...] = ()

    @classmethod
    def exact(cls, value: float) -> Measurements:
        return cls(value=float(value), count=0)


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """How a cell ended.

    Attributes:
        status: `finished` with measurements, `failed`, `diverged` or `ended worse` with its error,
            or `interrupted`, which no file says: such a cell goes on when the study runs again.
        facts: what else the cell says of itself, JSON-ready.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    digest: str
    status: str = FINISHED
    metrics: Mapping[str, Measurements] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None

    @property
    def values(self) -> dict[str, float]:
        return {name: found.value for name, found in self.metrics.items()}

    def rows(self) -> Iterator[dict[str, object]]:
        """What its rows of a study's frame differ in: one for each value and replicate, one where
        it did not finish."""
        if self.status != FINISHED:
            yield {"metric": "", "group": None, "value": math.nan, "count": 0}
        for metric, found in self.metrics.items():
            values = [(None, found.value), *enumerate(found.replicates)]
            for group, value in [*values, *enumerate(found.common, start=COMMON_BLOCK)]:
                yield {"metric": metric, "group": group, "value": value, "count": found.count}


_FILE = TypeAdapter(CellResult)


def write_result(folder: Path, result: CellResult) -> None:
    """Write a result; before it the manifest, so that a folder with a result has one."""
    text = json.dumps(asdict(result), indent=1) + "\n"
    kept = [path for pattern in KEPT for path in folder.glob(pattern)]
    if result.status != FINISHED:  # a training that failed may go on, and its files change
        kept = []
    digests = {path.name: sha256_file(path) for path in kept}
    digests[RESULT_FILE] = hashlib.sha256(text.encode()).hexdigest()
    manifest.write(folder, digests)
    with replacing(folder / RESULT_FILE) as aside:
        aside.write_text(text)


def read_result(folder: Path, digest: str) -> CellResult | None:
    """The result in a cell's folder; None where the cell has not ended; `Damaged` where it, or what
    the cell left beside it, is damaged, gone, or another cell's."""
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    for name in sorted({RESULT_FILE, *manifest.read(folder)}):
        manifest.verified(folder / name, REMEDY)
    try:
        result = _FILE.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise Damaged(f"{path}: not a result of this version; {REMEDY}") from None
    if result.digest != digest or result.status not in (FINISHED, FAILED, DIVERGED, WORSE):
        raise Damaged(f"{path}: of another cell; {REMEDY}")
    return result


def kept_result(folder: Path, digest: str) -> CellResult | None:
    """As `read_result`; what is damaged is removed, so that the cell makes it again."""
    try:
        return read_result(folder, digest)
    except Damaged:
        discard_damaged(folder)
        return None


def discard_damaged(folder: Path) -> None:
    """Remove the result and what is damaged beside it, so that the cell makes both again."""
    (folder / RESULT_FILE).unlink(missing_ok=True)
    try:
        names = manifest.read(folder).keys() - {RESULT_FILE}
    except Damaged:
        (folder / manifest.FILE).unlink()
        return
    for name in names:
        try:
            manifest.verified(folder / name)
        except Damaged:
            (folder / name).unlink(missing_ok=True)
            (folder / WHOLE_FILE).unlink(missing_ok=True)
