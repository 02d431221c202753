"""A data set tokenised once: shards of tokens in a folder of its digest, memory-mapped when read.

The index is written last, so a folder that has one is whole; a tokenisation that was killed goes
on after its last whole shard.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from varant.data.datasets import UNIT_SPLITS, Dataset, Split, images_to_float
from varant.data.folders import UnreadableImage
from varant.errors import UserError
from varant.files import digest_of, write_json
from varant.model.tokenizer import Tokenizer
from varant.progress import Progress, silent
from varant.store.checkpoint import write_tensors

VERSION = 3
INDEX_FILE = "index.json"
SHARD_ENTRIES = 32_768  # 43 MiB of the official 680 tokens


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Tokens and labels of some images: (n, L) and (n,), int64."""

    tokens_NL: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True)
class TokenSplit:
    """Tokens of one split.

    Attributes:
        shards: (n, L) tensors of a small integer type, in order; memory-mapped where they come
            from the cache.
        labels_N: (N,) int64.
    """

    shards: tuple[Tensor, ...]
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    def rows(self, chosen: np.ndarray | slice) -> TokenBatch:
        """The entries `chosen`, tokens as int64."""
        index_n = np.arange(len(self))[chosen]
        ends = np.cumsum([len(shard) for shard in self.shards])
        shard_n = np.searchsorted(ends, index_n, side="right")
        tokens_NL = torch.empty(len(index_n), self.shards[0].shape[1], dtype=torch.long)
        for number in np.unique(shard_n):
            here = np.flatnonzero(shard_n == number)
            local = index_n[here] - (ends[number] - len(self.shards[number]))
            tokens_NL[here] = self.shards[number][torch.from_numpy(local)].long()
        return TokenBatch(tokens_NL=tokens_NL, labels_N=self.labels_N[torch.from_numpy(index_n)])


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A tokenised data set: `train` and `select` of one, `test` and `real` of a unit's.

    Attributes:
        skipped: image files that could not be read, of all splits.
    """

    splits: Mapping[str, TokenSplit]
    skipped: tuple[str, ...] = ()

    @property
    def train(self) -> TokenSplit:
        return self.splits["train"]

    @property
    def select(self) -> TokenSplit:
        return self.splits["select"]

    @property
    def test(self) -> TokenSplit:
        return self.splits["test"]

    @property
    def real(self) -> TokenSplit:
        return self.splits["real"]


@dataclass(frozen=True, kw_only=True)
class Tokenising:
    """What of a data set is tokenised, and how.

    Attributes:
        flips: training images once more mirrored left to right, as entries after all others.
        splits: which.
        skip_unreadable: leave out files that cannot be read and list them; else they are an error.
        batch: images that the tokenizer encodes at once.
        shard_entries: of a file of the cache.
    """

    flips: bool = False
    splits: tuple[str, ...] = ("train", "select")
    skip_unreadable: bool = False
    batch: int = 250
    shard_entries: int = SHARD_ENTRIES

    def entries(self, split: str, images: int) -> int:
        """Entries that a split of so many images becomes."""
        return images * (2 if self.flips and split == "train" else 1)

    def digest(self, dataset: Dataset, tokenizer_sha256: str) -> str:
        """Identity of the result: the pixels', the tokenizer's weights', the preprocessing's.

        The data set's own digest holds how its images are resized and cropped.
        """
        made_of = {"version": VERSION, "dataset": dataset.digest, "tokenizer": tokenizer_sha256}
        return digest_of(made_of | {"flips": self.flips, "splits": self.splits})


PLAIN, OF_UNIT = Tokenising(), Tokenising(splits=UNIT_SPLITS)


@torch.no_grad()
def cache_tokens(
    folder: Path,
    dataset: Dataset,
    tokenizer: Tokenizer,
    wanted: Tokenising = PLAIN,
    *,
    progress: Progress = silent,
) -> Tokens:
    """Tokenise a data set into `folder`, unless it is there, and read it.

    A file that cannot be read is named by an `UnreadableImage`.
    """
    if (folder / INDEX_FILE).exists():
        return read_tokens(folder)
    entries = {name: wanted.entries(name, dataset.sizes[name]) for name in wanted.splits}
    index: dict[str, list[str]] = {name: [] for name in entries}
    with progress("tokens", sum(entries.values()), "img") as advance:
        for name, shards in index.items():
            size = wanted.shard_entries
            for first in range(0, entries[name], size):
                path = folder / f"{name}-{first // size:05d}.safetensors"
                chosen = np.arange(first, min(entries[name], first + size))
                try:
                    with safe_open(path, framework="pt"):
                        advance(len(chosen))  # whole, of a tokenisation that was killed
                except (OSError, SafetensorError):
                    _write_shard(path, getattr(dataset, name), tokenizer, chosen, wanted, advance)
                shards.append(path.name)
    write_json(folder / INDEX_FILE, {"version": VERSION, "shards": index})
    return read_tokens(folder)


def _write_shard(
    path: Path,
    split: Split,
    tokenizer: Tokenizer,
    chosen: np.ndarray,
    wanted: Tokenising,
    advance: Callable[..., object],
) -> None:
    device = next(tokenizer.parameters()).device
    small = torch.int16 if tokenizer.vocab_size <= 2**15 else torch.int32
    tokens, labels = [], []
    skipped: list[str] = []
    for start in range(0, len(chosen), wanted.batch):
        flipped, indices = np.divmod(chosen[start : start + wanted.batch], len(split))
        images, places = _read_images(split, indices, wanted.skip_unreadable, skipped)
        mirror = flipped[places].astype(bool)
        images[mirror] = images[mirror, :, :, ::-1]
        tokens.append(tokenizer.encode(images_to_float(images).to(device)).to(small).cpu())
        labels.append(torch.from_numpy(split.labels_N[indices[places]]))
        advance(len(indices))
    content = {"tokens": torch.cat(tokens), "labels": torch.cat(labels)}
    write_tensors(path, content, {"skipped": json.dumps(skipped)})


def _read_images(
    split: Split, indices: np.ndarray, skip_unreadable: bool, skipped: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Images, and their places in `indices`; paths that are left out go to `skipped`."""
    places = np.arange(len(indices))
    while True:
        try:
            return split.images(indices[places]), places
        except UnreadableImage as error:
            if not skip_unreadable:
                raise
            skipped.append(str(error.path))
            places = places[indices[places] != error.index]


def read_tokens(folder: Path) -> Tokens:
    """Read a folder that `cache_tokens` wrote; `UserError` if it is damaged or foreign."""
    try:
        index = json.loads((folder / INDEX_FILE).read_text())
        skipped: list[str] = []
        splits = {
            name: _read_split([folder / shard for shard in shards], skipped)
            for name, shards in index["shards"].items()
        }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: damaged token cache ({error}); delete the folder and run again"
        ) from None
    return Tokens(splits=splits, skipped=tuple(dict.fromkeys(skipped)))


def _read_split(paths: list[Path], skipped: list[str]) -> TokenSplit:
    tokens, labels = [], []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            tokens.append(file.get_tensor("tokens"))
            labels.append(file.get_tensor("labels"))
            skipped.extend(json.loads((file.metadata() or {}).get("skipped", "[]")))
    return TokenSplit(shards=tuple(tokens), labels_N=torch.cat(labels))
