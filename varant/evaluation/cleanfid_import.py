"""clean-fid, imported where it is needed and made to import beside a CPU build of torch."""

from __future__ import annotations

import functools
import re
import sys
from types import ModuleType

import torch

_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")


@functools.cache
def cleanfid_fid() -> ModuleType:
    """The module `cleanfid.fid`.

    clean-fid imports torchvision, whose registry wheel registers fake kernels for operators that
    only its compiled part defines; beside another build of torch that import fails. None of these
    operators is used here, so each one that is reported missing is declared, and the import is
    tried again.
    """
    _import_torchvision()
    from cleanfid import fid

    module: ModuleType = fid
    return module


def _import_torchvision() -> None:
    declared: set[str] = set()
    while True:
        try:
            import torchvision  # noqa: F401

            return
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] in declared:
                raise
            declared.add(missing[1])
            # Kept for the life of the process: dropping the library drops its operators.
            _LIBRARIES.append(torch.library.Library("torchvision", "FRAGMENT"))
            _LIBRARIES[-1].define(f"{missing[1]}() -> ()")
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]


_LIBRARIES: list[torch.library.Library] = []
