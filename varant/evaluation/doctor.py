"""Why a Frechet distance is not what it should be: one check for each thing that is known to go
wrong with it.

A check looks at the images, or measures the distance without the fault that it is about: with the
channels the other way round, duplicates left out, so many images as published figures have.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.inception import InceptionExtractor, Resize
from varant.evaluation.jackknife import Jackknifed
from varant.evaluation.reference import STATISTICS, Gaussian, Reference, load_reference_npz
from varant.evaluation.scores import frechet_distance, scores
from varant.randomness import stream
from varant.store.image_set import StoredImages, read_facts

PUBLISHED_IMAGES = 50_000
# VAR's figures (Tian et al. 2024, arXiv 2404.02905) and VARiant's are of these.
PUBLISHED_SAMPLING: dict[str, float] = {"cfg": 1.5, "top_k": 900, "top_p": 0.96}
DRAWS = 4  # of each smaller number of samples, for what more of them would give
STANDARD_ERRORS = 3.0  # by which a distance must differ to count
LEAST_CHANGE = 0.05  # and as a share of it

Change = Callable[[np.ndarray], np.ndarray]
Status = Literal["cause", "ok", "unknown"]


class Finding(NamedTuple):
    """What a check says.

    Attributes:
        distance: what it is without this cause, where that was measured.
    """

    status: Status
    said: str
    distance: float | None = None


@dataclass(frozen=True, kw_only=True)
class Case:
    """Samples, what they are compared with, and how.

    Attributes:
        given: statistics that are compared with; None: those of `images`.
        images: of the reference, in the samples' form. Where statistics are there too, as in ADM's
            files, they may be of more images and decide.
        noted: what the reference says that it was made of.
        expected: what the distance should be; None where nobody says.
    """

    samples: StoredImages
    given: Reference | None
    images: StoredImages | None
    extractor: Extractor
    noted: dict[str, Any] = field(default_factory=dict)
    expected: float | None = None

    @cached_property
    def range(self) -> tuple[float, float]:
        """Smallest and largest number of the samples."""
        ends = [(part.min(), part.max()) for part in self.samples.parts()]
        return float(min(low for low, _ in ends)), float(max(high for _, high in ends))

    @cached_property
    def features(self) -> Features:
        return features_of(self.samples, self.extractor)

    @cached_property
    def scores(self) -> dict[str, Jackknifed]:
        """Of the samples as they are, those that need no classes; `frechet` is the distance."""
        plain = replace(self.features, classes_N=None)
        return scores(plain, np.zeros(len(plain)), self.reference)

    @property
    def distance(self) -> Jackknifed:
        return self.scores["frechet"]

    @cached_property
    def reference(self) -> Reference:
        if self.given is not None:
            return self.given
        assert self.images is not None, "statistics, or images"
        found = features_of(self.images, self.extractor)
        spatial = None if found.spatial_NS is None else Gaussian.of(found.spatial_NS)
        one_class = np.zeros(len(found), dtype=np.int64)  # KID is then over all images
        return Reference(features_NF=found.features_NF, labels_N=one_class, spatial=spatial)

    def distance_of(self, features_NF: np.ndarray) -> float:
        """That of other features from the same reference."""
        return frechet_distance(Gaussian.of(features_NF), self.reference.gaussian)

    def better(self, distance: float) -> bool:
        """Whether a distance is nearer to what it should be, or lower, by more than chance."""
        now, aim = self.distance.value, self.expected
        gained = now - distance if aim is None else abs(now - aim) - abs(distance - aim)
        error = self.distance.standard_error
        return gained > max(STANDARD_ERRORS * (0 if np.isnan(error) else error), LEAST_CHANGE * now)

    def without(self, distance: float, cause: str, fine: str) -> Finding:
        """What a distance without a fault says of it."""
        better = self.better(distance)
        said = f"{cause if better else fine} ({distance:.4g} without)"
        return Finding("cause" if better else "ok", said, distance)


def features_of(
    images: StoredImages, extractor: Extractor, change: Change | None = None
) -> Features:
    """Features of images, whose numbers are taken as levels of 0 to 255."""
    found = []
    for part in images.parts():
        levels = np.clip(part if change is None else change(part), 0, 255)
        scaled = torch.from_numpy(levels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
        found.append(extractor(scaled))
    return Features.joined(found)


def read_case(
    samples: Path, reference: Path, extractor: Extractor, expected: float | None = None
) -> Case:
    """A case of files: the reference holds `mu` and `sigma`, or images in `arr_0`, or both.

    Raises:
        UserError: a file that cannot be read, or statistics of other features.
    """
    drawn, given, images = StoredImages.of(samples, "samples"), None, None
    with contextlib.suppress(UserError):
        images = StoredImages.of(reference, "--reference")
    if images is None or {*STATISTICS} <= set(images.names):
        counts = {"features": extractor.features, "spatial": extractor.spatial_features}
        given = load_reference_npz(reference, **counts)
    return Case(
        samples=drawn,
        given=given,
        images=images,
        extractor=extractor,
        noted=read_facts(reference),
        expected=expected,
    )


def diagnose(case: Case) -> Iterator[tuple[str, Finding]]:
    """All checks by name, those that need no features first."""
    for name, check in CHECKS.items():
        yield name, check(case)


def check_range(case: Case) -> Finding:
    low, high = case.range
    said = f"numbers from {low:g} to {high:g}, {case.samples.dtype}"
    if high <= 1:  # of black images even a whole set of levels reaches more
        change = (lambda x: (x + 1) * 127.5) if low < 0 else (lambda x: x * 255.0)
        distance = case.distance_of(features_of(case.samples, case.extractor, change).features_NF)
        wanted = f"{said}: levels of 0 to 255 are wanted ({distance:.4g} with them)"
        return Finding("cause", wanted, distance)
    return Finding("ok", said)


def check_resolution(case: Case) -> Finding:
    side = case.samples.shape[1:3]
    said = f"samples of {side[1]} x {side[0]} pixels"
    noted = case.noted.get("side")
    other = case.images.shape[1:3] if case.images is not None else (noted, noted)
    if other == (None, None):
        return Finding("unknown", f"{said}; statistics do not say what images they are of")
    said += f", reference of {other[1]} x {other[0]}"
    return Finding("ok" if side == other else "cause", said)


def check_classes(case: Case) -> Finding:
    drawn = _class_counts(case.samples)
    if drawn is None:
        said = "neither labels (arr_1) nor facts say which classes the samples are of"
        return Finding("unknown", said)
    least, most = min(drawn.values()), max(drawn.values())
    said = f"{len(drawn)} classes, {least:,} to {most:,} samples each"
    real = None if case.images is None else _class_counts(case.images)
    wanted = range(max(drawn)) if real is None else real.keys()
    missing = sorted(set(wanted) - drawn.keys())
    if missing:
        said += f"; none of {', '.join(map(str, missing[:5]))}{' ...' if len(missing) > 5 else ''}"
    return Finding("cause" if missing or least < most else "ok", said)


def _class_counts(images: StoredImages) -> dict[int, int] | None:
    """Images by class, as far as the file says."""
    if images.labels_N is not None:
        classes, counts = np.unique(images.labels_N, return_counts=True)
        return dict(zip(classes.tolist(), counts.tolist(), strict=True))
    if "classes" in images.facts:
        return dict.fromkeys(images.facts["classes"], images.facts["per_class"])
    return None


def check_sampling(case: Case) -> Finding:
    facts = case.samples.facts
    if not PUBLISHED_SAMPLING.keys() <= facts.keys():
        return Finding("unknown", "no facts in the file: guidance and filters are not known")
    differs = [
        f"{name} {facts[name]:g}, not {value:g}"
        for name, value in PUBLISHED_SAMPLING.items()
        if facts[name] != value
    ]
    said = f"plan {facts.get('plan')}; " + ("; ".join(differs) or "as VAR's figures")
    return Finding("cause" if differs else "ok", said)


def check_extractor(case: Case) -> Finding:
    said, own = f"{case.extractor.name}, SHA-256 {case.extractor.digest}", case.extractor.facts
    known = {name: case.noted[name] for name in own if name in case.noted}
    if "extractor" not in known:
        return Finding("unknown", f"{said}; the reference does not say what it was made with")
    said += f"; reference by {', '.join(map(str, known.values()))}"
    return Finding("ok" if known.items() <= own.items() else "cause", said)


def check_duplicates(case: Case) -> Finding:
    digests = [hashlib.sha256(image).hexdigest() for part in case.samples.parts() for image in part]
    kept, count = np.unique(digests, return_index=True)[1], len(digests)
    said = f"{count - len(kept):,} of {count:,} samples are repeats"
    if len(kept) == count or len(kept) < 2:
        return Finding("ok" if len(kept) == count else "cause", said)
    alone = case.distance_of(case.features.features_NF[np.sort(kept)])
    return Finding("cause", f"{said} ({alone:.4g} without)", alone)


def check_channels(case: Case) -> Finding:
    found = features_of(case.samples, case.extractor, lambda images: images[..., ::-1])
    distance = case.distance_of(found.features_NF)
    return case.without(distance, "red and blue are swapped", "red, green, blue in this order")


def check_resize(case: Case) -> Finding:
    extractor = case.extractor
    if not isinstance(extractor, InceptionExtractor):
        return Finding("ok", f"{extractor.name} does not resize")
    other: Resize = "legacy" if extractor.resize == "clean" else "clean"
    resized = replace(case, extractor=replace(extractor, resize=other))
    distance = resized.distance_of(resized.features.features_NF)
    by = {"legacy": "legacy, as ADM's evaluator resizes", "clean": "clean, as clean-fid resizes"}
    fine = by[extractor.resize]
    if case.expected is None:
        return Finding("ok", f"{fine}; {distance:.4g} by {other} resizing", distance)
    return case.without(distance, f"{other} resizing gives the expected number", fine)


def check_count(case: Case) -> Finding:
    """The distance at the published number of samples, on a line in 1 / N (Chong and Forsyth,
    arXiv 1911.07023) through all samples and draws of fewer, down to the half."""
    features_NF, size = case.features.features_NF, case.extractor.features
    count, needed = len(features_NF), 2 * size
    real = case.reference.features_NF
    for images, kind in ((features_NF, "samples"), (real, "reference images")):
        if images is not None and len(images) < needed:
            said = (
                f"{len(images):,} {kind}: cannot resolve, their covariance of {size:,} features "
                f"has rank {min(len(images) - 1, size):,}; take at least {needed:,}"
            )
            return Finding("cause", said)
    if count == PUBLISHED_IMAGES:
        return Finding("ok", f"{count:,} samples")
    if count < 2 * needed:  # the half would be on no such line
        said = (
            f"{count:,} samples; from {2 * needed:,} on, what {PUBLISHED_IMAGES:,} give is foretold"
        )
        return Finding("unknown", said)
    rng = stream(0, "fid doctor")
    sizes = [count, *[round(count / 2**0.5)] * DRAWS, *[count // 2] * DRAWS]
    distances = [case.distance_of(features_NF[rng.permutation(count)[:fewer]]) for fewer in sizes]
    slope, end = np.polyfit(1 / np.array(sizes), distances, 1)
    distance = float(end + slope / PUBLISHED_IMAGES)
    said = f"{count:,} samples; about {distance:.4g} is to be expected of {PUBLISHED_IMAGES:,}"
    return Finding("cause" if case.better(distance) else "ok", said, distance)


CHECKS: dict[str, Callable[[Case], Finding]] = {
    "range": check_range,
    "resolution": check_resolution,
    "classes": check_classes,
    "sampling": check_sampling,
    "extractor": check_extractor,
    "duplicates": check_duplicates,
    "channels": check_channels,
    "resize": check_resize,
    "count": check_count,
}
