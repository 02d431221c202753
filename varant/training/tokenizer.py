"""Training of a tokenizer: reconstruction, commitment, and a codebook of running means.

Shape suffixes: B images, v channels of a code, V codes, n vectors and their tokens of all scales.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from varant.data.datasets import Split, images_to_float, read_ahead
from varant.devices import float32_exactly, images_at_once
from varant.model.tokenizer import Quantizer, Tokenizer, TokenizerConfig
from varant.progress import Log
from varant.randomness import batch_indices, stream, torch_seed
from varant.training.distributed import ALONE
from varant.training.optimiser import optimiser_state, restore_optimiser
from varant.training.resume import RunState


@dataclass(frozen=True, kw_only=True)
class TokenizerTraining:
    """How a light tokenizer is trained.

    Attributes:
        steps, batch: optimiser steps, and images a step.
        learning_rate: peak of a one-cycle cosine that ends at 5 %.
        commitment: weight of |features - codes|^2, averaged over the scales.
        codebook_decay: decay a step of the codes' running counts and sums.
        restart_below: a code whose running count falls below this is put on a vector of the batch.
    """

    steps: int = 800
    batch: int = 64
    learning_rate: float = 5e-3
    commitment: float = 0.25
    codebook_decay: float = 0.98
    restart_below: float = 0.5
    seed: int = 0


class Codebook:
    """Running means of the vectors that each code stands for, and restarts of unused codes."""

    def __init__(self, quantizer: Quantizer, config: TokenizerTraining) -> None:
        self.config = config
        self.weight_Vv = quantizer.embedding.weight.data
        self.count_V = torch.ones(len(self.weight_Vv), device=self.weight_Vv.device)
        self.sum_Vv = self.weight_Vv.clone()

    def put_on(self, codes: Tensor, vectors_nv: Tensor) -> None:
        self.weight_Vv[codes] = vectors_nv
        self.sum_Vv[codes] = vectors_nv
        self.count_V[codes] = 1.0

    def update(self, tokens_n: Tensor, vectors_nv: Tensor, rng: np.random.Generator) -> None:
        decay = self.config.codebook_decay
        hits_V = torch.bincount(tokens_n, minlength=len(self.count_V)).float()
        sums_Vv = torch.zeros_like(self.sum_Vv).index_add_(0, tokens_n, vectors_nv)
        self.count_V.lerp_(hits_V, 1 - decay)
        self.sum_Vv.lerp_(sums_Vv, 1 - decay)
        dead = (self.count_V < self.config.restart_below).nonzero()[:, 0]
        self.weight_Vv.copy_(self.sum_Vv / self.count_V.clamp_min(1e-5)[:, None])
        if len(dead):
            chosen = torch.from_numpy(rng.integers(len(vectors_nv), size=len(dead)))
            self.put_on(dead, vectors_nv[chosen])


class TokenizerTrainer:
    """Trains a light tokenizer on a split's images, step by step.

    Attributes:
        step: done so far.
        used_KV: (K, V) running shares of the codes among each scale's tokens.
    """

    def __init__(
        self,
        split: Split,
        config: TokenizerConfig,
        training: TokenizerTraining,
        device: str = "cpu",
    ) -> None:
        with torch_seed(training.seed):
            tokenizer = Tokenizer(config).to(device)
        tokenizer.quantize.embedding.weight.requires_grad_(False)
        self.split, self.training, self.tokenizer = split, training, tokenizer
        self.step, self.steps = 0, training.steps
        self.parameters = [p for p in tokenizer.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=training.learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            training.learning_rate,
            total_steps=training.steps + 1,
            pct_start=0.05,
            div_factor=20,
            final_div_factor=1,
            cycle_momentum=False,
        )
        self.codebook = Codebook(tokenizer.quantize, training)
        self.used_KV = torch.zeros(len(config.patch_nums), config.vocab_size, device=device)

    @property
    def finished(self) -> bool:
        return self.step == self.steps

    def advance(self) -> dict[str, float]:
        """Do one step; `loss` (mean squared error) and `images_seen`."""
        training, tokenizer, quantizer = self.training, self.tokenizer, self.tokenizer.quantize
        rng = stream(training.seed, "codebook", self.step)
        images_N = len(self.split)
        chosen = batch_indices(training.seed, self.step, batch=training.batch, images=images_N)
        images = images_to_float(self.split.images(chosen)).to(self.used_KV.device)
        features = tokenizer.encode_features(images)
        if self.step == 0:
            vectors = features.detach().transpose(1, 2).flatten(0, 1)
            codes = tokenizer.vocab_size
            picks = torch.from_numpy(rng.choice(len(vectors), size=codes, replace=True))
            self.codebook.put_on(torch.arange(codes), vectors[picks])
        with torch.no_grad():
            scales = list(quantizer.scales(features))
            sums = list(itertools.accumulate(scale.part_Bvs for scale in scales))
        commitment = torch.stack([F.mse_loss(features, total) for total in sums]).mean()
        straight_through = features + (sums[-1] - features).detach()
        error = F.mse_loss(tokenizer.draw(straight_through), images)
        self.optimiser.zero_grad(set_to_none=True)
        (error + training.commitment * commitment).backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimiser.step()
        self.schedule.step()
        tokens_n = torch.cat([scale.tokens_BT.flatten() for scale in scales])
        vectors_nv = torch.cat([scale.vectors_BTv.flatten(0, 1) for scale in scales])
        for used_V, scale in zip(self.used_KV, scales, strict=True):
            hits_V = torch.bincount(scale.tokens_BT.flatten(), minlength=len(used_V))
            used_V.lerp_(hits_V / hits_V.sum(), 1 - training.codebook_decay)
        self.codebook.update(tokens_n, vectors_nv, rng)
        self.step += 1
        return {"loss": error.item(), "images_seen": self.step * training.batch}

    @property
    def _counts(self) -> dict[str, Tensor]:
        book = self.codebook
        return {"count_V": book.count_V, "sum_Vv": book.sum_Vv, "used_KV": self.used_KV}

    def state(self, copy: Callable[[str, Tensor], Tensor]) -> RunState:
        """As `varant.training.trainer.Trainer.state`."""
        live = {f"tokenizer/{name}": t for name, t in self.tokenizer.state_dict().items()}
        live |= self._counts | dict(optimiser_state(self.optimiser, self.tokenizer, ALONE))
        tensors = {name: copy(name, tensor) for name, tensor in live.items()}
        facts = {"rate": self.optimiser.param_groups[0]["lr"]}
        return RunState(step=self.step, tensors=tensors, facts=facts)

    @torch.no_grad()
    def restore(self, state: RunState) -> None:
        """Go on from a state that a trainer of the same arguments had."""
        self.step = state.step
        for name, tensor in self.tokenizer.state_dict().items():
            tensor.copy_(state.tensors[f"tokenizer/{name}"])
        for name, tensor in self._counts.items():
            tensor.copy_(state.tensors[name])
        restore_optimiser(self.optimiser, self.tokenizer, state.tensors)
        self.schedule.last_epoch = state.step  # the next rate is a function of it
        self.optimiser.param_groups[0]["lr"] = state.facts["rate"]


def train_tokenizer(
    split: Split,
    config: TokenizerConfig,
    training: TokenizerTraining,
    *,
    log: Log = lambda step, metrics: None,
) -> Tokenizer:
    """Train a light tokenizer on a split's images; a function of its arguments alone.

    Args:
        log: called after each step with what `TokenizerTrainer.advance` gives.
    """
    trainer = TokenizerTrainer(split, config, training)
    while not trainer.finished:
        metrics = trainer.advance()
        log(trainer.step, metrics)
    return trainer.tokenizer.eval()


@torch.no_grad()
def reconstruction_psnr(tokenizer: Tokenizer, split: Split) -> float:
    """Peak signal-to-noise ratio in dB, of the mean squared error over the first 2,500 images."""
    parts = reconstructions(tokenizer, split, min(2_500, len(split)))
    return psnr_db([part.errors_B for part in parts])


def psnr_db(errors: Sequence[Tensor]) -> float:
    """Of the mean over all images of `Reconstruction.errors_B`; their range is [-1, 1]."""
    return float(10 * torch.log10(4.0 / torch.cat(list(errors)).mean()))


def perplexities(used_KV: Tensor) -> list[float]:
    """Of how often each scale uses each code: how many codes, equally often used, would be as
    uneven. 1 is a scale that has collapsed into one code."""
    shares_KV = used_KV / used_KV.sum(1, keepdim=True)
    found: list[float] = torch.special.entr(shares_KV).sum(1).exp().tolist()
    return found


class Reconstruction(NamedTuple):
    """Images in [-1, 1], their tokens (B, L), and what is drawn of these."""

    images: Tensor
    tokens_BL: Tensor
    drawn: Tensor

    @property
    def errors_B(self) -> Tensor:
        """Mean squared error of each image."""
        return (self.drawn - self.images).square().mean((1, 2, 3))


def reconstructions(tokenizer: Tokenizer, split: Split, count: int) -> Iterator[Reconstruction]:
    """The first `count` images of a split and what the tokenizer makes of them, a few at a time,
    on its device."""
    device, batch = next(tokenizer.parameters()).device, images_at_once(tokenizer.image_side)
    parts = (slice(start, min(count, start + batch)) for start in range(0, count, batch))
    for pixels in read_ahead(split.images, parts):
        images = images_to_float(pixels).to(device)
        with float32_exactly():
            tokens_BL = tokenizer.encode(images)
        yield Reconstruction(images, tokens_BL, tokenizer.decode(tokens_BL))
