"""Why a Frechet distance is not what it should be: one check for each thing that is known to go
wrong with it.

A check looks at the images, or measures the distance without the fault that it is about: with the
channels the other way round, duplicates left out, so many images as published figures have.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.inception import InceptionExtractor
from varant.evaluation.jackknife import Jackknifed
from varant.evaluation.reference import Gaussian, load_reference_npz
from varant.evaluation.scores import frechet, frechet_distance
from varant.randomness import stream
from varant.store.image_set import StoredImages

PUBLISHED_IMAGES = 50_000
# VAR's figures (Tian et al. 2024, arXiv 2404.02905) and VARiant's are of these.
PUBLISHED_SAMPLING: dict[str, float] = {"cfg": 1.5, "top_k": 900, "top_p": 0.96}
DRAWS = 4  # of each smaller number of samples, for what more of them would give
STANDARD_ERRORS = 3.0  # by which a distance must differ to count
LEAST_CHANGE = 0.05  # and as a share of it

Change = Callable[[np.ndarray], np.ndarray]
Status = Literal["cause", "ok", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check says.

    Attributes:
        distance: what it is without this cause, where that was measured.
    """

    check: str
    status: Status
    said: str
    distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Samples, what they are compared with, and how.

    Attributes:
        statistics: what is compared with; None: those of `images`.
        images: of the reference, in the samples' form. Where statistics are there too, as in ADM's
            files, they may be of more images and decide.
        expected: what the distance should be; None where nobody says.
    """

    samples: StoredImages
    statistics: Gaussian | None
    images: StoredImages | None
    extractor: Extractor
    expected: float | None = None

    @cached_property
    def range(self) -> tuple[float, float]:
        """Smallest and largest number of the samples."""
        ends = [(part.min(), part.max()) for part in self.samples.parts()]
        return float(min(low for low, _ in ends)), float(max(high for _, high in ends))

    @cached_property
    def features(self) -> Features:
        return self.features_of(self.samples)

    @cached_property
    def distance(self) -> Jackknifed:
        """As the samples are."""
        return frechet(self.features.features_NF, self.target(self.extractor))

    def features_of(
        self, images: StoredImages, change: Change | None = None, extractor: Extractor | None = None
    ) -> Features:
        """Features of images, whose numbers are taken as levels of 0 to 255."""
        found = []
        for part in images.parts():
            levels = np.clip(part if change is None else change(part), 0, 255)
            scaled = torch.from_numpy(levels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
            found.append((extractor or self.extractor)(scaled))
        return Features.joined(found)

    def target(self, extractor: Extractor) -> Gaussian:
        """What is compared with, in an extractor's features; those of files are in their own."""
        if self.statistics is not None:
            return self.statistics
        if extractor is self.extractor:
            return self._target
        assert self.images is not None, "statistics, or images"
        return Gaussian.of(self.features_of(self.images, extractor=extractor).features_NF)

    @cached_property
    def _target(self) -> Gaussian:
        assert self.images is not None, "statistics, or images"
        return Gaussian.of(self.features_of(self.images).features_NF)

    def better(self, distance: float) -> bool:
        """Whether a distance is nearer to what it should be, or lower, by more than chance."""
        now, aim = self.distance.value, self.expected
        gained = now - distance if aim is None else abs(now - aim) - abs(distance - aim)
        error = self.distance.standard_error
        return gained > max(STANDARD_ERRORS * (0 if np.isnan(error) else error), LEAST_CHANGE * now)

    def without(self, check: str, distance: float, cause: str, fine: str) -> Finding:
        """What a distance without a fault says of it."""
        status: Status = "cause" if self.better(distance) else "ok"
        said = f"{cause if status == 'cause' else fine} ({distance:.4g} without)"
        return Finding(check=check, status=status, said=said, distance=distance)


def read_case(
    samples: Path, reference: Path, extractor: Extractor, expected: float | None = None
) -> Case:
    """A case of files: the reference holds `mu` and `sigma`, or images in `arr_0`, or both.

    Raises:
        UserError: a file that cannot be read, or statistics of other features.
    """
    drawn, statistics, images = StoredImages.of(samples, "samples"), None, None
    with contextlib.suppress(UserError):
        images = StoredImages.of(reference, "--reference")
    if images is None or {"mu", "sigma"} <= set(images.names):
        statistics = load_reference_npz(reference, features=extractor.features).gaussian
    return Case(
        samples=drawn, statistics=statistics, images=images, extractor=extractor, expected=expected
    )


def diagnose(case: Case) -> Iterator[Finding]:
    """All checks, those that need no features first."""
    for check in CHECKS:
        yield check(case)


def check_range(case: Case) -> Finding:
    low, high = case.range
    said = f"numbers from {low:g} to {high:g}, {case.samples.dtype}"
    if high <= 1:  # of black images even a whole set of levels reaches more
        change = (lambda x: (x + 1) * 127.5) if low < 0 else (lambda x: x * 255.0)
        found = case.features_of(case.samples, change)
        distance = frechet_distance(Gaussian.of(found.features_NF), case.target(case.extractor))
        wanted = f"{said}: levels of 0 to 255 are wanted ({distance:.4g} with them)"
        return Finding(check="range", status="cause", said=wanted, distance=distance)
    return Finding(check="range", status="ok", said=said)


def check_resolution(case: Case) -> Finding:
    side = case.samples.shape[1:3]
    said = f"samples of {side[1]} x {side[0]} pixels"
    if case.images is None:
        said += "; statistics do not say what images they are of"
        return Finding(check="resolution", status="unknown", said=said)
    other = case.images.shape[1:3]
    said += f", reference of {other[1]} x {other[0]}"
    return Finding(check="resolution", status="ok" if side == other else "cause", said=said)


def check_classes(case: Case) -> Finding:
    counts = _class_counts(case.samples)
    if counts is None:
        said = "neither labels (arr_1) nor facts say which classes the samples are of"
        return Finding(check="classes", status="unknown", said=said)
    said = f"{len(counts)} classes, {counts.min():,} to {counts.max():,} samples each"
    even = counts.min() == counts.max()
    return Finding(check="classes", status="ok" if even else "cause", said=said)


def _class_counts(samples: StoredImages) -> np.ndarray | None:
    if samples.labels_N is not None:
        return np.unique(samples.labels_N, return_counts=True)[1]
    if "classes" in samples.facts:
        return np.full(len(samples.facts["classes"]), samples.facts["per_class"])
    return None


def check_sampling(case: Case) -> Finding:
    facts = case.samples.facts
    if not PUBLISHED_SAMPLING.keys() <= facts.keys():
        said = "no facts in the file: guidance and filters are not known"
        return Finding(check="sampling", status="unknown", said=said)
    differs = [
        f"{name} {facts[name]:g}, not {value:g}"
        for name, value in PUBLISHED_SAMPLING.items()
        if facts[name] != value
    ]
    said = f"plan {facts.get('plan')}; " + ("; ".join(differs) or "as VAR's figures")
    return Finding(check="sampling", status="cause" if differs else "ok", said=said)


def check_extractor(case: Case) -> Finding:
    said = f"{case.extractor.name}, SHA-256 {case.extractor.digest}"
    known = case.images.facts.get("extractor") if case.images is not None else None
    if known is None:
        said += "; the reference does not say what it was made with"
        return Finding(check="extractor", status="unknown", said=said)
    status: Status = "ok" if known == case.extractor.digest else "cause"
    return Finding(check="extractor", status=status, said=f"{said}; reference by {known}")


def check_duplicates(case: Case) -> Finding:
    seen: dict[bytes, int] = {}
    index = 0
    for part in case.samples.parts():
        for image in part:
            seen.setdefault(hashlib.sha256(image.tobytes()).digest(), index)
            index += 1
    kept, said = sorted(seen.values()), f"{index - len(seen):,} of {index:,} samples are repeats"
    if len(kept) == index or len(kept) < 2:
        status: Status = "ok" if len(kept) == index else "cause"
        return Finding(check="duplicates", status=status, said=said)
    alone = frechet_distance(
        Gaussian.of(case.features.features_NF[kept]), case.target(case.extractor)
    )
    said += f" ({alone:.4g} without)"
    return Finding(check="duplicates", status="cause", said=said, distance=alone)


def check_channels(case: Case) -> Finding:
    found = case.features_of(case.samples, lambda images: images[..., ::-1])
    distance = frechet_distance(Gaussian.of(found.features_NF), case.target(case.extractor))
    cause, fine = "red and blue are swapped", "red, green, blue in this order"
    return case.without("channels", distance, cause, fine)


def check_resize(case: Case) -> Finding:
    extractor = case.extractor
    if not isinstance(extractor, InceptionExtractor):
        said = f"{extractor.name} does not resize"
        return Finding(check="resize", status="ok", said=said)
    clean = replace(extractor, resize="clean")
    found = case.features_of(case.samples, extractor=clean)
    distance = frechet_distance(Gaussian.of(found.features_NF), case.target(clean))
    cause, fine = "clean resizing gives the expected number", "legacy, as ADM's evaluator resizes"
    if case.expected is None:
        said = f"{fine}; {distance:.4g} by clean resizing"
        return Finding(check="resize", status="ok", said=said, distance=distance)
    return case.without("resize", distance, cause, fine)


def check_count(case: Case) -> Finding:
    """The distance at the published number of samples, on a line in 1 / N (Chong and Forsyth,
    arXiv 1911.07023) through all samples and draws of fewer, down to the half."""
    features_NF, target = case.features.features_NF, case.target(case.extractor)
    count, needed = len(features_NF), 2 * case.extractor.features
    if count == PUBLISHED_IMAGES:
        return Finding(check="count", status="ok", said=f"{count:,} samples")
    if count < needed:
        said = f"{count:,} samples: cannot resolve, the rank of the covariance is below its size; "
        return Finding(check="count", status="cause", said=f"{said}draw at least {needed:,}")
    if count < 2 * needed:  # the half would be on no such line
        said = (
            f"{count:,} samples; from {2 * needed:,} on, what {PUBLISHED_IMAGES:,} give is foretold"
        )
        return Finding(check="count", status="unknown", said=said)
    rng = stream(0, "fid doctor")
    sizes = [count, *[round(count / 2**0.5)] * DRAWS, *[count // 2] * DRAWS]
    distances = [
        frechet_distance(Gaussian.of(features_NF[rng.permutation(count)[:size]]), target)
        for size in sizes
    ]
    slope, end = np.polyfit(1 / np.array(sizes), distances, 1)
    distance = float(end + slope / PUBLISHED_IMAGES)
    said = f"{count:,} samples; about {distance:.4g} is to be expected of {PUBLISHED_IMAGES:,}"
    status: Status = "cause" if case.better(distance) else "ok"
    return Finding(check="count", status=status, said=said, distance=distance)


CHECKS: tuple[Callable[[Case], Finding], ...] = (
    check_range,
    check_resolution,
    check_classes,
    check_sampling,
    check_extractor,
    check_duplicates,
    check_channels,
    check_resize,
    check_count,
)
