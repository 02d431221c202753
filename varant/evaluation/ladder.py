"""Known damage to real token maps: what a metric has to see before it may decide anything.

A rung takes the tokens of real, held-out images and their labels, and gives tokens and labels that
are scored as samples are. All of one rung's damage is of one kind and of known size, so a metric
that cannot tell a rung from real images is blind to it, whatever it says of networks.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from varant.data.tokens import TokenBatch

REAL = "real"
REPEATED = 10  # times that an image is shown in the rung of repeated images
BLUR_PIXELS = 1.0  # standard deviation of the blur

Damage = Callable[[TokenBatch, np.random.Generator], TokenBatch]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One kind of damage.

    Attributes:
        name: such as `scale 5 of another image`.
        damage: of the tokens; real images are left as they are.
        scale: 1-based, whose tokens alone are damaged; None for other kinds.
        swapped: whether these are all from another image: what a metric must see of its scales.
        blurred: whether the decoded images are blurred.
    """

    name: str
    damage: Damage
    scale: int | None = None
    swapped: bool = False
    blurred: bool = False

    def seen(self, images_B3HW: Tensor) -> Tensor:
        """The decoded images (B, 3, H, W), in [0, 1], as this rung shows them."""
        return _blur(images_B3HW) if self.blurred else images_B3HW


def rungs(patch_nums: tuple[int, ...], vocab_size: int) -> Iterator[Rung]:
    """All rungs, `real` first."""
    yield Rung(name=REAL, damage=lambda real, rng: real)
    ends = np.cumsum([side * side for side in patch_nums])
    for k, (side, end) in enumerate(zip(patch_nums, ends, strict=True), start=1):
        columns = slice(int(end) - side * side, int(end))
        name = f"scale {k} of another image"
        yield Rung(name=name, damage=partial(_swapped, columns), scale=k, swapped=True)
    for share in (0.05, 0.5):
        damage = partial(_random_tokens, columns, share, vocab_size)
        name = f"{share:.0%} random tokens at scale {len(patch_nums)}"
        yield Rung(name=name, damage=damage, scale=len(patch_nums))
    yield Rung(name=f"blur of {BLUR_PIXELS:g} pixel", damage=lambda real, rng: real, blurred=True)
    yield Rung(name="a class left out", damage=_class_left_out)
    yield Rung(name=f"each image {REPEATED} times", damage=_repeated)


def _swapped(columns: slice, real: TokenBatch, rng: np.random.Generator) -> TokenBatch:
    """The tokens of `columns` from another image of the class: no image keeps its own."""
    tokens_NL = real.tokens_NL.clone()
    for of_class in _by_class(real):
        order = rng.permutation(of_class)
        tokens_NL[order, columns] = real.tokens_NL[np.roll(order, 1), columns]
    return replace(real, tokens_NL=tokens_NL)


def _random_tokens(
    columns: slice, share: float, vocab_size: int, real: TokenBatch, rng: np.random.Generator
) -> TokenBatch:
    """A share of the tokens of `columns`, each replaced by one of all others with equal chance."""
    tokens_NL = real.tokens_NL.clone()
    here_Nc = tokens_NL[:, columns]
    chosen_Nc = torch.from_numpy(rng.random(here_Nc.shape) < share)
    steps_Nc = torch.from_numpy(rng.integers(1, vocab_size, here_Nc.shape))
    moved_Nc = (here_Nc + steps_Nc) % vocab_size
    tokens_NL[:, columns] = torch.where(chosen_Nc, moved_Nc, here_Nc)
    return replace(real, tokens_NL=tokens_NL)


def _class_left_out(real: TokenBatch, rng: np.random.Generator) -> TokenBatch:
    """The images of one class replaced by images of the others, which are then shown twice.

    The labels stay: a generator that never draws a class still draws as many images.
    """
    classes = _by_class(real)
    gone = classes[int(rng.integers(len(classes)))]
    others = np.setdiff1d(np.arange(len(real)), gone)
    tokens_NL = real.tokens_NL.clone()
    tokens_NL[gone] = real.tokens_NL[rng.choice(others, len(gone), replace=len(gone) > len(others))]
    return replace(real, tokens_NL=tokens_NL)


def _repeated(real: TokenBatch, rng: np.random.Generator) -> TokenBatch:
    """A tenth of each class's images, over and over."""
    tokens_NL = real.tokens_NL.clone()
    for of_class in _by_class(real):
        order = rng.permutation(of_class)
        kept = order[: max(1, len(order) // REPEATED)]
        tokens_NL[order] = real.tokens_NL[np.resize(kept, len(order))]
    return replace(real, tokens_NL=tokens_NL)


def _by_class(tokens: TokenBatch) -> list[np.ndarray]:
    """The places of each class's images, classes ascending."""
    labels_N = tokens.labels_N.numpy()
    return [np.flatnonzero(labels_N == label) for label in np.unique(labels_N)]


def _blur(images_B3HW: Tensor) -> Tensor:
    """By a Gaussian of `BLUR_PIXELS`, with edges repeated."""
    reach = int(np.ceil(3 * BLUR_PIXELS))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / BLUR_PIXELS) ** 2)
    row = (weights / weights.sum()).to(images_B3HW).expand(3, 1, 1, -1)
    for kernel, padding in ((row, (reach, reach, 0, 0)), (row.mT, (0, 0, reach, reach))):
        padded = F.pad(images_B3HW, padding, mode="replicate")
        images_B3HW = F.conv2d(padded, kernel, groups=3)
    return images_B3HW
