"""`study.json`: what a study wrote down about itself, read and checked."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.frame import FrameError

FORMAT, VERSION = "varant-study", 1


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """The checked core of any study's record; `facts` is the whole file."""

    study: str
    quick: bool
    command: str
    patch_nums: tuple[int, ...]
    depth: int
    dataset: str
    facts: Mapping[str, Any]

    def fact(self, *path: str) -> Any:
        """The value at `path` in the record, or None where the study did not note it."""
        value: Any = self.facts
        for key in path:
            if not isinstance(value, Mapping) or key not in value:
                return None
            value = value[key]
        return value

    @property
    def created(self) -> datetime.datetime:
        """The study's date; a record without one gets the epoch, not the clock."""
        try:
            created = datetime.datetime.fromisoformat(str(self.fact("created")))
        except ValueError:
            return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return created if created.tzinfo else created.replace(tzinfo=datetime.UTC)


@dataclass(frozen=True, kw_only=True)
class SensitivityRecord(StudyRecord):
    """Of a sensitivity study."""

    half_depth: int
    selectors: tuple[str, ...]
    windows: Mapping[str, tuple[int, ...]]  # scales from 1

    @property
    def selector(self) -> str:
        """The selector that figures and claims speak of: the paper's where the study has it."""
        return "equidistant" if "equidistant" in self.selectors else self.selectors[0]


@dataclass(frozen=True, kw_only=True)
class SupernetRecord(StudyRecord):
    """Of a study that trains."""

    depths: tuple[int, ...]
    schedules: tuple[str, ...]  # labels, in the study's order
    seeds: tuple[int, ...]
    budget_images: int
    kv_full_bytes: float  # peak cache of the full network, an image
    models: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ParetoRecord(SupernetRecord):
    """Of a pareto study."""

    train_switch: int
    reference_point: Mapping[str, float]
    kv_budgets: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ScheduleRecord(SupernetRecord):
    """Of a schedule study.

    Attributes:
        trials: as `analysis.searches.schedules.trial_table` takes them, with `curve`: subnet shares
            over training progress from 0 to 1.
        importances: objective to parameter to `mean` and `sd`; empty for too few trials.
        subnets: names of the plans whose mean is the subnets' objective.
    """

    trials: tuple[Mapping[str, Any], ...]
    importances: Mapping[str, Any]
    subnets: tuple[str, ...]
    score_images: int


@dataclass(frozen=True, kw_only=True)
class SearchRecord(StudyRecord):
    """Of a search study.

    Attributes:
        fronts: "two-zone" and "found": plans with `plan`, `layers`, `select_nll`, `kv` (bytes).
    """

    kv_limit_bytes: float
    kv_full_bytes: float
    reference_nll: float
    reference_fd: float
    trials: int
    score_images: int
    fronts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class SwitchRecord(SupernetRecord):
    """Of a switch study."""


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
    try:
        core = _core(facts)
        match core["study"]:
            case "sensitivity":
                record: StudyRecord = SensitivityRecord(**core, **_sensitivity(facts))
            case "pareto":
                record = ParetoRecord(**core, **_supernets(facts), **_pareto(facts))
            case "schedule":
                record = ScheduleRecord(**core, **_supernets(facts), **_schedule(facts))
            case "search":
                record = SearchRecord(**core, **_search(facts))
            case "switch":
                record = SwitchRecord(**core, **_supernets(facts))
            case _:
                record = StudyRecord(**core)
    except KeyError as error:
        raise refuse(f"missing {error.args[0]!r}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise refuse(" ".join(str(error).split())) from error
    if isinstance(record, SensitivityRecord):
        for name, scales in record.windows.items():
            if not all(1 <= scale <= len(record.patch_nums) for scale in scales):
                raise refuse(
                    f"window {name!r} has scales {list(scales)} of {len(record.patch_nums)}"
                )
    return record


def _core(facts: Mapping[str, Any]) -> dict[str, Any]:
    geometry = facts.get("geometry")
    return {
        "study": _text(facts, "study"),
        "quick": _flag(facts, "quick"),
        "command": _text(facts, "command"),
        "patch_nums": _whole(geometry, "patch_nums"),
        "depth": _whole({"depth": [geometry["depth"]]}, "depth")[0],
        "dataset": str(facts.get("dataset", {}).get("name", "an unnamed data set")),
        "facts": facts,
    }


def _sensitivity(facts: Mapping[str, Any]) -> dict[str, Any]:
    selectors = tuple(str(s) for s in facts["selectors"])
    if not selectors:
        raise ValueError("selectors is empty")
    return {
        "half_depth": _whole({"half_depth": [facts["half_depth"]]}, "half_depth")[0],
        "selectors": selectors,
        "windows": {str(k): _whole(facts["windows"], k) for k in facts["windows"]},
    }


def _pareto(facts: Mapping[str, Any]) -> dict[str, Any]:
    switch = facts["train_switch"]
    if type(switch) is not int or switch < 0:
        raise ValueError(f"train_switch is {switch!r}, not a whole number")
    return {
        "train_switch": switch,
        "reference_point": {str(k): float(v) for k, v in facts["reference_point"].items()},
        "kv_budgets": tuple(float(share) for share in facts["kv_budgets"]),
    }


def _schedule(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "trials": tuple(facts["trials"]),
        "importances": dict(facts["importances"]),
        "subnets": tuple(str(name) for name in facts["subnets"]),
        "score_images": int(facts["score_images"]),
    }


def _search(facts: Mapping[str, Any]) -> dict[str, Any]:
    numbers = ("kv_limit_bytes", "kv_full_bytes", "reference_nll", "reference_fd")
    return {name: float(facts[name]) for name in numbers} | {
        "trials": int(facts["trials"]),
        "score_images": int(facts["score_images"]),
        "fronts": dict(facts["fronts"]),
    }


def _supernets(facts: Mapping[str, Any]) -> dict[str, Any]:
    schedules, seeds = facts["schedules"], facts["seeds"]
    if not schedules or not seeds:
        raise ValueError("schedules or seeds is empty")
    return {
        "depths": _whole(facts, "depths"),
        "schedules": tuple(str(schedule["label"]) for schedule in schedules),
        "seeds": tuple(int(seed) for seed in seeds),
        "budget_images": int(facts["budget_images"]),
        "kv_full_bytes": float(facts["kv_full_bytes"]),
        "models": tuple(facts["models"]),
    }


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
