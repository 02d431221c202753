"""Training batches as a function of (seed, step): from cached tokens, or tokenised on the way."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from varant.data.datasets import Split, images_to_float
from varant.data.folders import ReplacingSplit, readable
from varant.data.tokens import TokenBatch, TokenSplit
from varant.model.tokenizer import Tokenizer
from varant.randomness import batch_indices, stream


class Batches(Protocol):
    """The images of every training step."""

    @property
    def skipped(self) -> tuple[str, ...]:
        """Files that could not be read so far."""
        ...

    def batch(self, step: int, part: slice) -> TokenBatch:
        """Tokens and labels of the images `part` of step `step` (0-based)."""
        ...


class CachedBatches:
    """Batches from a data set that was tokenised before."""

    skipped = ()

    def __init__(self, tokens: TokenSplit, *, seed: int, batch: int) -> None:
        self.tokens, self.seed, self.size = tokens, seed, batch

    def batch(self, step: int, part: slice) -> TokenBatch:
        chosen = batch_indices(self.seed, step, batch=self.size, images=len(self.tokens))
        return self.tokens.rows(chosen[part])


class OnlineBatches:
    """Batches whose images are read, cropped, flipped and tokenised at each step.

    Every step draws crops and flips afresh. The next step's images are read while this one trains.
    """

    def __init__(
        self,
        split: Split,
        tokenizer: Tokenizer,
        *,
        seed: int,
        batch: int,
        flips: bool = False,
        skip_unreadable: bool = False,
    ) -> None:
        self.split = readable(split, skip_unreadable)
        self.tokenizer = tokenizer
        self.seed, self.size, self.flips = seed, batch, flips
        self._reader = ThreadPoolExecutor(1)
        self._reading: dict[tuple[int, int, int], Future[_Read]] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(self.split.skipped) if isinstance(self.split, ReplacingSplit) else ()

    def batch(self, step: int, part: slice) -> TokenBatch:
        start, stop, _ = part.indices(self.size)
        ready = self._reading.pop((step, start, stop), None)
        self._reading = {key: job for key, job in self._reading.items() if key[0] == step}
        read = ready.result() if ready else self._read(step, start, stop)
        following = (step + 1, start, stop)
        self._reading[following] = self._reader.submit(self._read, *following)
        images = images_to_float(read.pixels_N3HW).to(next(self.tokenizer.parameters()).device)
        with torch.no_grad():
            tokens_NL = self.tokenizer.encode(images)
        return TokenBatch(tokens_NL=tokens_NL, labels_N=torch.from_numpy(read.labels_N))

    def _read(self, step: int, start: int, stop: int) -> _Read:
        """Images of a step; what is drawn for an image does not depend on how the step is cut."""
        chosen = batch_indices(self.seed, step, batch=self.size, images=len(self.split))
        chosen = chosen[start:stop]
        places = stream(self.seed, "crop", step).random((self.size, 2))[start:stop]
        if isinstance(self.split, ReplacingSplit):
            read = self.split.read(chosen, places)
            pixels, chosen = read.images_N3HW, read.indices
        else:
            pixels = self.split.images(chosen, places)
        if self.flips:
            mirror = stream(self.seed, "flip", step).random(self.size)[start:stop] < 0.5
            pixels = pixels.copy()
            pixels[mirror] = pixels[mirror, :, :, ::-1]
        return _Read(pixels_N3HW=pixels, labels_N=self.split.labels_N[chosen])


@dataclass(frozen=True, kw_only=True)
class _Read:
    pixels_N3HW: np.ndarray
    labels_N: np.ndarray
