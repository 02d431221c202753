"""NPZ files of hostile hands."""

import zipfile
from pathlib import Path

import numpy as np


def declaring(path: Path, **members: np.ndarray | tuple[int, ...]) -> None:
    """Write arrays, and of a shape the header of one of float64 that is not there."""
    with zipfile.ZipFile(path, "w") as pack:
        for name, what in members.items():
            with pack.open(f"{name}.npy", "w") as member:
                if isinstance(what, tuple):
                    header = {"descr": "<f8", "fortran_order": False, "shape": what}
                    np.lib.format.write_array_header_1_0(member, header)
                else:
                    np.lib.format.write_array(member, what)
