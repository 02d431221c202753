"""What a run starts from: resolved from flags before anything is made, then materialised.

`resolve` looks at data set and files as far as their headers; `materialise` makes what the
workspace lacks. Both serve training, sampling and studies alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from varant.data.datasets import Dataset, load_dataset
from varant.data.folders import folder_dataset
from varant.data.tokens import EVERY_SPLIT, Tokenising
from varant.errors import UserError
from varant.files import digest_of, sha256_file
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256, Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR
from varant.progress import Progress
from varant.randomness import torch_seed
from varant.start.config import DataConfig, StartConfig, TrainStartConfig
from varant.start.preparation import (
    BaseJob,
    PreparedTokens,
    prepare_tokenizer,
    prepare_tokens,
    psnr_of,
)
from varant.start.presets import QUICK_BASE, BaseConfig
from varant.store.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    LoadedModel,
    load,
    load_tokenizer,
    read_config,
    read_sizes,
    save,
)
from varant.store.official import load_official, load_official_tokenizer, official_sizes
from varant.store.workspace import Workspace

FINE_TUNING_LR = 1e-3  # of a small network that was trained before
OFFICIAL_LR = 1e-6  # of official checkpoints (VARiant, arXiv 2511.16546)


def scratch_lr(geometry: Geometry, batch: int) -> float:
    """Peak learning rate from scratch: VAR's 1e-4 x batch / 256, or 5e-3 for small networks."""
    return 1e-4 * batch / 256 if geometry.width >= 256 else 5e-3


@dataclass(frozen=True, kw_only=True)
class TrainedHere:
    """A tokenizer and base networks that are trained in the workspace, once."""

    config: BaseConfig

    @property
    def tokenizer_config(self) -> TokenizerConfig:
        return self.config.tokenizer

    lr = FINE_TUNING_LR
    description = "base network trained by this study"

    def tokenizer_folder(
        self, workspace: Workspace, dataset: Dataset, progress: Progress, *, skip_unreadable: bool
    ) -> Path:
        return prepare_tokenizer(
            workspace, self.config, dataset, progress, skip_unreadable=skip_unreadable
        )


@dataclass(frozen=True, kw_only=True)
class OwnCheckpoint:
    """A checkpoint folder of ours."""

    folder: Path
    tokenizer_config: TokenizerConfig
    geometry: Geometry
    lr = FINE_TUNING_LR

    @classmethod
    def at(cls, folder: Path) -> OwnCheckpoint:
        """The checkpoint in `folder`, of which the config alone is read.

        Raises:
            UserError: no checkpoint of tokenizer and network there.
        """
        sizes = read_sizes(folder)
        assert sizes.geometry is not None
        return cls(folder=folder, tokenizer_config=sizes.tokenizer, geometry=sizes.geometry)

    @property
    def description(self) -> str:
        return f"checkpoint {self.folder.name}"

    def tokenizer_folder(
        self, workspace: Workspace, dataset: Dataset, progress: Progress, *, skip_unreadable: bool
    ) -> Path:
        return self.folder


@dataclass(frozen=True, kw_only=True)
class OfficialFiles:
    """Published files, which become a checkpoint folder of ours in the workspace.

    Attributes:
        var, geometry: None for the tokenizer alone.
    """

    vae: Path
    var: Path | None
    tokenizer_config: TokenizerConfig
    geometry: Geometry | None
    lr = OFFICIAL_LR

    @property
    def description(self) -> str:
        return (self.var or self.vae).name

    def tokenizer_folder(
        self, workspace: Workspace, dataset: Dataset, progress: Progress, *, skip_unreadable: bool
    ) -> Path:
        files = {"vae": self.vae} | ({"var": self.var} if self.var else {})
        sides = self.tokenizer_config.patch_nums
        identity = {name: sha256_file(path) for name, path in files.items()} | {"sides": sides}
        folder = workspace.model(digest_of(identity))
        if not (folder / CONFIG_FILE).exists():
            if self.var is not None:
                tokenizer, model = load_official(vae=self.vae, var=self.var)
            else:
                tokenizer, model = load_official_tokenizer(self.vae, sides), None
            save(folder, tokenizer, model, note={"identity": identity})
        return folder


Source = TrainedHere | OwnCheckpoint | OfficialFiles


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a run would start from; nothing is made yet.

    Attributes:
        seeds: of the base networks, or of an untrained one.
        scratch: whether the network is untrained.
        lr: the default peak learning rate of such a start.
        training_images: that the network has seen, None where that is not known.
    """

    source: Source
    data: DataConfig
    dataset: Dataset
    geometry: Geometry
    seeds: tuple[int, ...]
    scratch: bool
    lr: float
    training_images: int | None

    @property
    def description(self) -> str:
        return self.source.description


def open_dataset(data: DataConfig, side: int, limit: int | None = None) -> Dataset:
    """The data set of the flags, with images of `side` pixels.

    Raises:
        UserError: a folder that is none of images, or embedded images of another size.
    """
    if data.dataset == "folder":
        assert data.data_path is not None
        return folder_dataset(data.data_path, side=side)
    dataset = load_dataset(data.dataset, limit=limit)
    if dataset.image_side != side:
        raise UserError(
            f"--dataset {data.dataset}: has {dataset.image_side} px images; the tokenizer takes "
            f"{side} px"
        )
    return dataset


def _source(start: StartConfig, quick: bool) -> Source:
    if start.model is not None:
        return OwnCheckpoint.at(start.model)
    sides = start.patch_nums if isinstance(start, TrainStartConfig) else None
    if start.vae is not None:
        sizes = official_sizes(
            vae=start.vae, var=start.var, patch_nums=sides or OFFICIAL_PATCH_NUMS_256
        )
        return OfficialFiles(
            vae=start.vae, var=start.var, tokenizer_config=sizes.tokenizer, geometry=sizes.geometry
        )
    base = QUICK_BASE if quick else BaseConfig()
    base = replace(base, training=replace(base.training, budget_images=start.base_budget))
    if sides is not None:
        base = replace(base, tokenizer=replace(base.tokenizer, patch_nums=sides))
        base = base.with_geometry(patch_nums=sides)
    return TrainedHere(config=base)


def resolve(
    start: StartConfig,
    data: DataConfig,
    *,
    seeds: Sequence[int] = (0,),
    quick: bool = False,
    batch: int = 64,
) -> Resolved:
    """What these flags start from.

    Args:
        batch: of the training that follows; the default learning rate from scratch needs it.

    Raises:
        UserError: files or data that cannot be read, or that do not fit each other.
    """
    source = _source(start, quick)
    limit = QUICK_BASE.limit if quick else None
    dataset = open_dataset(data, source.tokenizer_config.image_side, limit)
    scratch = isinstance(start, TrainStartConfig) and start.from_scratch
    images = None
    if isinstance(source, TrainedHere):
        base = source.config.with_geometry(num_classes=dataset.num_classes)
        source, geometry = TrainedHere(config=base), base.geometry
        images = base.training.image_passes
    elif source.geometry is not None:
        geometry = source.geometry
        if geometry.num_classes != dataset.num_classes:
            raise UserError(
                f"--dataset {data.dataset}: has {dataset.num_classes} classes; the network that "
                f"you start from has {geometry.num_classes}"
            )
    else:
        geometry = BaseConfig().geometry
    lr = source.lr
    if scratch:
        assert isinstance(start, TrainStartConfig)
        geometry = _scratch_geometry(start, source.tokenizer_config, geometry, dataset)
        lr, images = scratch_lr(geometry, batch), None
    return Resolved(
        source=source,
        data=data,
        dataset=dataset,
        geometry=geometry,
        seeds=tuple(seeds),
        scratch=scratch,
        lr=lr,
        training_images=images,
    )


def _scratch_geometry(
    start: TrainStartConfig, tokenizer: TokenizerConfig, default: Geometry, dataset: Dataset
) -> Geometry:
    """Sizes of a network from scratch: the flags', else the small default's or VAR's rule."""
    official = start.vae is not None
    depth = start.depth or (16 if official else default.depth)
    width = start.width or (64 * depth if official else default.width)
    channels = 64 if official else default.head_dim
    return Geometry(
        depth=depth,
        width=width,
        heads=start.heads or max(1, width // channels),
        patch_nums=tokenizer.patch_nums,
        vocab_size=tokenizer.vocab_size,
        code_channels=tokenizer.code_channels,
        num_classes=dataset.num_classes,
    )


@dataclass(frozen=True, kw_only=True)
class NetworkFiles:
    """A network in a checkpoint folder of ours.

    Attributes:
        sha256: of its weights: what depends on them knows them by it.
        seed: of the base network's training; for given files, the run's own seed.
    """

    folder: Path
    sha256: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from, made.

    Attributes:
        tokenizer: on the device.
        tokens: of the data set, by this tokenizer.
        networks: one a seed; none from scratch.
    """

    resolved: Resolved
    tokenizer: Tokenizer
    tokenizer_folder: Path
    tokenizer_sha256: str
    tokens: PreparedTokens
    networks: tuple[NetworkFiles, ...]

    @property
    def origin(self) -> dict[str, Any]:
        """What the network is: a part of the identity of what is trained from it."""
        if self.resolved.scratch:
            geometry = self.resolved.geometry
            return {"scratch": geometry.as_dict(), "seed": self.resolved.seeds[0]}
        return {"network": self.networks[0].sha256}

    @cached_property
    def psnr_db(self) -> float:
        """Of reconstructed select images."""
        return psnr_of(self.tokenizer_folder, self.tokenizer, self.resolved.dataset)

    def make_model(self) -> VAR:
        """The first network, on the CPU."""
        if not self.resolved.scratch:
            return load(self.networks[0].folder).model
        with torch_seed(self.resolved.seeds[0]):
            return VAR(self.resolved.geometry)


RunJobs = Callable[[Sequence[BaseJob]], None]


def materialise(
    resolved: Resolved,
    workspace: Workspace,
    progress: Progress,
    *,
    device: str = "cpu",
    tokenising: Tokenising = EVERY_SPLIT,
    run_jobs: RunJobs = lambda jobs: None,
) -> Start:
    """Make what the workspace lacks: tokenizer, tokens, base networks.

    Args:
        tokenising: of the tokens that the run reads; base networks train on the plain ones.
        run_jobs: trains several base networks at once where it can; what it leaves is trained here.
    """
    source, dataset = resolved.source, resolved.dataset
    skip = resolved.data.skip_unreadable
    folder = source.tokenizer_folder(workspace, dataset, progress, skip_unreadable=skip)
    tokenizer = load_tokenizer(folder).to(device)
    sha256 = read_config(folder)["sha256"][TOKENIZER_FILE]

    def tokens(wanted: Tokenising) -> PreparedTokens:
        wanted = replace(wanted, skip_unreadable=skip)
        return prepare_tokens(workspace, dataset, tokenizer, sha256, progress, wanted)

    folders = [folder] * len(resolved.seeds)
    if isinstance(source, TrainedHere) and not resolved.scratch:
        plain = tokens(EVERY_SPLIT)
        jobs = [
            BaseJob(
                workspace=workspace,
                config=source.config.with_seed(seed),
                tokenizer_folder=folder,
                tokens=plain,
                device=device,
            )
            for seed in resolved.seeds
        ]
        missing = [job for job in jobs if not job.finished]
        if len(missing) > 1:
            run_jobs(missing)
        for job in jobs:
            job.run(progress)
        folders = [job.folder for job in jobs]
    networks: tuple[NetworkFiles, ...] = ()
    if not resolved.scratch:
        networks = tuple(
            NetworkFiles(folder=at, sha256=read_config(at)["sha256"][MODEL_FILE], seed=seed)
            for at, seed in zip(folders, resolved.seeds, strict=True)
        )
    return Start(
        resolved=resolved,
        tokenizer=tokenizer,
        tokenizer_folder=folder,
        tokenizer_sha256=sha256,
        tokens=tokens(tokenising),
        networks=networks,
    )


def load_given(start: StartConfig) -> LoadedModel:
    """Tokenizer and network that `--model`, or `--vae` and `--var`, name.

    Raises:
        UserError: neither, or files that cannot be read.
    """
    if start.model is not None:
        return load(start.model)
    if start.vae is None or start.var is None:
        raise UserError("--model: give a checkpoint folder, or --vae and --var, and not both")
    return load_official(vae=start.vae, var=start.var)
