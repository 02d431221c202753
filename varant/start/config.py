"""Sections of a command's config that say what a run starts from; see `varant.flags`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from varant.devices import Precision
from varant.errors import UserError
from varant.flags import Count, Natural, NotNegative, OutFolder, Positive, Processes, Share, Sides
from varant.presets import DEFAULT, QUICK, PresetName
from varant.store.hub import local

DatasetName = Literal["shapes", "digits", "folder"]
BaseSource = Literal["packaged", "train"]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What images: of an embedded data set, or of a folder."""

    dataset: DatasetName = "shapes"
    """Embedded data sets, or a folder of image files."""
    data_path: Path | None = None
    """For --dataset folder: a folder of class folders, or of train/ and val/ with class folders."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read, and list them."""

    def check(self) -> None:
        if (self.dataset == "folder") != (self.data_path is not None):
            raise UserError(
                "--data-path: goes with --dataset folder, and --dataset folder needs it"
            )


@dataclass(frozen=True, kw_only=True)
class TrainDataConfig(DataConfig):
    """What images, and how they are fed."""

    flip: bool = False
    """Train on mirrored images as well."""
    online: bool = False
    """Read, crop, flip and tokenise images at every step in place of tokens made once."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Which network: a folder of ours, or the files of an official checkpoint."""

    model: Path | None = None
    """A checkpoint folder of ours."""
    vae: Path | None = None
    """The tokenizer of an official checkpoint, or hf:owner/name/file on the Hugging Face hub
    (extra `hub`); from scratch, also a folder of varant.train_tokenizer."""
    var: Path | None = None
    """The transformer of an official checkpoint, with --vae; or hf:owner/name/file."""
    preset: PresetName | None = None

    def check(self) -> None:
        if self.var is not None and self.vae is None:
            raise UserError(f"--var {self.var}: give its tokenizer as --vae")
        if self.vae is not None and self.var is None:
            raise UserError(f"--vae {self.vae}: give --var to start from")
        if self.model is not None and self.vae is not None:
            raise UserError(f"--model {self.model}: one start only; drop --vae")
        self.check_preset()

    def check_preset(self) -> None:
        """A preset sizes what is packaged or made here, not what is given."""
        given = {"--model": self.model, "--vae": self.vae}
        for flag, path in given.items():
            if path is not None and self.preset is not None:
                raise UserError(
                    f"--preset {self.preset}: {flag} {path} has sizes of its own; drop one of them"
                )

    def fetched(self) -> Self:
        """With the files of the hub that it names on this machine; `UserError` as `hub.local`."""
        given = {"vae": self.vae, "var": self.var}
        files: dict[str, Any] = {k: local(v, f"--{k}") for k, v in given.items() if v is not None}
        return replace(self, **files)


@dataclass(frozen=True, kw_only=True)
class PackagedConfig(NetworkConfig):
    """Which network; by default the first of the package."""

    preset: PresetName | None = None
    """Whose packaged network to take where none is named; default: small's."""


@dataclass(frozen=True, kw_only=True)
class StartConfig(NetworkConfig):
    """Which network to start from; by default a base network of the package."""

    preset: PresetName | None = None
    """Sizes of data, tokenizer and base network: tiny (five scales, eight layers), small (eight
    and sixteen) or ten (the paper's ten scales); default: small, or tiny with --quick."""
    base: BaseSource | None = None
    """Base networks of the package, or trained here by the preset's recipe; default: of the
    package where it has them (README), for as many units as it has."""
    base_budget: Count | None = None
    """Training images of a base network, where it is trained here; default: the preset's."""

    def check(self) -> None:
        super().check()
        if self.base is not None and (self.model or self.vae):
            raise UserError(f"--base {self.base}: you name a network; drop one of them")
        if self.base == "packaged" and self.base_budget is not None:
            raise UserError(
                f"--base-budget {self.base_budget}: trains a base network, --base packaged does not"
            )

    def preset_name(self, quick: bool) -> PresetName:
        """The preset whose sizes what is made here has."""
        return self.preset or (QUICK if quick else DEFAULT)

    def preset_made(self, quick: bool) -> PresetName | None:
        """The same; None where a network is given, which has sizes of its own."""
        return None if self.model or self.vae else self.preset_name(quick)


@dataclass(frozen=True, kw_only=True)
class TrainStartConfig(StartConfig):
    """Which network to start from; by default a base network of the package, which is trained here,
    once, where the package has none."""

    from_scratch: bool = False
    """Start from an untrained network."""
    depth: Positive | None = None
    """Layers of a network from scratch; default: the preset's, or 16 with --vae."""
    width: Positive | None = None
    """Width of a network from scratch; default: the preset's, or 64 x depth with --vae."""
    heads: Positive | None = None
    """Heads of a network from scratch; default: 16 channels each, or 64 with --vae."""
    patch_nums: Sides | None = None
    """Sides of the token maps of a tokenizer trained here, such as 1,2,3,4,6 (image side 4 x the
    last); default: the preset's; with --vae --from-scratch: the scales to use it at."""

    def check(self) -> None:
        given = {"--model": self.model, "--var": self.var}
        for flag, path in given.items():
            if path is not None and self.from_scratch:
                raise UserError(f"{flag} {path}: one start only; drop it or --from-scratch")
            if path is not None and self.patch_nums is not None:
                shown = ",".join(map(str, self.patch_nums))
                raise UserError(
                    f"--patch-nums {shown}: the network that you start from has its own"
                )
        if self.from_scratch:
            self.check_preset()
            return
        if self.vae is not None and self.var is None:
            raise UserError(f"--vae {self.vae}: give --var to start from, or --from-scratch")
        for name in ("depth", "width", "heads"):
            if (size := getattr(self, name)) is not None:
                raise UserError(f"--{name} {size}: sizes a network --from-scratch only")
        super().check()


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How images are drawn: guidance, and which codes are sampled among."""

    cfg: float = 0.0
    """Classifier-free guidance; 0 is off."""
    top_k: Natural = 0
    """Sample among the k likeliest codes; 0 is off."""
    top_p: Share = 0.0
    """Sample among the likeliest codes of this probability; 0 is off."""


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where it runs."""

    workspace: OutFolder = Path("runs")
    """Folder of all that studies write: data, tokenizers, base networks, results."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    precision: Precision = "float32"
    """Type of the arithmetic: training by autocast, else with the weights held in it; float16 on
    CUDA only. Heads, probabilities and token maps are always float32."""
    quick: bool = False
    """The whole path on little data; every output is marked, none is a result."""
    dry_run: bool = False
    """Print config, work and expected cost; run nothing."""


@dataclass(frozen=True, kw_only=True)
class TrainRunConfig(RunConfig):
    """Where it runs, and what it leaves behind; torchrun gives each process a CUDA device."""

    threads: Processes = 1
    """CPU threads of this process."""
    evaluate_every: Count | None = None
    """Images between two evaluations on the select split; default: a tenth of the budget."""
    evaluate_images: Positive = 500
    """Select images of an evaluation; all, where there are fewer."""
    log_every: Positive = 1
    """Steps between two lines of metrics.jsonl."""
    checkpoint_every: NotNegative = 60.0
    """Least seconds between two checkpoints, which also leave 30 times what the last one took; 0
    writes one after every step."""
    shard_optimiser: bool = False
    """Share out the optimiser's state among the processes of torchrun (ZeRO): 8 bytes a parameter
    less on each, and the same numbers."""
