"""Choosing a plan for a machine: the best of those that a study chose or found and that fits."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from varant.errors import UserError
from varant.manifest import Damaged, verified
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

STUDY_FILE, PLANS_FILE = "study.json", "plans.json"
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


def best_plan(
    path: str | Path,
    *,
    kv_limit: str | int,
    batch: int = 1,
    guidance: bool = True,
    kv_bytes: int = 2,
) -> DepthPlan:
    """The plan that select images say is best, of those whose KV cache fits.

    Args:
        path: `plans.json` or `study.json` of `studies.pareto` or `studies.search`, or the study's
            folder: its network's sizes are read from `study.json` beside it.
        kv_limit: bytes of K and V at once, such as "4GiB" or a number.
        batch, guidance, kv_bytes: of the generation, as `plan_cost` takes them.

    Raises:
        UserError: no such file, none with plans in it, or none that fits; then the smallest need
            is named.
    """
    limit, path = _bytes(kv_limit), Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    folder = path if path.is_dir() else path.parent
    study = _read(folder / STUDY_FILE)
    try:
        geometry = Geometry(**study["geometry"])
        found = [] if path.name == PLANS_FILE else list(_front(study, geometry))
        found = found or list(_chosen(folder))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        said = error if isinstance(error, UserError) else "not a study of plans"
        raise UserError(f"{path}: {said}") from None
    if not found:
        raise UserError(f"{path}: no plans; name the folder of studies.pareto or studies.search")
    needs = {
        plan: plan_cost(
            geometry, plan, batch=batch, guidance=guidance, kv_bytes=kv_bytes
        ).kv_bytes_peak
        for _, plan in found
    }
    fitting = [(value, plan) for value, plan in found if needs[plan] <= limit]
    if not fitting:
        plan = min(needs, key=lambda one: needs[one])
        raise UserError(
            f"kv_limit {kv_limit}: the smallest need is {_shown(needs[plan])} "
            f"({plan.name} at batch {batch})"
        )
    return min(fitting, key=lambda one: one[0])[1]


def _front(study: dict[str, Any], geometry: Geometry) -> Iterator[tuple[float, DepthPlan]]:
    """(what was minimised, plan) of the fronts of a search; none of another study."""
    for front in study.get("fronts", {}).values():
        for one in front:
            plan = DepthPlan(geometry.patch_nums, geometry.depth, one["layers"])
            yield _minimised(one), plan


def _chosen(folder: Path) -> Iterator[tuple[float, DepthPlan]]:
    """(what was minimised, plan) of the plans that a study wrote as files."""
    for one in _read(folder / PLANS_FILE):
        yield _minimised(one), DepthPlan.load(folder / Path(one["file"]).name)


def _minimised(one: dict[str, Any]) -> float:
    """What chose a plan: its distance to select images, or else their NLL."""
    distance = one.get("select_distance")
    return float(one["select_nll"] if distance is None else distance)


def _read(path: Path) -> Any:
    try:
        return json.loads(verified(path, listed=False).read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'cannot be read'}") from None
    except Damaged:
        raise
    except (ValueError, RecursionError):
        raise UserError(f"{path}: no readable JSON") from None


def _bytes(limit: str | int) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]iB|B|)\s*", str(limit))
    if match is None:
        raise UserError(f"kv_limit {limit}: give bytes, such as 4GiB, 512MiB or a number")
    return int(float(match[1]) * _UNITS[match[2]])


def _shown(size: int) -> str:
    unit = next(u for u in ("GiB", "MiB", "KiB", "B") if size >= _UNITS[u] or u == "B")
    return f"{size / _UNITS[unit]:.1f} {unit}"
