"""`study.json`: what a study says of itself, in one class that writes it and reads it.

Studies make a `StudyFile` (or the class of their kind), reports and analysis read it: nobody looks
up keys. Classes are frozen; all but the two that read any kind of study refuse unknown fields.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from analysis.errors import REMEDY, FrameError, validation_text, verified

FILE, FRAME_FILE = "study.json", "frame.parquet"
CURVES_FILE, SHEET_FILE = "curves.parquet", "samples.npz"
"""What lies in a study's folder."""

STATUSES = ("finished", "failed", "diverged", "ended worse", "interrupted", "pending")
"""How a cell ended. `ended worse`: a training that did harm, and what would measure its network; it
has no numbers, as one that failed. `pending`: of a study that runs, what it has still to do."""

COMMON_BLOCK = 1000  # of a frame's `group`: from it on blocks are of what all units share
Zone = Literal["full", "subnets"]
ScaleZone = Literal["early", "middle", "late"]
REAL, BASE, CONTROL = "real", "base", "full"  # kinds of the anchors in a frame
EQUIDISTANT = "equidistant"  # the paper's selector: the one that claims speak of
STAND_ALONE = "alone"  # the rival whose networks are trained for one plan each


def with_selector(name: object, selector: object) -> str:
    """For showing only: `d4@3`, `d4@3 (nested)`; the paper's selector goes without saying."""
    return f"{name}" if selector in (None, EQUIDISTANT) else f"{name} ({selector})"


class Facts(BaseModel):
    """A part of a study file; made from what has its fields as attributes, too."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True)

    @classmethod
    def read(cls, path: Path, *, listed: bool = False) -> Self:
        """Of a JSON file; `FrameError`, in one line, for one that cannot be used.

        Args:
            listed: whether it must be in its folder's manifest.
        """
        try:
            return cls.model_validate_json(verified(path, listed=listed).read_bytes())
        except ValidationError as error:
            raise FrameError(f"{path}: {validation_text(error)}") from None
        except OSError as error:
            raise FrameError(f"{path}: cannot be read ({error.strerror}); {REMEDY}") from None

    def json_text(self) -> str:
        """A field a line: lists of layers and models would fill thousands."""
        fields = json.loads(self.model_dump_json()).items()
        lines = (f"{json.dumps(name)}: {json.dumps(value)}" for name, value in fields)
        return "{\n" + ",\n".join(lines) + "\n}\n"


class HardwareFacts(Facts):
    """The machine. `workers` are processes that ran cells, of `threads_per_process` each;
    `precision` is the type that networks were measured in, and trained in by autocast."""

    cpu: str
    cores: int
    threads_per_process: int
    workers: int
    device: str
    precision: str = "float32"
    platform: str
    gpu: str | None = None

    @property
    def element_bytes(self) -> int:
        """Of a weight, or a number of the cache."""
        return 4 if self.precision == "float32" else 2


class DatasetFacts(Facts):
    """`units_share_images`: no unit has test images of its own, since the data set is finite."""

    name: str
    digest: str
    train_images: int
    select_images: int
    test_images: int
    image_side: int
    num_classes: int
    units_share_images: bool = False


class TokenizerFacts(Facts):
    """`psnr_db`: of reconstructed select images."""

    digest: str
    description: str
    psnr_db: float


class ExtractorFacts(Facts):
    name: str
    digest: str
    features: int


class BaseFacts(Facts):
    """A network that the study started from, with its own levels where they were measured."""

    unit: int
    digest: str
    parameters: int
    training_images: int | None = None
    nll_mean: float | None = None
    class_accuracy: float | None = None


class GeometryFacts(Facts):
    depth: int = Field(ge=1)
    width: int
    heads: int
    patch_nums: tuple[int, ...] = Field(min_length=1)
    vocab_size: int
    code_channels: int
    num_classes: int
    mlp_ratio: int
    shared_adaln: bool


class SamplingFacts(Facts):
    """Image i has class i mod `num_classes`; uniforms are those of (unit, i) under any plan.

    `samples` is 0 where likelihood is all.
    """

    samples: int
    cfg: float
    top_k: int
    top_p: float


class LikelihoodFacts(Facts):
    """Test images a unit of the teacher-forced NLL, and select images that choose."""

    nll_images: int
    select_images: int = 0


class SecondsFacts(Facts):
    """Wall time of the last invocation, of preparation within it, and process time of all cells."""

    wall: float
    preparation: float
    cells: float


class SpreadFacts(Facts):
    """What a planned test of a loss rests on: the margin, the standard deviation of a unit's
    difference, and the variance that all units share, with its degrees of freedom."""

    margin: float
    deviation: float
    common: float = 0.0
    common_freedom: int = 0


class StudyHead(Facts, extra="ignore"):
    """What any study says, whatever it measures; the rest of its file is left out.

    Attributes:
        frame_sha256: of `frame.parquet`, of which alone it speaks.
        pending: cells that the study, which runs or was stopped, has still to do.
    """

    format: Literal["varant-study"] = "varant-study"
    version: Literal[3] = 3
    study: str
    quick: bool
    command: str
    code_version: str
    created: AwareDatetime
    hardware: HardwareFacts
    versions: Mapping[str, str]
    frame_sha256: str
    config_digest: str
    pending: int = 0

    @property
    def measured_on(self) -> str:
        """What it was measured on, as a report's subtitle says it."""
        return ""

    @property
    def preliminary(self) -> str:
        """Why none of it is a result, as every page says; empty where it may be."""
        if self.pending:
            return f"NOT FINISHED: {self.pending:,} cells are to come"
        return "QUICK RUN: not a result" if self.quick else ""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read and check a study's file.

        Raises:
            FrameError: in one line, naming file, what is wrong with it, and remedy.
        """
        if not path.is_file():
            raise FrameError(
                f"{path.parent}: not a study folder (no {path.name}); name a folder such as "
                "runs/sensitivity that a study wrote"
            )
        return cls.read(path, listed=True)


class StudyFile(StudyHead, extra="forbid"):
    """Of a study that measures depth plans.

    Attributes:
        config: the flags that say what is measured, by name.
        extractors: feature spaces of the samples' scores: the first decides, the second knows
            nothing of classes.
        model: what the networks under test are, in a few words.
        plans: cell digest to the layers of each scale.
        ladder: metric to whether it saw known damage of each zone's last scale
            (`studies.ladder`); None where that was not run for these features. `floor_spreads`:
            by distance, the standard deviation of its real images, where they were as many as this
            study's samples.
        power: line of the ledger (`C2`, `C4 half the layers`: a claim and its part) and metric to
            the planned power at a true loss of zero; None where nothing was planned. `spreads`:
            what it follows from, for any number of units.
        pooled: folders of other units that it was joined from; none of a study that ran.
    """

    question: str
    title: str | None = None
    config: Mapping[str, Any]
    seconds: SecondsFacts
    dataset: DatasetFacts
    tokenizer: TokenizerFacts
    extractors: tuple[ExtractorFacts, ...] = Field(min_length=1)
    bases: tuple[BaseFacts, ...]
    model: str
    geometry: GeometryFacts
    sampling: SamplingFacts
    likelihood: LikelihoodFacts
    plans: Mapping[str, tuple[tuple[int, ...], ...]] = {}
    ladder: Mapping[str, Mapping[ScaleZone, bool]] | None = None
    floor_spreads: Mapping[str, float] = {}
    power: Mapping[str, Mapping[str, float]] | None = None
    spreads: Mapping[str, Mapping[str, tuple[SpreadFacts, ...]]] | None = None
    pooled: tuple[str, ...] = ()

    @property
    def measured_on(self) -> str:
        return self.dataset.name


class AnyStudyFile(StudyFile, extra="ignore"):
    """Of a study of any kind that measures depth plans; what its kind adds is left out."""


class SensitivityFile(StudyFile):
    """`windows`: early, middle and late scales, from 1."""

    depths: tuple[int, ...]
    half_depth: int = Field(ge=1)
    selectors: tuple[str, ...] = Field(min_length=1)
    windows: Mapping[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _windows_are_of_this_network(self) -> Self:
        scales = len(self.geometry.patch_nums)
        for name, window in self.windows.items():
            if not window or not all(1 <= scale <= scales for scale in window):
                raise ValueError(f"window {name!r} has scales {list(window)} of {scales}")
        return self

    @property
    def selector(self) -> str:
        """The selector that figures and claims speak of: the paper's where the study has it."""
        return EQUIDISTANT if EQUIDISTANT in self.selectors else self.selectors[0]


class ScheduleFacts(Facts):
    """A way to train. `label` is its name in the frame's column `schedule`.

    Attributes:
        share: of the control and of fixed schedules.
        mean_share: p averaged over the training; None for sandwich.
        selector: of the subnets that are trained; None for the control, which trains none.
        switch: the switch point that is trained for.
        passes: of an image in a step.
    """

    label: str
    kind: str
    share: float | None
    mean_share: float | None
    start_share: float | None = None
    end_share: float | None = None
    phases: tuple[float, ...] | None = None
    ramp: str | None = None
    selector: str | None
    switch: int
    passes: int


class ModelFacts(Facts):
    """A model that was to be trained, whatever became of it. `rival`: for which of them, if any."""

    schedule: str
    rival: str | None = None
    unit: int
    seed: int
    status: str
    error: str | None = None
    digest: str
    folder: str  # of the network, as seen from the study's
    full_passes: int
    sha256: str | None = None
    seconds: float | None = None
    image_passes: int | None = None
    training_flops: float | None = None
    realised_share: float | None = None


class SupernetFile(StudyFile):
    """Of a study that trains.

    Attributes:
        train_switch: the switch point that models are trained for; where a study has several, that
            of its setting, at which untrained damage is the measure of losses.
        default_switch: that such a network is trained for where no flag says otherwise.
        kv_full_bytes: peak cache of the full network, an image.
    """

    depths: tuple[int, ...]
    selectors: tuple[str, ...]
    schedules: tuple[ScheduleFacts, ...] = Field(min_length=1)
    units: tuple[int, ...] = Field(min_length=1)
    budget_images: int
    batch: int
    lr: float
    lr_schedule: str
    train_switch: int = Field(ge=0)
    default_switch: int | None = None
    kv_full_bytes: float
    models: tuple[ModelFacts, ...]


class PaperCost(Facts):
    """What a plan of VAR-d30 costs at batch 64 with guidance, by arithmetic."""

    kv_mib_reference: float
    kv_mib_limit: float
    flops_share: float


class RivalFacts(Facts):
    """A peer's way that was measured beside the study's own.

    Attributes:
        name: in the frame's column `rival`.
        rule: what it does, in a sentence.
        source: whose it is.
    """

    name: str
    rule: str
    source: str


class ParetoFile(SupernetFile):
    """`paper_cost`: by plan, as a command line spells it."""

    rivals: tuple[RivalFacts, ...] = ()
    kv_budgets: tuple[float, ...]
    paper_cost: Mapping[str, PaperCost]


class RegimeFile(ParetoFile):
    """A study of one switch point in every regime: an age of the base and a peak learning rate.

    In each it is a small pareto study, as which claims read it; no plan is chosen by memory. `lr`
    is the first of `rates`.

    Attributes:
        ages: training images of the bases, ascending.
        rates: peak learning rates, ascending.
        gradient_images: select images of a gradient.
    """

    kv_budgets: tuple[float, ...] = ()
    paper_cost: Mapping[str, PaperCost] = {}
    ages: tuple[int, ...] = Field(min_length=1)
    rates: tuple[float, ...] = Field(min_length=1)
    gradient_images: int
