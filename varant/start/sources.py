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
from varant.start.config import DataConfig, NetworkConfig, StartConfig, TrainStartConfig
from varant.start.preparation import BaseJob, PreparedTokens, prepare_tokenizer, prepare_tokens
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
from varant.training.tokenizer import reconstruction_psnr

FINE_TUNING_LR = 1e-3  # of a small network that was trained before
OFFICIAL_LR = 1e-6  # of official checkpoints (VARiant, arXiv 2511.16546)


def scratch_lr(geometry: Geometry, batch: int) -> float:
    """Peak learning rate from scratch: VAR's 1e-4 x batch / 256, or 5e-3 for small networks."""
    return 1e-4 * batch / 256 if geometry.width >= 256 else 5e-3


@dataclass(frozen=True, kw_only=True)
class TrainedHere:
    """A tokenizer and base networks that are trained in the workspace, once."""

    config: BaseConfig
    description = "base network trained by this study"
    lr = FINE_TUNING_LR

    @property
    def tokenizer(self) -> TokenizerConfig:
        return self.config.tokenizer


@dataclass(frozen=True, kw_only=True)
class Given:
    """A checkpoint folder of ours, or published files, which become one in the workspace.

    Attributes:
        tokenizer, geometry: read off the headers; no geometry of a published tokenizer alone.
    """

    files: NetworkConfig
    tokenizer: TokenizerConfig
    geometry: Geometry | None

    @property
    def description(self) -> str:
        if self.files.model is not None:
            return f"checkpoint {self.files.model.name}"
        published = self.files.var or self.files.vae
        return published.name if published else ""

    @property
    def lr(self) -> float:
        return OFFICIAL_LR if self.files.model is None else FINE_TUNING_LR

    def checkpoint(self, workspace: Workspace) -> Path:
        """The folder, made of published files unless the workspace has it."""
        if self.files.model is not None:
            return self.files.model
        vae, var, sides = self.files.vae, self.files.var, self.tokenizer.patch_nums
        assert vae is not None
        identity: dict[str, Any] = {"vae": sha256_file(vae), "sides": sides}
        identity |= {"var": sha256_file(var)} if var is not None else {}
        folder = workspace.model(digest_of(identity))
        if not (folder / CONFIG_FILE).exists():
            if var is None:
                save(folder, load_official_tokenizer(vae, sides), note={"identity": identity})
            else:
                save(folder, *load_official(vae=vae, var=var), note={"identity": identity})
        return folder


def load_given(files: NetworkConfig) -> LoadedModel:
    """Tokenizer and network that `--model`, or `--vae` and `--var`, name.

    Raises:
        UserError: neither, or files that cannot be read.
    """
    if files.model is not None:
        return load(files.model)
    if files.vae is None or files.var is None:
        raise UserError("--model: give a checkpoint folder, or --vae and --var, and not both")
    return load_official(vae=files.vae, var=files.var)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a run would start from; nothing is made yet.

    Attributes:
        seeds: of the base networks, or of an untrained one.
        scratch: whether the network is untrained.
        lr: the default peak learning rate of such a start.
        training_images: that the network has seen, None where that is not known.
    """

    source: TrainedHere | Given
    data: DataConfig
    dataset: Dataset
    geometry: Geometry
    seeds: tuple[int, ...]
    scratch: bool
    lr: float
    training_images: int | None


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
    asked = TrainStartConfig(**vars(start))
    source = _source(asked, quick)
    dataset = open_dataset(data, source.tokenizer.image_side, QUICK_BASE.limit if quick else None)
    images, lr = None, source.lr
    if asked.from_scratch:
        geometry = _scratch_geometry(asked, source.tokenizer, dataset)
        lr = scratch_lr(geometry, batch)
    elif isinstance(source, TrainedHere):
        geometry = replace(source.config.geometry, num_classes=dataset.num_classes)
        source = TrainedHere(config=replace(source.config, geometry=geometry))
        images = source.config.training.image_passes
    else:
        assert source.geometry is not None
        geometry = source.geometry
        if geometry.num_classes != dataset.num_classes:
            raise UserError(
                f"--dataset {data.dataset}: has {dataset.num_classes} classes; the network that "
                f"you start from has {geometry.num_classes}"
            )
    return Resolved(
        source=source,
        data=data,
        dataset=dataset,
        geometry=geometry,
        seeds=tuple(seeds),
        scratch=asked.from_scratch,
        lr=lr,
        training_images=images,
    )


def _source(start: TrainStartConfig, quick: bool) -> TrainedHere | Given:
    sides = start.patch_nums
    if start.model is not None:
        return Given(files=start, **read_sizes(start.model)._asdict())
    if start.vae is not None:
        sizes = official_sizes(start.vae, start.var, sides or OFFICIAL_PATCH_NUMS_256)
        return Given(files=start, **sizes._asdict())
    base = QUICK_BASE if quick else BaseConfig()
    base = replace(base, training=replace(base.training, budget_images=start.base_budget))
    if sides is not None:
        tokenizer = replace(base.tokenizer, patch_nums=sides)
        geometry = replace(base.geometry, patch_nums=sides)
        base = replace(base, tokenizer=tokenizer, geometry=geometry)
    return TrainedHere(config=base)


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


def _scratch_geometry(
    start: TrainStartConfig, tokenizer: TokenizerConfig, dataset: Dataset
) -> Geometry:
    """Sizes of a network from scratch: the flags', else the small default's or VAR's rule."""
    official, small = start.vae is not None, BaseConfig().geometry
    depth = start.depth or (16 if official else small.depth)
    width = start.width or (64 * depth if official else small.width)
    heads = start.heads or max(1, width // (64 if official else small.head_dim))
    return tokenizer.geometry(
        depth=depth, width=width, heads=heads, num_classes=dataset.num_classes
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
        """Of reconstructed select images: as noted beside the tokenizer, else measured now."""
        noted = (read_config(self.tokenizer_folder).get("note") or {}).get("psnr_db")
        select = self.resolved.dataset.select
        return noted if noted is not None else reconstruction_psnr(self.tokenizer, select)

    def make_model(self) -> VAR:
        """The first network, on the CPU."""
        if not self.resolved.scratch:
            return load(self.networks[0].folder).model
        with torch_seed(self.resolved.seeds[0]):
            return VAR(self.resolved.geometry)


def materialise(
    resolved: Resolved,
    workspace: Workspace,
    progress: Progress,
    *,
    device: str = "cpu",
    tokenising: Tokenising = EVERY_SPLIT,
    run_jobs: Callable[[Sequence[BaseJob]], None] = lambda jobs: None,
) -> Start:
    """Make what the workspace lacks: tokenizer, tokens, base networks.

    Args:
        tokenising: of the tokens that the run reads; base networks train on the plain ones.
        run_jobs: trains several base networks at once where it can; what it leaves is trained here.
    """
    source, dataset, skip = resolved.source, resolved.dataset, resolved.data.skip_unreadable
    if isinstance(source, TrainedHere):
        folder = prepare_tokenizer(workspace, source.config, dataset, progress, skip)
    else:
        folder = source.checkpoint(workspace)
    tokenizer = load_tokenizer(folder).to(device)
    sha256 = read_config(folder)["sha256"][TOKENIZER_FILE]

    def tokens(wanted: Tokenising) -> PreparedTokens:
        wanted = replace(wanted, skip_unreadable=skip)
        return prepare_tokens(workspace, dataset, tokenizer, sha256, progress, wanted)

    folders = [] if resolved.scratch else [folder] * len(resolved.seeds)
    if isinstance(source, TrainedHere) and not resolved.scratch:
        plain = tokens(EVERY_SPLIT)
        jobs = [
            BaseJob(
                workspace=workspace,
                config=replace(source.config, training=replace(source.config.training, seed=seed)),
                tokenizer_folder=folder,
                tokens=plain,
                device=device,
            )
            for seed in resolved.seeds
        ]
        missing = [job for job in jobs if not job.run_folder.finished]
        if len(missing) > 1:
            run_jobs(missing)
        for job in jobs:
            job.run(progress)
        folders = [job.run_folder.folder for job in jobs]
    networks = (
        NetworkFiles(folder=at, sha256=read_config(at)["sha256"][MODEL_FILE], seed=seed)
        for at, seed in zip(folders, resolved.seeds, strict=False)  # none from scratch
    )
    return Start(
        resolved=resolved,
        tokenizer=tokenizer,
        tokenizer_folder=folder,
        tokenizer_sha256=sha256,
        tokens=tokens(tokenising),
        networks=tuple(networks),
    )
