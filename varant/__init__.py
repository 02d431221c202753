"""varant: a VAR supernet whose depth a plan sets, scale by scale, at run time."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from varant.errors import UserError
    from varant.model.cost import PlanCost, plan_cost
    from varant.model.geometry import Geometry
    from varant.model.plan import DepthPlan
    from varant.model.sampling import Sample, generate
    from varant.model.tokenizer import Tokenizer, TokenizerConfig
    from varant.model.transformer import VAR
    from varant.store.checkpoint import load, save
    from varant.store.official import load_official, save_official

# Where each name lives. Imported when first asked for: torch takes seconds, and a command's --help
# or a report needs none of it.
_HOMES = {
    "VAR": "model.transformer",
    "DepthPlan": "model.plan",
    "Geometry": "model.geometry",
    "PlanCost": "model.cost",
    "Sample": "model.sampling",
    "Tokenizer": "model.tokenizer",
    "TokenizerConfig": "model.tokenizer",
    "UserError": "errors",
    "generate": "model.sampling",
    "load": "store.checkpoint",
    "load_official": "store.official",
    "plan_cost": "model.cost",
    "save": "store.checkpoint",
    "save_official": "store.official",
}
__all__ = [
    "VAR",
    "DepthPlan",
    "Geometry",
    "PlanCost",
    "Sample",
    "Tokenizer",
    "TokenizerConfig",
    "UserError",
    "generate",
    "load",
    "load_official",
    "plan_cost",
    "save",
    "save_official",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
