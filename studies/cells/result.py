"""How a cell ended, as a file in its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from varant.errors import UserError
from varant.files import write_json

RESULT_FILE = "result.json"
FINISHED, FAILED, DIVERGED, INTERRUPTED = "finished", "failed", "diverged", "interrupted"


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """One metric.

    Attributes:
        value: of all samples or images.
        count: samples or images behind it; 0 for an exact number.
        replicates: the jackknife's, the value without each block of them; () where there are none.
    """

    value: float
    count: int
    replicates: tuple[float, ...] = ()

    @classmethod
    def exact(cls, value: float) -> Measurements:
        return cls(value=float(value), count=0)


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """How a cell ended.

    Attributes:
        status: `finished` with measurements, `failed` or `diverged` with its error, or
            `interrupted`, which no file says: such a cell goes on when the study runs again.
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
        """By metric."""
        return {name: found.value for name, found in self.metrics.items()}

    def rows(self) -> Iterator[dict[str, object]]:
        """What its rows of a study's frame differ in: one for each value and replicate, one where
        it did not finish."""
        if self.status != FINISHED:
            yield {"metric": "", "group": None, "value": math.nan, "count": 0}
        for metric, found in self.metrics.items():
            for group, value in enumerate((found.value, *found.replicates), start=-1):
                place = None if group < 0 else group
                yield {"metric": metric, "group": place, "value": value, "count": found.count}


_FILE = TypeAdapter(CellResult)


def write_result(folder: Path, result: CellResult) -> None:
    """Write a result, atomically."""
    write_json(folder / RESULT_FILE, asdict(result))


def read_result(folder: Path, digest: str) -> CellResult | None:
    """The result in a cell's folder; None where the cell has not ended.

    Raises:
        UserError: a file that is damaged or belongs to another cell.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    damaged = UserError(f"{path}: damaged; delete the folder {folder} and run again")
    try:
        result = _FILE.validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise damaged from None
    if result.digest != digest or result.status not in (FINISHED, FAILED, DIVERGED):
        raise damaged
    return result
