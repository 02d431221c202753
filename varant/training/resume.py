"""Checkpoints of a training run: written whole or not at all, checked when read.

    FOLDER/step-00000128/state.safetensors   tensors
    FOLDER/step-00000128/facts.json          everything else, JSON
    FOLDER/step-00000128/manifest.json       SHA-256 of both
    FOLDER/latest                            name of the newest, written after it

A checkpoint is written in a folder aside, synced and renamed, then the pointer is replaced and
all but the newest two are removed: there is a good one at every moment from the first on. A thread
writes it from a copy of the state while the run goes on.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from varant.files import replacing, sha256_file, sync
from varant.store.checkpoint import write_tensors

STATE_FILE, FACTS_FILE = "state.safetensors", "facts.json"
MANIFEST_FILE, POINTER_FILE = "manifest.json", "latest"
KEPT = 2
LEAST_INTERVAL = 30  # times what the last save took, between two


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What a run needs to go on after step `step`; what takes it over copies the tensors."""

    step: int
    tensors: dict[str, Tensor]
    facts: dict[str, Any]


class DamagedCheckpoint(Exception):
    """A checkpoint that is not what was written; the message names the file."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFolder:
    folder: Path

    def save(self, state: RunState) -> None:
        """Write a checkpoint; after an `OSError` the earlier ones are as they were."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{state.step:08d}"
        aside, final = self.folder / f".{name}", self.folder / name
        shutil.rmtree(aside, ignore_errors=True)  # of a run that was killed here
        try:
            aside.mkdir()
            manifest = {STATE_FILE: write_tensors(aside / STATE_FILE, state.tensors)}
            facts = json.dumps(state.facts).encode()
            (aside / FACTS_FILE).write_bytes(facts)
            manifest[FACTS_FILE] = hashlib.sha256(facts).hexdigest()
            (aside / MANIFEST_FILE).write_text(json.dumps(manifest))
            for file in (STATE_FILE, FACTS_FILE, MANIFEST_FILE, "."):
                sync(aside / file)
            shutil.rmtree(final, ignore_errors=True)  # the same step, damaged or of a run undone
            aside.rename(final)
            sync(self.folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        with replacing(self.folder / POINTER_FILE) as pointer:
            pointer.write_text(name)
        # A later step is one that was damaged, and that this run is about to make again.
        names = self._names()
        kept = [other for other in names if other <= name][-KEPT:]
        for other in set(names) - set(kept):
            shutil.rmtree(self.folder / other, ignore_errors=True)

    def latest(self, warn: Callable[[str], object]) -> RunState | None:
        """The newest checkpoint that is whole; None where there never was one.

        Args:
            warn: called with one line for each damaged checkpoint that is passed over.

        Raises:
            DamagedCheckpoint: there are checkpoints, and none is whole.
        """
        names = self._names()
        pointer = self.folder / POINTER_FILE
        if pointer.exists():  # one renamed into place after it is whole as well, so newest first
            pointed = pointer.read_text().strip()
            if pointed not in names:
                warn(f"{self.folder / pointed}: missing, though {pointer} names it")
        for name in reversed(names):
            try:
                state = self._read(self.folder / name)
            except DamagedCheckpoint as damage:
                warn(str(damage))
            else:
                return state
        if names or pointer.exists():
            raise DamagedCheckpoint(f"{self.folder}: no checkpoint in it is whole")
        return None

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("step-*"))

    def _read(self, folder: Path) -> RunState:
        try:
            manifest = json.loads((folder / MANIFEST_FILE).read_text())
            for file in (STATE_FILE, FACTS_FILE):
                if sha256_file(folder / file) != manifest[file]:
                    raise DamagedCheckpoint(
                        f"{folder / file}: damaged (its SHA-256 is not the manifest's)"
                    )
            facts = json.loads((folder / FACTS_FILE).read_text())
            # Mapped: of many ranks on a machine each reads what it takes over, not all for itself.
            step, tensors = folder.name.removeprefix("step-"), load_file(folder / STATE_FILE)
            return RunState(step=int(step), tensors=tensors, facts=facts)
        except FileNotFoundError as error:
            raise DamagedCheckpoint(f"{error.filename}: missing") from None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise DamagedCheckpoint(f"{folder}: damaged ({error})") from None


class Saver:
    """Saves a run's states, one at a time, in a thread that writes while the run goes on.

    Attributes:
        blocked_seconds: that the run has stood still for it.
    """

    def __init__(self, checkpoints: CheckpointFolder, every_seconds: float) -> None:
        """`every_seconds` is the least time between two saves; 0 has each written at once."""
        self.checkpoints, self.every_seconds = checkpoints, every_seconds
        self.blocked_seconds = 0.0
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[float] | None = None  # when it ended
        self._started = self._ended = time.monotonic()
        self._took_seconds = 0.0
        self._copies: dict[str, Tensor] = {}

    def copy(self, name: str, tensor: Tensor) -> Tensor:
        """The value of now, in memory that is kept from save to save: new memory costs time."""
        if name not in self._copies:
            kept = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._copies[name] = kept
        return self._copies[name].copy_(tensor)

    @property
    def due(self) -> bool:
        if self.every_seconds == 0:
            return True
        least = max(self.every_seconds, LEAST_INTERVAL * self._took_seconds)
        return self._writing is None and time.monotonic() - self._ended >= least

    def save(self, state_of_now: Callable[[], RunState], *, wait: bool) -> None:
        """Copy the state, once the copies are free, and have it written.

        Args:
            state_of_now: makes the state, of what `copy` gives.
            wait: until it is on the disk.
        """
        before = time.monotonic()
        self._finish()
        self._started = time.monotonic()
        self._writing = self._thread.submit(self._write, state_of_now())
        if wait or self.every_seconds == 0:
            self._finish()
        self.blocked_seconds += time.monotonic() - before

    def check(self) -> None:
        """Raise what went wrong in a write that has ended since."""
        if self._writing is not None and self._writing.done():
            self._finish()

    def _write(self, state: RunState) -> float:
        self.checkpoints.save(state)
        return time.monotonic()

    def _finish(self) -> None:
        if self._writing is not None:
            writing, self._writing = self._writing, None
            self._ended = writing.result()
            self._took_seconds = self._ended - self._started

    def close(self) -> None:
        self._thread.shutdown()
