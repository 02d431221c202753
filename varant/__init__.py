"""varant: a VAR supernet whose depth a plan sets, scale by scale, at run time."""

from varant.errors import UserError
from varant.model.cost import PlanCost, plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.sampling import Sample, generate
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR
from varant.store.checkpoint import load, save
from varant.store.official import load_official, save_official

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
