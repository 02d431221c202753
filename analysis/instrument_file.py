"""What is known of the instrument: `table.json` of the ladder and of the noise study, which other
studies read, and `study.json` of both.

A table holds for one setting (data, tokenizer recipe, feature spaces) and is used in no other.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field

from analysis.study_file import Facts, SamplingFacts, ScaleZone, StudyFile, SupernetFile

TABLE = "table.json"

Known = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number, or NaN, which JSON has not: null there."""


class Setting(Facts):
    """What scores depend on beside the samples, by digests.

    Attributes:
        dataset, extractors: of the data and of the feature networks' weights.
        tokenizer: of the recipe, since weights that are trained here differ from machine to machine
            by rounding; of the weights where they are given.
        reference: of a given file of statistics.
    """

    dataset: str
    tokenizer: str
    extractors: tuple[str, ...]
    reference: str | None = None

    def difference(self, other: Self) -> str | None:
        """The first thing in which two settings differ, in words; None where they are one."""
        names = {"dataset": "data set", "tokenizer": "tokenizer", "extractors": "extractor"}
        names["reference"] = "reference file"
        found = (said for n, said in names.items() if getattr(self, n) != getattr(other, n))
        return next(found, None)


class Table(Facts):
    """What both tables have. `samples`: images behind each score."""

    format: str
    version: Literal[1] = 1
    setting: Setting
    samples: int = Field(ge=2)


class Passes(Facts):
    """The zones whose damage a metric saw; `extractor` as metric names have it. `floor_spread`: of
    a distance, the standard deviation of real images over the repeats."""

    kind: str
    extractor: str | None = None
    zones: Mapping[ScaleZone, bool]
    floor_spread: float | None = Field(default=None, gt=0)


class LadderTable(Table):
    """What each metric sees. `repeats`: units behind it, each with images of its own."""

    format: Literal["varant-ladder"] = "varant-ladder"
    repeats: int
    metrics: tuple[Passes, ...]


class LadderFile(StudyFile):
    """Of the ladder. `windows`: early, middle and late scales, from 1."""

    setting: Setting
    windows: Mapping[ScaleZone, tuple[int, ...]]

    @property
    def shared_images(self) -> int | None:
        """Held-out images that repeats are parts of; None where each has its own."""
        return self.dataset.select_images if self.dataset.units_share_images else None


class Component(Facts):
    """A variance in the metric's unit squared, with its 95 % interval; NaN where the design does
    not tell it from the component above."""

    estimate: Known
    low: Known
    high: Known
    degrees_of_freedom: int


class NoiseFacts(Facts):
    """How far a quantity moves between units, by one metric.

    Attributes:
        quantity: as in the docstring of `analysis.statistics.noise`.
        margin: the share of the untrained damage that it is less of; None where it is no loss.
        mean: over all values.
        untrained: mean of the damage that the margin is a share of.
        samples: behind each value; for likelihood, test images.
        from_jackknife: whether `evaluation` is the jackknife's, since nothing was drawn anew.
        evaluation: of one sample, or test image.
        common: of the mean over units, by what they share (for likelihood: of one test image);
            None where they share nothing.
    """

    kind: str
    extractor: str | None = None
    quantity: str
    margin: float | None = Field(default=None, gt=0)
    mean: float
    untrained: float | None = None
    samples: int
    from_jackknife: bool
    base: Component
    training: Component
    evaluation: Component
    common: Component | None = None


class ResolutionFacts(Facts):
    """How well so many samples tell a trained network of half the layers from a full one.

    Attributes:
        full, half: mean levels.
        bias: how far `full` lies above its limit, as a share of that: on a line in 1 / n through
            the next fewer samples (as FID-infinity, Chong and Forsyth, arXiv 1911.07023); NaN for
            the fewest.
        deviations: that half less full lies from zero, in standard deviations of a difference
            evaluated once.
        low, high: 95 % interval of the last, for these networks (see `noise.standardised`).
    """

    kind: str
    extractor: str | None = None
    samples: int
    full: float
    half: float
    bias: Known
    deviations: float
    low: float
    high: float


class NoiseTable(Table):
    """Variance components of units, training seeds and evaluation. `depth`, `width`: of the
    network; `base_images`, `train_switch`, `sampling`: what its base had seen, what it was trained
    for and how it was sampled, as far as that is known; `budget_images`: of each training."""

    format: Literal["varant-noise"] = "varant-noise"
    depth: int
    width: int
    base_images: int | None
    train_switch: int | None = None
    sampling: SamplingFacts | None = None
    budget_images: int
    units: int
    seeds: int
    draws: int
    quantities: tuple[NoiseFacts, ...]
    resolutions: tuple[ResolutionFacts, ...] = ()


class NoiseFile(SupernetFile):
    """Of the noise study. `draws`: sampling seeds of each network at each count of samples, which
    are `counts`, the largest first; `windows`: early, middle and late scales."""

    setting: Setting
    draws: int
    counts: tuple[int, ...]
    train_switch: int
    windows: Mapping[ScaleZone, tuple[int, ...]]
