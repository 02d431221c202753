"""Many images in one NPZ, as evaluators read them: written batch by batch, in little memory.

    samples.npz         arr_0: (N, H, W, 3) uint8; facts: JSON text, what the images are of
    samples.npz.part/   until all are there: images.u8, their bytes; state.json, how many are whole

Stopped by anything, it goes on after the last whole batch. `arr_0` is where the evaluation suite
of guided diffusion (Dhariwal and Nichol 2021) looks for images.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from varant.errors import UserError
from varant.files import differences, locked, read_json, replacing, write_json
from varant.npz import UNREADABLE, read_array, read_header

FORMAT: dict[str, object] = {"format": "varant-images", "version": 1}
IMAGES, LABELS, FACTS = "arr_0", "arr_1", "facts"
MOST_FACTS, MOST_LABELS = 1 << 22, 1 << 26  # bytes
PART = 250  # images read at once
Draw = Callable[[range], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images in a file.

    Attributes:
        shape: (N, H, W, 3).
        facts: JSON-ready, all that the images are a function of.
    """

    path: Path
    shape: tuple[int, int, int, int]
    facts: dict[str, Any]

    @property
    def _part(self) -> Path:
        return self.path.with_name(f"{self.path.name}.part")

    def finished(self) -> bool:
        """Whether the file holds these images; `UserError` where it, or a part, holds others.

        The part of a file that is whole goes: a kill may have left it.
        """
        if self.path.exists():
            self._check_same(self.path, read_facts(self.path))
            shutil.rmtree(self._part, ignore_errors=True)
            return True
        if (self._part / "state.json").exists():
            self._check_same(self._part, self._state()["facts"])
        return False

    def write(self, draw: Draw, *, batch: int, advance: Callable[[int], object]) -> None:
        """Write what is missing.

        Args:
            draw: gives (B, H, W, 3) uint8, the images of these indices.
            advance: told how many images are there, those of earlier processes first.
        """
        with locked(self._part / ".lock"):
            if self.finished():  # by who had the lock before
                return
            size, raw = int(np.prod(self.shape[1:])), self._part / "images.u8"
            raw.touch()
            done = min(self._state()["done"], raw.stat().st_size // size)
            advance(done)
            with raw.open("r+b") as file:
                file.truncate(done * size)
                file.seek(done * size)
                while done < self.shape[0]:
                    indices = range(done, min(done + batch, self.shape[0]))
                    file.write(draw(indices).tobytes())
                    file.flush()
                    os.fsync(file.fileno())
                    done = indices.stop
                    write_json(self._part / "state.json", FORMAT | self._state() | {"done": done})
                    advance(len(indices))
            self._pack(raw)
        shutil.rmtree(self._part)

    def _pack(self, raw: Path) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": self.shape}
        with replacing(self.path) as aside, zipfile.ZipFile(aside, "w") as pack:
            with (
                pack.open(f"{IMAGES}.npy", "w", force_zip64=True) as member,
                raw.open("rb") as file,
            ):
                np.lib.format.write_array_header_1_0(member, header)
                shutil.copyfileobj(file, member, 1 << 22)
            with pack.open(f"{FACTS}.npy", "w") as member:
                np.lib.format.write_array(member, np.array(json.dumps(self.facts)))

    def _state(self) -> dict[str, Any]:
        path = self._part / "state.json"
        if not path.exists():
            return {"facts": self.facts, "done": 0}
        try:
            state = read_json(path, FORMAT)
            return {"facts": dict(state["facts"]), "done": int(state["done"])}
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(f"{path}: damaged; delete {self._part} to begin again") from None

    def _check_same(self, place: Path, facts: dict[str, Any]) -> None:
        if not facts:
            raise UserError(f"--out {place}: is no images of this command; name another file")
        for name, wanted, has in differences(json.loads(json.dumps(self.facts)), facts):
            raise UserError(
                f"--out {place}: holds images of {name} {has}, not {wanted}; delete it, or name "
                "another file"
            )


def read_facts(path: Path) -> dict[str, Any]:
    """What the file says that it is of; {} of one that says nothing."""
    try:
        with zipfile.ZipFile(path) as pack:
            return dict(json.loads(str(read_array(pack, FACTS, most=MOST_FACTS))))
    except (*UNREADABLE, TypeError):
        return {}


@dataclass(frozen=True, kw_only=True)
class StoredImages:
    """Images of an NPZ file, read a part at a time.

    Attributes:
        shape: (N, H, W, 3).
        dtype: of the numbers.
        names: of all arrays in the file.
        labels_N: classes, where ADM puts them; None without.
        facts: as `read_facts`.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    names: tuple[str, ...]
    labels_N: np.ndarray | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, path: Path, flag: str) -> StoredImages:
        """The images of a file; `UserError` for none, no NPZ, a pickle, or no `arr_0` of RGB
        images, N >= 2."""
        wanted = f"give an NPZ with {IMAGES}, (N, H, W, 3)"
        try:
            with zipfile.ZipFile(path) as pack:
                names = tuple(name.removesuffix(".npy") for name in pack.namelist())
                with pack.open(f"{IMAGES}.npy") as member:
                    shape, columns_first, dtype = read_header(member)
                if columns_first:
                    raise ValueError("columns come first")
                held = LABELS in names
                labels_N = read_array(pack, LABELS, most=MOST_LABELS) if held else None
        except FileNotFoundError:
            raise UserError(f"{flag} {path}: no such file; {wanted}") from None
        except UNREADABLE as error:
            raise UserError(f"{flag} {path}: cannot be read ({error}); {wanted}") from None
        if dtype.kind not in "uif":
            raise UserError(f"{flag} {path}: {IMAGES} holds {dtype}, no numbers; {wanted}")
        if len(shape) != 4 or shape[3] != 3 or shape[0] < 2:
            raise UserError(f"{flag} {path}: {IMAGES} has shape {shape}; {wanted}")
        facts = read_facts(path)
        return cls(path=path, shape=shape, dtype=dtype, names=names, labels_N=labels_N, facts=facts)

    def parts(self) -> Iterator[np.ndarray]:
        """(n, H, W, 3) of the stored type, in order.

        Raises:
            UserError: the file ends early, is damaged, or holds what is no number.
        """
        size = int(np.prod(self.shape[1:]))
        with zipfile.ZipFile(self.path) as pack, pack.open(f"{IMAGES}.npy") as member:
            read_header(member)
            for start in range(0, self.shape[0], PART):
                count = min(PART, self.shape[0] - start)
                try:
                    content = member.read(count * size * self.dtype.itemsize)
                except UNREADABLE as error:
                    raise UserError(f"{self.path}: cannot be read ({error})") from None
                if len(content) < count * size * self.dtype.itemsize:
                    raise UserError(f"{self.path}: ends after fewer than {self.shape[0]} images")
                part = np.frombuffer(content, self.dtype).reshape(count, *self.shape[1:])
                bad_n = ~np.isfinite(part).all(axis=(1, 2, 3))
                if bad_n.any():
                    first = start + int(bad_n.argmax())
                    raise UserError(
                        f"{self.path}: image {first} of {IMAGES} holds numbers that are not "
                        "finite; draw it again"
                    )
                yield part
