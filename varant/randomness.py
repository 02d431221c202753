"""Every random decision of a run as a function of (seed, purpose, step), never of history."""

import contextlib
import functools
import zlib
from collections.abc import Iterator

import numpy as np


def stream(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """A generator of its own for each (seed, purpose, step)."""
    key = np.array([seed, zlib.crc32(purpose.encode())], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, step, 0]))


def batch_indices(seed: int, step: int, *, batch: int, images: int) -> np.ndarray:
    """Indices of the images of training step `step`: shuffled epochs laid end to end.

    Returns:
        (batch,) int64; an epoch's boundary may fall inside a batch.
    """
    parts, done, stop = [], step * batch, (step + 1) * batch
    while done < stop:
        epoch, offset = divmod(done, images)
        parts.append(_epoch_order(seed, epoch, images)[offset : offset + stop - done])
        done += len(parts[-1])
    return np.concatenate(parts)


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, images: int) -> np.ndarray:
    """A permutation of a large data set costs as much as a step: made once an epoch."""
    return stream(seed, "data order", epoch).permutation(images)


@contextlib.contextmanager
def torch_seed(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator inside, and leave the caller's state as it was."""
    import torch  # takes seconds: schedules, and so every --help, draw without it

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
