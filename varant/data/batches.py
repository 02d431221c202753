"""Training batches as a function of (seed, step): from cached tokens, or tokenised on the way."""

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from varant.data.datasets import images_to_float
from varant.data.folders import ImagesRead, ReplacingSplit
from varant.data.tokens import TokenBatch, TokenSplit
from varant.devices import float32_exactly
from varant.model.tokenizer import Tokenizer
from varant.randomness import batch_indices, stream


class CachedBatches:
    """Batches from a data set that was tokenised before."""

    def __init__(self, tokens: TokenSplit, *, seed: int, batch: int) -> None:
        self.tokens, self.seed, self.size = tokens, seed, batch

    def batch(self, step: int, part: slice) -> TokenBatch:
        """Tokens and labels of the images `part` of step `step` (0-based)."""
        chosen = batch_indices(self.seed, step, batch=self.size, images=len(self.tokens))
        return self.tokens.rows(chosen[part])


class OnlineBatches:
    """Batches whose images are read, cropped, flipped and tokenised at each step.

    Every step draws crops and flips afresh. The next step's images are read while this one trains.
    """

    def __init__(
        self, split: ReplacingSplit, tokenizer: Tokenizer, *, seed: int, batch: int, flips: bool
    ) -> None:
        self.split, self.tokenizer = split, tokenizer
        self.seed, self.size, self.flips = seed, batch, flips
        self._reader = ThreadPoolExecutor(1)
        self._reading: dict[tuple[int, int, int], Future[ImagesRead]] = {}

    @property
    def skipped(self) -> tuple[str, ...]:
        return tuple(self.split.skipped)

    def batch(self, step: int, part: slice) -> TokenBatch:
        """As `CachedBatches.batch`."""
        start, stop, _ = part.indices(self.size)
        ready = self._reading.pop((step, start, stop), None)
        self._reading = {key: job for key, job in self._reading.items() if key[0] == step}
        read = ready.result() if ready else self._read(step, start, stop)
        following = (step + 1, start, stop)
        self._reading[following] = self._reader.submit(self._read, *following)
        images = images_to_float(read.images_N3HW).to(next(self.tokenizer.parameters()).device)
        labels_N = torch.from_numpy(self.split.labels_N[read.indices])
        with float32_exactly():
            return TokenBatch(tokens_NL=self.tokenizer.encode(images), labels_N=labels_N)

    def _read(self, step: int, start: int, stop: int) -> ImagesRead:
        """Images of a step; what is drawn for an image does not depend on how the step is cut."""
        chosen = batch_indices(self.seed, step, batch=self.size, images=len(self.split))
        places = stream(self.seed, "crop", step).random((self.size, 2))
        read = self.split.read(chosen[start:stop], places[start:stop])
        if self.flips:
            mirror = stream(self.seed, "flip", step).random(self.size)[start:stop] < 0.5
            read.images_N3HW[mirror] = read.images_N3HW[mirror, :, :, ::-1]
        return read


Batches = CachedBatches | OnlineBatches  # the images of every training step
