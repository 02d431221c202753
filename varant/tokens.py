"""A data set tokenised once, cached under its digest, memory-mapped when read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from varant.datasets import SPLITS, Dataset, Split
from varant.errors import UserError
from varant.files import digest_of, replacing
from varant.tokenizer import Tokenizer
from varant.tokenizer_training import images_to_float

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class TokenSplit:
    """Tokens of one split.

    Attributes:
        tokens_NL: (N, L) int32, memory-mapped where it comes from the cache.
        labels_N: (N,) int64.
    """

    tokens_NL: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    def rows(self, chosen: np.ndarray | slice) -> TokenSplit:
        """The images `chosen`, tokens as int64."""
        index = chosen if isinstance(chosen, slice) else torch.from_numpy(chosen)
        return TokenSplit(tokens_NL=self.tokens_NL[index].long(), labels_N=self.labels_N[index])


@dataclass(frozen=True, kw_only=True)
class Tokens:
    train: TokenSplit
    select: TokenSplit
    test: TokenSplit


def tokens_digest(dataset_digest: str, tokenizer_sha256: str) -> str:
    """Identity of a tokenised data set: its pixels' and the tokenizer's weights."""
    return digest_of({"version": VERSION, "dataset": dataset_digest, "tokenizer": tokenizer_sha256})


@torch.no_grad()
def tokenize(
    split: Split, tokenizer: Tokenizer, *, batch: int = 250, advance: Callable[[int], object]
) -> TokenSplit:
    """Tokens of a split; `advance` is called with the number of images done in each batch."""
    parts = []
    for start in range(0, len(split.labels_N), batch):
        images = images_to_float(split.images_N3HW[start : start + batch])
        parts.append(tokenizer.encode(images).int())
        advance(len(images))
    return TokenSplit(tokens_NL=torch.cat(parts), labels_N=torch.from_numpy(split.labels_N).long())


def cached_tokens(
    path: Path, dataset: Dataset, tokenizer: Tokenizer, *, advance: Callable[[int], object]
) -> Tokens:
    """Tokens of all splits from the file `path`, which is made first if it is not there."""
    if not path.exists():
        tensors = {}
        for name in SPLITS:
            done = tokenize(getattr(dataset, name), tokenizer, advance=advance)
            tensors |= {f"{name}/tokens": done.tokens_NL, f"{name}/labels": done.labels_N}
        with replacing(path) as aside:
            save_file(tensors, aside)
    return read_tokens(path)


def read_tokens(path: Path) -> Tokens:
    """Read a token file.

    Raises:
        UserError: damaged or foreign.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return Tokens(
                **{
                    name: TokenSplit(
                        tokens_NL=file.get_tensor(f"{name}/tokens"),
                        labels_N=file.get_tensor(f"{name}/labels"),
                    )
                    for name in SPLITS
                }
            )
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged token file ({error}); delete it and run again") from None
