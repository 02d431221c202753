"""The module `cleanfid.fid`, which published figures are computed with.

clean-fid imports torchvision, whose registry wheel registers fake kernels for operators that only
its compiled part defines, which does not load beside another build of torch. None of them is used
here, so they are declared before: an import is begun once, and no other thread finds half of one.
"""

import functools
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

OPERATORS = ("nms", "qnms")


@functools.cache
def cleanfid_fid() -> ModuleType:
    if not _compiled_part_loads():
        # Kept for the life of the process: dropping the library drops its operators.
        declared = _library()
        for name in OPERATORS:
            declared.define(f"{name}() -> ()")
    return importlib.import_module("cleanfid.fid")


@functools.cache
def _library() -> torch.library.Library:
    return torch.library.Library("torchvision", "FRAGMENT")


def _compiled_part_loads() -> bool:
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None and spec.origin is not None, "clean-fid needs it"
    try:
        for part in Path(spec.origin).parent.glob("_C*.so"):
            torch.ops.load_library(part)
    except OSError:
        return False
    return True
