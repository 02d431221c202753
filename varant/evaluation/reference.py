"""What generated images are compared with: features of reconstructed test images, or an NPZ."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from varant import manifest
from varant.data.tokens import read_split
from varant.devices import images_at_once
from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.inception import INCEPTION_FEATURES
from varant.evaluation.jackknife import blocks
from varant.evaluation.manifold import radii
from varant.files import locked, replacing
from varant.model.tokenizer import Tokenizer
from varant.npz import UNREADABLE, read_header
from varant.progress import Progress, silent
from varant.store.checkpoint import read_tensors, write_tensors
from varant.store.image_set import FACTS, read_facts
from varant.values import shortened

MOST = 50_000  # images of a split; all test images of ImageNet
DECODED = 50  # images decoded at once, at most
STATISTICS, SPATIAL_STATISTICS = ("mu", "sigma"), ("mu_s", "sigma_s")  # as ADM's files name them
_WANTED = "give an NPZ with mu and sigma like VIRTUAL_imagenet256_labeled.npz"


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Mean (F,) and covariance (F, F) of features, float64."""

    mean_F: np.ndarray
    covariance_FF: np.ndarray

    @classmethod
    def of(cls, features_NF: np.ndarray) -> Gaussian:
        """Fitted to features, the covariance unbiased; `ValueError` for fewer than two rows."""
        if len(features_NF) < 2:
            raise ValueError(f"{len(features_NF)} samples: a distance needs at least two")
        covariance_FF = np.atleast_2d(np.cov(features_NF, rowvar=False, dtype=np.float64))
        return cls(mean_F=features_NF.mean(axis=0, dtype=np.float64), covariance_FF=covariance_FF)

    @classmethod
    def without_blocks(cls, features_NF: np.ndarray) -> Iterator[Gaussian]:
        """Fitted without each block of features; none where a block is all but one of them.

        They follow from sums over all features and over the block.
        """
        count, centre_F = len(features_NF), features_NF.mean(axis=0)
        centred_NF = features_NF - centre_F  # sums of its products keep small rounding errors
        outer_FF = centred_NF.T @ centred_NF
        for block in blocks(count) if count > 2 else []:
            part_nF = centred_NF[block]
            left = count - len(part_nF)
            mean_F = -part_nF.sum(axis=0) / left
            outer_without_FF = outer_FF - part_nF.T @ part_nF - left * np.outer(mean_F, mean_F)
            yield cls(mean_F=centre_F + mean_F, covariance_FF=outer_without_FF / (left - 1))

    @cached_property
    def root_FF(self) -> np.ndarray:
        """(F, F) symmetric square root of the covariance, computed once."""
        values_F, vectors_FF = np.linalg.eigh(self.covariance_FF)
        return np.asarray((vectors_FF * np.sqrt(values_F.clip(min=0))) @ vectors_FF.T)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What generated images are compared with.

    Either features, and their labels where they are known; or only `statistics`.

    Attributes:
        features_NF: (N, F) float64.
        labels_N: (N,) int64 true classes.
        statistics: of features that are not here.
        spatial: of spatial features, where there are any.
        digest: SHA-256 of the statistics as read from a file; None for features, which follow from
            tokens, tokenizer and extractor.
    """

    features_NF: np.ndarray | None = None
    labels_N: np.ndarray | None = None
    statistics: Gaussian | None = None
    spatial: Gaussian | None = None
    digest: str | None = None

    def __post_init__(self) -> None:
        assert (self.features_NF is None) != (self.statistics is None), "features, or statistics"
        assert self.labels_N is None or self.features_NF is not None, "labels are of features"

    @cached_property
    def radii_M(self) -> np.ndarray:
        """Of the features' balls (`varant.evaluation.manifold`), found once."""
        assert self.features_NF is not None, "statistics have no balls"
        return radii(self.features_NF)

    @cached_property
    def gaussian(self) -> Gaussian:
        """The given statistics, or those of the features, fitted once."""
        if self.statistics is not None:
            return self.statistics
        assert self.features_NF is not None
        return Gaussian.of(self.features_NF)


def prepare_reference(
    tokens_folder: Path,
    tokenizer: Tokenizer,
    extractor: Extractor,
    progress: Progress = silent,
    *,
    split: str = "test",
) -> Path:
    """Features of reconstructed images, at most `MOST`, which samples are compared with.

    Made unless the tokens' folder has them for this extractor; read back by `read_reference`.
    """
    path = tokens_folder / f"{split}-{extractor.name}.safetensors"
    with locked(tokens_folder / manifest.LOCK):
        if path.exists():
            with manifest.damage_named():
                return manifest.verified(path, "it is made again")
        images = read_split(tokens_folder, split).rows(slice(MOST))
        device = next(tokenizer.parameters()).device
        parts = []
        with progress(f"{split} features", len(images), "img") as advance:
            for part in images.tokens_NL.split(images_at_once(tokenizer.image_side, DECODED)):
                parts.append(extractor(tokenizer.decode(part.to(device)).add(1).div(2)))
                advance(len(part))
        found = Features.joined(parts)
        written = {"features": torch.from_numpy(found.features_NF), "labels": images.labels_N}
        if found.spatial_NS is not None:
            spatial = Gaussian.of(found.spatial_NS)
            arrays = map(torch.from_numpy, (spatial.mean_F, spatial.covariance_FF))
            written |= dict(zip(SPATIAL_STATISTICS, arrays, strict=True))
        write_tensors(path, written)
        manifest.record(path)
    return path


def read_reference(
    path: Path, *, features: int = INCEPTION_FEATURES, spatial: int = 0
) -> Reference:
    """What `prepare_reference` wrote (`.safetensors`), or else statistics in an NPZ.

    Args:
        features, spatial: that the extractor has; an NPZ must have as many.

    Raises:
        UserError: as `load_reference_npz`, or features that are not those that were written.
    """
    if path.suffix != ".safetensors":
        return load_reference_npz(path, features=features, spatial=spatial)
    read = read_tensors(manifest.verified(path, "run again: it is made again"))
    content = {name: tensor.numpy() for name, tensor in read.items()}
    given = [content[key] for key in SPATIAL_STATISTICS if key in content]
    return Reference(
        features_NF=content["features"],
        labels_N=content["labels"],
        spatial=Gaussian(mean_F=given[0], covariance_FF=given[1]) if given else None,
    )


def reference_of(path: Path, extractor: Extractor, side: int) -> Reference:
    """Statistics in an NPZ that samples of `side` pixels are compared with.

    Raises:
        UserError: as `load_reference_npz`; or the file says (`write_statistics`) that it is of
            another extractor, another resizing or images of another side.
    """
    noted, own = read_facts(path), made_with(extractor, side)
    differs = [f"{k} {noted[k]}, not {own[k]}" for k in own if noted.get(k, own[k]) != own[k]]
    if differs:
        raise UserError(f"--reference {path}: is of {'; '.join(differs)}; give one of these images")
    return load_reference_npz(path, features=extractor.features, spatial=extractor.spatial_features)


def made_with(extractor: Extractor, side: int) -> dict[str, str | int]:
    """What statistics depend on beside the images: what files of them say."""
    return {**extractor.facts, "side": side}


def write_statistics(path: Path, features: Features, facts: dict[str, str | int]) -> None:
    """An NPZ as `load_reference_npz` reads it, which says what it is of."""
    arrays: dict[str, Any] = {FACTS: np.array(json.dumps(facts))}
    sets = {STATISTICS: features.features_NF, SPATIAL_STATISTICS: features.spatial_NS}
    for keys, found in sets.items():
        if found is not None:
            arrays |= dict(zip(keys, vars(Gaussian.of(found)).values(), strict=True))
    with replacing(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def load_reference_npz(
    path: Path, *, features: int = INCEPTION_FEATURES, spatial: int = 0
) -> Reference:
    """Statistics from the keys `mu` (F,) and `sigma` (F, F) of an NPZ, as ADM publishes them.

    Those of spatial features, `mu_s` and `sigma_s`, are read where they are there and the extractor
    has such features. Other keys (`arr_0`, images) are not. The digest is over means and
    covariances as little-endian float64, in this order.

    Args:
        features, spatial: F and S that the extractor has.

    Raises:
        UserError: no such file, not an NPZ, a missing key, a wrong shape, a number that is not
            finite, or a sigma that is no covariance.
    """
    if not path.is_file():
        raise UserError(f"--reference {path}: no such file; {_WANTED}")
    counts = {STATISTICS: features} | ({SPATIAL_STATISTICS: spatial} if spatial else {})
    arrays = _read_npz(path, counts)
    for key in arrays:
        if not np.isfinite(arrays[key]).all():
            raise UserError(f"--reference {path}: {key} holds numbers that are not finite")
    found = {pair: _gaussian(path, arrays, pair) for pair in counts if pair[0] in arrays}
    content = (one.astype("<f8").tobytes() for one in arrays.values())
    return Reference(
        statistics=found[STATISTICS],
        spatial=found.get(SPATIAL_STATISTICS),
        digest=hashlib.sha256(b"".join(content)).hexdigest(),
    )


def _gaussian(path: Path, arrays: dict[str, np.ndarray], keys: tuple[str, str]) -> Gaussian:
    mean_F, covariance_FF = (arrays[key] for key in keys)
    variance_F = covariance_FF.diagonal()
    tolerance = 1e-5 * np.abs(variance_F).max(initial=0)  # float32 statistics are symmetric to it
    if variance_F.min(initial=0) < 0 or np.abs(covariance_FF - covariance_FF.T).max() > tolerance:
        raise UserError(f"--reference {path}: {keys[1]} is not symmetric with a diagonal >= 0")
    return Gaussian(mean_F=mean_F, covariance_FF=covariance_FF)


def _read_npz(path: Path, counts: dict[tuple[str, str], int]) -> dict[str, np.ndarray]:
    """Means and covariances of so many features in an NPZ as float64, of these shapes by its
    headers: what a header declares is allocated before it is read. The first pair must be there.
    Other members are not looked at."""
    if not zipfile.is_zipfile(path):
        raise UserError(f"--reference {path}: not an NPZ file; {_WANTED}")
    try:
        with np.load(path, allow_pickle=False) as file:
            held = file.files
            if missing := [key for key in STATISTICS if key not in held]:
                raise UserError(
                    f"--reference {path}: has no {' and no '.join(missing)} (it holds "
                    f"{', '.join(held[:8]) or 'nothing'}); {_WANTED}"
                )
            read = {}
            for keys, count in counts.items():
                if not set(keys) <= set(held):
                    continue
                for key, wanted in zip(keys, ((count,), (count, count)), strict=True):
                    _check_header(path, file.zip, key, wanted)
                    read[key] = file[key].astype(np.float64)
            return read
    except UserError:
        raise
    except UNREADABLE:  # cut, or damaged
        raise UserError(f"--reference {path}: cannot be read as an NPZ; {_WANTED}") from None


def _check_header(path: Path, npz: zipfile.ZipFile, key: str, wanted: tuple[int, ...]) -> None:
    """`UserError` unless a member is an array of numbers of this shape, by its own account."""
    no_numbers = UserError(f"--reference {path}: {key} is no array of numbers; {_WANTED}")
    if f"{key}.npy" not in npz.namelist():
        raise no_numbers
    with npz.open(f"{key}.npy") as file:
        shape, _, kind = read_header(file)
    if kind.kind not in "fiu":
        raise no_numbers
    if shape != wanted:
        raise UserError(
            f"--reference {path}: {key} has shape {shortened(str(shape))}; the extractor's "
            f"{wanted[0]} features need {wanted}"
        )
