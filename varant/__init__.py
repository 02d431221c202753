"""varant: a VAR supernet whose depth a plan sets, scale by scale, at run time."""

from varant.checkpoint import load, load_official, save, save_official
from varant.cost import PlanCost, plan_cost
from varant.errors import UserError
from varant.geometry import Geometry
from varant.plan import DepthPlan
from varant.sampling import Sample, generate
from varant.tokenizer import Tokenizer, TokenizerConfig
from varant.transformer import VAR

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
