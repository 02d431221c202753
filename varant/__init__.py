"""varant: a VAR supernet whose depth a plan sets, scale by scale, at run time."""

import importlib
from typing import TYPE_CHECKING, Any

from varant import signals

if TYPE_CHECKING:
    from varant.errors import UserError as UserError
    from varant.model.cost import PlanCost as PlanCost, plan_cost as plan_cost
    from varant.model.geometry import Geometry as Geometry
    from varant.model.plan import DepthPlan as DepthPlan
    from varant.model.precision import hold as hold
    from varant.model.sampling import Sample as Sample, generate as generate
    from varant.model.tokenizer import Tokenizer as Tokenizer, TokenizerConfig as TokenizerConfig
    from varant.model.transformer import VAR as VAR
    from varant.store.checkpoint import load as load, save as save
    from varant.store.frontier import best_plan as best_plan
    from varant.store.official import load_official as load_official, save_official as save_official

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
    "best_plan": "store.frontier",
    "generate": "model.sampling",
    "hold": "model.precision",
    "load": "store.checkpoint",
    "load_official": "store.official",
    "plan_cost": "model.cost",
    "save": "store.checkpoint",
    "save_official": "store.official",
}
__all__ = list(_HOMES)
__version__ = "0.1.0"

signals.quit_on_signals()  # a command is imported for seconds


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
