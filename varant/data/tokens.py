"""A data set tokenised: shards of tokens in a folder of its digest, memory-mapped when read.

A folder holds the splits that some run has read so far; what another reads is added. A split's
index is written last, so one that has an index is whole; a tokenisation that was killed goes on
after its whole shards.
"""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from varant.data.datasets import Dataset, Split, images_to_float, read_ahead
from varant.data.folders import ImagesRead, UnreadableImage
from varant.devices import float32_exactly, images_at_once
from varant.errors import UserError
from varant.files import digest_of, locked, write_json
from varant.manifest import LOCK, Damaged, damage_named, record, verified
from varant.model.tokenizer import Tokenizer
from varant.progress import Progress, silent
from varant.store.checkpoint import write_tensors

VERSION = 4
MIRRORED = "mirrored"  # the train images once more, left to right, as a split of its own
MADE_NOW, REMADE = "it is made again", "the next run makes it again"
SHARD_IMAGES = 8_192  # 11 MiB of the official 680 tokens; hours of a CPU, which a kill may cost


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
        skipped: image files that could not be read.
    """

    shards: tuple[Tensor, ...]
    labels_N: Tensor
    skipped: tuple[str, ...] = ()

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

    def followed_by(self, other: "TokenSplit") -> "TokenSplit":
        """Entries of this one, then the other's."""
        return TokenSplit(
            shards=self.shards + other.shards,
            labels_N=torch.cat([self.labels_N, other.labels_N]),
            skipped=tuple(dict.fromkeys(self.skipped + other.skipped)),
        )


def _read_once(name: str) -> cached_property[TokenSplit]:
    return cached_property(lambda tokens: read_split(tokens.folder, name))


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """A tokenised data set, whose splits are read when they are first asked for.

    `train`, `mirrored` and `select` are of a data set, `test` and `real` of a unit's.
    """

    folder: Path

    train = _read_once("train")
    mirrored = _read_once(MIRRORED)
    select = _read_once("select")
    test = _read_once("test")
    real = _read_once("real")


@dataclass(frozen=True, kw_only=True)
class Tokenising:
    """How a data set is tokenised; nothing that its tokens depend on.

    Attributes:
        skip_unreadable: leave out files that cannot be read and list them; else they are an error.
        batch: images that the tokenizer encodes at once; None for as many as memory allows.
        shard_images: of a file of the cache.
        rank, ranks: this process among those that deal out the shards; only one that is alone
            writes the index.
    """

    skip_unreadable: bool = False
    batch: int | None = None
    shard_images: int = SHARD_IMAGES
    rank: int = 0
    ranks: int = 1


def tokens_digest(dataset: Dataset, tokenizer_sha256: str) -> str:
    """Identity of a tokenised data set: the pixels', and the tokenizer's weights'.

    The data set's own digest holds how its images are resized and cropped.
    """
    made_of = {"version": VERSION, "dataset": dataset.digest, "tokenizer": tokenizer_sha256}
    return digest_of(made_of)


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """A range of a split's images, and the files that are to hold their tokens, by split: of
    `train` and `mirrored` both, where both are wanted, so that one reading serves them."""

    split: Split
    chosen: range
    paths: Mapping[str, Path]


@torch.no_grad()
def cache_tokens(
    folder: Path,
    dataset: Dataset,
    tokenizer: Tokenizer,
    splits: Sequence[str],
    how: Tokenising = Tokenising(),
    *,
    progress: Progress = silent,
) -> None:
    """Tokenise splits of a data set into `folder`, on the tokenizer's device, but those it has.

    A file that cannot be read is named by an `UnreadableImage`.
    """
    missing = [name for name in splits if not _is_made(folder, name)]
    if not missing:
        return
    shards = _shards(folder, dataset, missing, how.shard_images)
    own = shards[how.rank :: how.ranks]
    total = sum(len(shard.chosen) * len(shard.paths) for shard in own)
    with progress("tokens", total, "img") as advance:
        for shard in own:
            unwritten = {n: path for n, path in shard.paths.items() if not _is_whole(path)}
            advance(len(shard.chosen) * (len(shard.paths) - len(unwritten)))
            if unwritten:
                _write_shard(shard, unwritten, tokenizer, how, advance)
    if how.ranks == 1:
        for name in missing:
            names = [shard.paths[name].name for shard in shards if name in shard.paths]
            write_json(_index(folder, name), {"version": VERSION, "shards": names})
            with locked(folder / LOCK):
                record(_index(folder, name), *(folder / shard for shard in names))


def _index(folder: Path, split: str) -> Path:
    return folder / f"{split}.json"


def _shards(folder: Path, dataset: Dataset, names: Sequence[str], size: int) -> list[_Shard]:
    of_images: dict[str, list[str]] = {}
    for name in names:
        of_images.setdefault("train" if name == MIRRORED else name, []).append(name)
    return [
        _Shard(
            split=getattr(dataset, images),
            chosen=range(first, min(dataset.sizes[images], first + size)),
            paths={n: folder / f"{n}-{first // size:05d}.safetensors" for n in of_these},
        )
        for images, of_these in of_images.items()
        for first in range(0, dataset.sizes[images], size)
    ]


def _is_made(folder: Path, name: str) -> bool:
    """Whether a split is there as it was written; a damaged index is named."""
    index = _index(folder, name)
    if not index.exists():
        return False
    with damage_named():
        shards = json.loads(verified(index, MADE_NOW).read_text())["shards"]
        with contextlib.suppress(Damaged):  # which is named when it is made again
            return all(verified(folder / shard) for shard in shards)
    return False


def _is_whole(path: Path) -> bool:
    """Whether a shard is there, of a split or of a tokenisation that was killed; a damaged one is
    named."""
    with (
        damage_named(),
        contextlib.suppress(OSError, SafetensorError),
        safe_open(verified(path, MADE_NOW, listed=False), framework="pt"),
    ):
        return True
    return False


def _write_shard(
    shard: _Shard,
    paths: Mapping[str, Path],
    tokenizer: Tokenizer,
    how: Tokenising,
    advance: Callable[..., object],
) -> None:
    device = next(tokenizer.parameters()).device
    small = torch.int16 if tokenizer.vocab_size <= 2**15 else torch.int32
    tokens: dict[str, list[Tensor]] = {name: [] for name in paths}
    indices, skipped = list[np.ndarray](), list[str]()
    batch = how.batch or images_at_once(tokenizer.image_side)
    chosen = np.array(shard.chosen)
    parts = (chosen[start : start + batch] for start in range(0, len(chosen), batch))
    for part in read_ahead(lambda part: _read(shard.split, part, how.skip_unreadable), parts):
        indices.append(part.indices)
        skipped += part.skipped
        images = images_to_float(part.images_N3HW).to(device)
        for name, found in tokens.items():
            with float32_exactly():
                shown = images.flip(3) if name == MIRRORED else images
                found.append(tokenizer.encode(shown).to(small).cpu())
            advance(len(images) + len(part.skipped))
    labels_N = torch.from_numpy(shard.split.labels_N[np.concatenate(indices)])
    for name, path in paths.items():
        content = {"tokens": torch.cat(tokens[name]), "labels": labels_N}
        write_tensors(path, content, {"skipped": json.dumps(skipped)})


def _read(split: Split, indices: np.ndarray, skip_unreadable: bool) -> ImagesRead:
    skipped: list[str] = []
    while True:
        try:
            return ImagesRead(images_N3HW=split.images(indices), indices=indices, skipped=skipped)
        except UnreadableImage as error:
            if not skip_unreadable:
                raise
            skipped.append(str(error.path))
            indices = indices[indices != error.index]


def read_split(folder: Path, name: str) -> TokenSplit:
    """A split that `cache_tokens` wrote; `UserError` if it is damaged or foreign."""
    try:
        tokens, labels, skipped = [], [], []
        for shard in json.loads(verified(_index(folder, name), REMADE).read_text())["shards"]:
            with safe_open(verified(folder / shard, REMADE), framework="pt") as file:
                tokens.append(file.get_tensor("tokens"))
                labels.append(file.get_tensor("labels"))
                skipped += json.loads((file.metadata() or {}).get("skipped", "[]"))
        labels_N = torch.cat(labels)
    except Damaged:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: damaged token cache ({error}); delete the folder and run again"
        ) from None
    return TokenSplit(shards=tuple(tokens), labels_N=labels_N, skipped=tuple(skipped))
