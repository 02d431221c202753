"""Sections of a study's config, and the config that every study has."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from varant.devices import is_cuda
from varant.errors import UserError
from varant.flags import Positive, Processes, Seed, Times, plain
from varant.start.config import DataConfig, RunConfig, SamplingConfig, StartConfig
from varant.values import cores

# Flags that say where and how, not what is measured.
NOT_MEASURED = (
    "workspace",
    "workers",
    "scheduler",
    "retry_failed",
    "dry_run",
    "sample_batch",
    "skip_unreadable",
)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How cells are measured."""

    samples: Positive | None = None
    """Generated images a cell; default: as many as the power asks for, at most 10,000; where it
    is not asked (sensitivity, noise, a setting without a table of studies.noise) as many as the
    ladder had, else 2,000."""
    nll_images: Positive | None = None
    """Test images a cell for the teacher-forced NLL; default: 2000 (500 in maps, where it never
    decides), or as many as there are."""
    extractor: str = "packaged"
    """Features that decide: packaged (of an embedded data set), inception, or a TorchScript file
    that declares its input_size as an extra file; it is a program that runs with your rights."""
    inception: Path | None = None
    """For --extractor inception: its TorchScript file, such as inception-2015-12-05.pt; default:
    clean-fid's, if it is in its cache."""
    resize: Literal["legacy", "clean"] = "legacy"
    """How images get Inception's 299 pixels: legacy, as published figures (ADM's evaluator), or
    clean, with antialiasing (clean-fid)."""
    reference: Path | None = None
    """NPZ file with mu and sigma of the features of real images, as ADM's; default: reconstructed
    test images."""
    ladder: Path | None = None
    """Table of studies.ladder: which metrics may decide; default: the packaged one, if any."""
    noise: Path | None = None
    """Table of studies.noise, by which power is planned; default: the packaged one, if any."""
    sample_batch: Positive = 250
    """Images generated at once."""

    def check(self) -> None:
        if self.samples is not None and self.samples < 2:
            raise UserError(f"--samples {self.samples}: a distance needs at least 2")
        resize = None if self.resize == "legacy" else self.resize
        given = {"inception": self.inception, "resize": resize, "reference": self.reference}
        for flag, value in given.items():
            if value is not None and self.extractor != "inception":
                raise UserError(f"--{flag} {value}: goes with --extractor inception")
        if self.extractor == "inception" and self.inception_file is None:
            raise UserError(
                "--extractor inception: give its TorchScript file by --inception; clean-fid has "
                "none in its cache, and nothing is downloaded"
            )
        if self.script is not None and not os.path.isfile(self.script):  # whatever the name
            raise UserError(
                f"--extractor {self.extractor}: use packaged, inception, or a TorchScript file"
            )

    @property
    def inception_file(self) -> Path | None:
        """Inception's file, where it is asked for: the given one, else clean-fid's."""
        if self.extractor != "inception":
            return None
        from varant.evaluation.inception import cached_inception

        return self.inception or cached_inception()

    @property
    def script(self) -> Path | None:
        named = self.extractor in ("packaged", "inception")
        return None if named else Path(self.extractor)


@dataclass(frozen=True, kw_only=True)
class StudyRunConfig(RunConfig):
    """Where it runs, and what carries its cells."""

    workers: Processes | None = None
    """One-thread processes that run cells; 1 runs them in this process. Default: as many as cores,
    or 1 with --device cuda."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers run the cells, such as tcp://host:8786."""
    retry_failed: bool = False
    """Run cells again that failed or diverged."""

    def check(self) -> None:
        if self.scheduler is not None and self.workers is not None:
            raise UserError(
                f"--workers {self.workers}: --scheduler has workers of its own; drop it"
            )


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A study from flags to folder; each has one of its own that begins with these sections."""

    data: DataConfig = DataConfig()
    start: StartConfig = StartConfig()
    sampling: SamplingConfig = SamplingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: StudyRunConfig = StudyRunConfig()
    seed: Seed = 0
    """First unit."""
    units: Times | None = None
    """Base networks, each with its own training seed, uniforms and test images, numbered from
    --seed on; a verdict needs 5. Default: 5, or 1 with --model or --vae."""
    default_units: ClassVar[int] = 5
    powered: ClassVar[str | None] = None
    """The quantity of `analysis.statistics.noise` whose power sets `--samples`."""
    most_samples: ClassVar[int] = 10_000
    likelihood_images: ClassVar[int] = 2_000

    @classmethod
    def quick_defaults(cls) -> Self:
        """What `--quick` puts in place of the defaults."""
        return cls(evaluation=EvaluationConfig(samples=160, nll_images=200), units=1)

    def check(self) -> None:
        if self.data.dataset == "folder" and self.evaluation.extractor == "packaged":
            raise UserError(
                "--dataset folder: has no packaged features; give --extractor inception and its "
                "file, or --extractor FILE"
            )
        if self.run.quick and self.data.dataset == "folder":
            raise UserError("--quick: runs on the embedded data sets only")
        if self.given and self.units not in (None, 1):
            raise UserError(f"--units {self.units}: {self.given} gives one network; leave it 1")
        if not math.isfinite(self.sampling.cfg):
            raise UserError(f"--cfg {self.sampling.cfg}: must be a finite number")

    @property
    def given(self) -> str:
        """The flag that names the network that the study starts from; empty without one."""
        return "--model" if self.start.model else "--var" if self.start.var else ""

    @property
    def unit_numbers(self) -> tuple[int, ...]:
        units = self.units or (1 if self.given else self.default_units)
        return tuple(range(self.seed, self.seed + units))

    @property
    def trained_for(self) -> int | None:
        """The switch point that flags name; None for the default, and for studies without one."""
        return None

    @property
    def training_seeds(self) -> int:
        return 1

    @property
    def more_times(self) -> Mapping[str, int]:
        """Other flags that multiply the grid, and how often."""
        return {}

    @property
    def workers(self) -> int:
        return self.run.workers or (1 if is_cuda(self.run.device) else cores())

    @property
    def measured(self) -> dict[str, Any]:
        """The flags that say what is measured, JSON-ready."""
        preset = self.start.preset_made(self.run.quick)
        return plain(self, without=NOT_MEASURED) | {"preset": preset}
