"""The shape of a VAR transformer: everything that fixes its tensors, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from varant.errors import UserError
from varant.values import MOST_LAYERS, MOST_OF_A_KIND, MOST_SIDE, shortened

OFFICIAL_PATCH_NUMS_256 = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
OFFICIAL_PATCH_NUMS_512 = (1, 2, 3, 4, 6, 9, 13, 18, 24, 32)
OFFICIAL_DEPTHS = (16, 20, 24, 30, 36)
PUBLISHED_WINDOWS = (3, 6)  # last early and last middle of ten scales (VARiant, arXiv 2511.16546)
PUBLISHED_SHARES = (0.021, 0.113, 0.866)  # of the tokens that lie in each window


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Sizes of a VAR transformer (VAR, arXiv 2404.02905, section 3 and appendix).

    Attributes:
        depth: layers D.
        width: channels W of the residual stream.
        heads: attention heads; W must be a multiple.
        patch_nums: side of each token map, coarse to fine; the first is 1.
        vocab_size: codes V of the tokenizer.
        code_channels: channels Cvae of a code.
        num_classes: classes; label `num_classes` is the unconditional class.
        mlp_ratio: width of the hidden layer over W.
        shared_adaln: one AdaLN for all blocks (VAR-d36) in place of one a block.

    Raises:
        UserError: sizes that no network can have.
    """

    depth: int
    width: int
    heads: int
    patch_nums: tuple[int, ...]
    vocab_size: int
    code_channels: int
    num_classes: int
    mlp_ratio: int = 4
    shared_adaln: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_nums", tuple(self.patch_nums))
        check_size("depth", self.depth, MOST_LAYERS)
        for field in ("width", "heads", "vocab_size", "code_channels", "num_classes", "mlp_ratio"):
            check_size(field, getattr(self, field))
        check_sides(self.patch_nums)
        if self.width % self.heads:
            raise UserError(f"width {self.width}: must be a multiple of heads ({self.heads})")

    @classmethod
    def official(cls, depth: int) -> Geometry:
        """The published VAR-d16, d20, d24, d30 (256 px) or d36 (512 px); else `UserError`."""
        if depth not in OFFICIAL_DEPTHS:
            published = ", ".join(map(str, OFFICIAL_DEPTHS))
            raise UserError(f"depth {depth}: the published VAR depths are {published}")
        large = depth == 36
        return cls(
            depth=depth,
            width=64 * depth,
            heads=depth,
            patch_nums=OFFICIAL_PATCH_NUMS_512 if large else OFFICIAL_PATCH_NUMS_256,
            vocab_size=4096,
            code_channels=32,
            num_classes=1000,
            shared_adaln=large,
        )

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def scale_tokens(self) -> tuple[int, ...]:
        return tuple(p * p for p in self.patch_nums)

    @property
    def tokens(self) -> int:
        """Tokens L of an image, all scales together."""
        return sum(self.scale_tokens)


def check_size(name: str, size: object, most: int = MOST_OF_A_KIND, *, least: int = 1) -> None:
    """`UserError` for what a file has as the size of a network's part, and is none."""
    if type(size) is not int or not least <= size <= most:
        said = f"must be a whole number from {least} to {most}"
        raise UserError(f"{name} {shortened(str(size))}: {said}")


def check_sides(patch_nums: tuple[int, ...]) -> None:
    """`UserError` for what are no sides of token maps."""
    for side in patch_nums:
        check_size("patch_nums", side, MOST_SIDE)
    if not patch_nums or any(a >= b for a, b in itertools.pairwise(patch_nums)):
        shown = ",".join(map(str, patch_nums))
        raise UserError(f"patch_nums {shown}: need sides that grow from scale to scale")


def windows_of(patch_nums: Sequence[int]) -> dict[str, tuple[int, ...]]:
    """The early, middle and late scales of a network, 1-based.

    With ten scales the published 1-3, 4-6, 7-10; else the split whose shares of the tokens have
    the least L1 distance to the paper's 2.1, 11.3 and 86.6 %.

    Raises:
        UserError: fewer than three scales.
    """
    scales = len(patch_nums)
    if scales < 3:
        raise UserError(f"a network of {scales} scales: early, middle and late need three")
    upto = list(itertools.accumulate((p * p for p in patch_nums), initial=0))

    def distance(ends: tuple[int, ...]) -> float:
        shares = (upto[b] - upto[a] for a, b in itertools.pairwise((0, *ends, scales)))
        paired = zip(shares, PUBLISHED_SHARES, strict=True)
        return sum(abs(tokens / upto[-1] - share) for tokens, share in paired)

    splits = itertools.combinations(range(1, scales), 2)
    early, middle = PUBLISHED_WINDOWS if scales == 10 else min(splits, key=distance)
    numbers = tuple(range(1, scales + 1))
    return {"early": numbers[:early], "middle": numbers[early:middle], "late": numbers[middle:]}
