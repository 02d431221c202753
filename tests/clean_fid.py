"""The module `cleanfid.fid`, which published figures are computed with.

clean-fid imports torchvision, whose registry wheel registers fake kernels for operators that only
its compiled part defines; beside another build of torch that import fails. None of these operators
is used here, so each one that is reported missing is declared, and the import is tried again.
"""

import functools
import importlib
import re
import sys
from types import ModuleType

import torch

_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_DECLARED: dict[str, torch.library.Library] = {}


@functools.cache
def cleanfid_fid() -> ModuleType:
    while True:
        try:
            return importlib.import_module("cleanfid.fid")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] in _DECLARED:
                raise
            # Kept for the life of the process: dropping the library drops its operators.
            _DECLARED[missing[1]] = torch.library.Library("torchvision", "FRAGMENT")
            _DECLARED[missing[1]].define(f"{missing[1]}() -> ()")
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]
