"""`study.json`: what a study wrote down about itself, read and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.frame import FrameError

FORMAT, VERSION = "varant-study", 1


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """The checked core of a study's record; `facts` is the whole file, for the protocol table."""

    study: str
    quick: bool
    command: str
    patch_nums: tuple[int, ...]
    depth: int
    half_depth: int
    selectors: tuple[str, ...]
    windows: Mapping[str, tuple[int, ...]]  # scales from 1
    dataset: str
    facts: Mapping[str, Any]

    @property
    def selector(self) -> str:
        """The selector that figures and claims speak of: the paper's where the study has it."""
        return "equidistant" if "equidistant" in self.selectors else self.selectors[0]

    def fact(self, *path: str) -> Any:
        """The value at `path` in the record, or None where the study did not note it."""
        value: Any = self.facts
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value


def load_record(path: Path) -> StudyRecord:
    """Read and check `study.json`; raises `FrameError` naming file, value and remedy."""

    def refuse(what: str, remedy: str = "run the study again") -> FrameError:
        return FrameError(f"{path}: {what}; {remedy}")

    if not path.is_file():
        raise FrameError(
            f"{path.parent}: not a study folder (no {path.name}); name a folder such as "
            "runs/sensitivity that a study wrote"
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise refuse(f"not readable JSON ({' '.join(str(error).split())})") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else type(facts).__name__
        raise refuse(f"format is {found!r}, not {FORMAT!r}", "name a folder that a study wrote")
    if facts.get("version") != VERSION:
        raise refuse(
            f"version is {facts.get('version')!r}, this code reads {VERSION}",
            "use the version that wrote it, or run the study again",
        )
    geometry = facts.get("geometry")
    try:
        record = StudyRecord(
            study=_text(facts, "study"),
            quick=_flag(facts, "quick"),
            command=_text(facts, "command"),
            patch_nums=_whole(geometry, "patch_nums"),
            depth=_whole({"depth": [geometry["depth"]]}, "depth")[0],
            half_depth=_whole({"half_depth": [facts["half_depth"]]}, "half_depth")[0],
            selectors=tuple(str(s) for s in facts["selectors"]),
            windows={str(k): _whole(facts["windows"], k) for k in facts["windows"]},
            dataset=str(facts.get("dataset", {}).get("name", "an unnamed data set")),
            facts=facts,
        )
    except KeyError as error:
        raise refuse(f"missing {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise refuse(" ".join(str(error).split())) from error
    if not record.selectors:
        raise refuse("selectors is empty")
    for name, scales in record.windows.items():
        if not all(1 <= scale <= len(record.patch_nums) for scale in scales):
            raise refuse(f"window {name!r} has scales {list(scales)} of {len(record.patch_nums)}")
    return record


def _text(facts: Mapping[str, Any], key: str) -> str:
    if not isinstance(facts[key], str):
        raise TypeError(f"{key} is {facts[key]!r}, not a string")
    return facts[key]


def _flag(facts: Mapping[str, Any], key: str) -> bool:
    if not isinstance(facts[key], bool):
        raise TypeError(f"{key} is {facts[key]!r}, not true or false")
    return facts[key]


def _whole(facts: Any, key: str) -> tuple[int, ...]:
    """A non-empty list of whole numbers from 1."""
    values = facts[key]
    whole = isinstance(values, list) and values
    if not whole or not all(type(v) is int and v >= 1 for v in values):
        raise ValueError(f"{key} is {values!r}, not a list of whole numbers from 1")
    return tuple(values)
