"""What a training starts from: tokenizer, data, network; made where the workspace lacks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from varant.data.datasets import Dataset, load_dataset
from varant.data.folders import folder_dataset
from varant.data.tokens import read_tokens
from varant.errors import UserError
from varant.files import sha256_file
from varant.flags import parse_budget
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256, Geometry
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.progress import Progress
from varant.randomness import torch_seed
from varant.start.preparation import (
    QUICK_BASE,
    BaseConfig,
    Workspace,
    prepare_base,
    prepare_tokenizer,
    prepare_tokens,
)
from varant.start.train_flags import TrainFlags, patch_nums_of
from varant.store.checkpoint import MODEL_FILE, TOKENIZER_FILE, load, load_tokenizer, read_config
from varant.store.official import load_official, load_official_tokenizer

FINE_TUNING_RATE = 1e-3  # of a small network that was trained before
OFFICIAL_RATE = 1e-6  # of official checkpoints (VARiant, arXiv 2511.16546)


def scratch_rate(geometry: Geometry, batch: int) -> float:
    """Peak learning rate from scratch: VAR's 1e-4 x batch / 256, or 5e-3 for small networks."""
    return 1e-4 * batch / 256 if geometry.width >= 256 else 5e-3


@dataclass(frozen=True, kw_only=True)
class Start:
    """What training starts from.

    Attributes:
        origin: says what it is, and is part of the run's identity.
        make_model: the network, loaded or initialised anew at each call.
        learning_rate: the default for such a start.
    """

    tokenizer: Tokenizer
    tokenizer_sha256: str
    geometry: Geometry
    make_model: Callable[[], VAR]
    origin: dict
    learning_rate: float
    dataset: Dataset


def base_config(flags: TrainFlags) -> BaseConfig:
    """The base network of these flags: small, for any data set."""
    base = QUICK_BASE if flags.quick else BaseConfig()
    if not flags.quick:
        budget = parse_budget("--base-budget", flags.base_budget)
        base = replace(base, training=replace(base.training, budget_images=budget))
    sides = patch_nums_of(flags)
    if sides is not None:
        base = replace(
            base,
            tokenizer=replace(base.tokenizer, patch_nums=sides),
            geometry=replace(base.geometry, patch_nums=sides),
        )
    return replace(base, dataset=flags.dataset).with_seed(flags.seed)


def scratch_geometry(
    flags: TrainFlags, tokenizer: Tokenizer, num_classes: int, default: Geometry
) -> Geometry:
    """Sizes of a network from scratch: the flags', else the small default's or VAR's rule."""
    official = flags.vae is not None
    depth = flags.depth or (16 if official else default.depth)
    width = flags.width or (64 * depth if official else default.width)
    channels = 64 if official else default.head_dim
    return Geometry(
        depth=depth,
        width=width,
        heads=flags.heads or max(1, width // channels),
        patch_nums=tokenizer.patch_nums,
        vocab_size=tokenizer.vocab_size,
        code_channels=tokenizer.config.code_channels,
        num_classes=num_classes,
    )


def open_dataset(flags: TrainFlags, side: int, limit: int | None = None) -> Dataset:
    """The data set of the flags, with images of `side` pixels."""
    if flags.dataset == "folder":
        return folder_dataset(flags.data_path, side=side)
    dataset = load_dataset(flags.dataset, limit=limit)
    if dataset.image_side != side:
        raise UserError(
            f"--dataset {flags.dataset}: has {dataset.image_side} px images; the tokenizer takes "
            f"{side} px"
        )
    return dataset


def prepare_start(flags: TrainFlags, workspace: Workspace, progress: Progress) -> Start:
    """The start that is a network of the workspace's, or from scratch; what lacks is made.

    Raises:
        UserError: a data set that cannot be read.
    """
    config = base_config(flags)
    side = Tokenizer(config.tokenizer).image_side
    dataset = open_dataset(flags, side, config.limit)
    config = replace(config, geometry=replace(config.geometry, num_classes=dataset.num_classes))
    prepared = prepare_tokenizer(
        workspace, config, dataset, progress, skip_unreadable=flags.skip_unreadable
    )
    tokenizer = load_tokenizer(prepared.folder)
    if flags.from_scratch:
        geometry = scratch_geometry(flags, tokenizer, dataset.num_classes, config.geometry)
        return _scratch(flags, tokenizer, prepared.sha256, geometry, dataset)
    data = prepare_tokens(
        workspace,
        dataset,
        tokenizer,
        prepared.sha256,
        progress,
        skip_unreadable=flags.skip_unreadable,
    )
    base = prepare_base(
        workspace, config, data, tokenizer, read_tokens(data.folder), progress, device=flags.device
    )
    return Start(
        tokenizer=tokenizer.cpu(),
        tokenizer_sha256=prepared.sha256,
        geometry=config.geometry,
        make_model=lambda: load(base.folder).model,
        origin={"base": base.sha256},
        learning_rate=FINE_TUNING_RATE,
        dataset=dataset,
    )


def given_start(flags: TrainFlags) -> Start | None:
    """The start from files that the user gave; None where the workspace has to make one.

    Raises:
        UserError: files that cannot be read, or that do not fit each other or the data.
    """
    if flags.model is None and flags.vae is None:
        return None
    if flags.model is not None:
        tokenizer, model = load(flags.model)
        content = read_config(flags.model)["sha256"]
        sha256, origin, rate = (
            content[TOKENIZER_FILE],
            {"model": content[MODEL_FILE]},
            FINE_TUNING_RATE,
        )
    else:
        if flags.var is not None:
            tokenizer, model = load_official(vae=flags.vae, var=flags.var)
            origin, rate = {"var": sha256_file(flags.var)}, OFFICIAL_RATE
        else:
            sides = patch_nums_of(flags) or OFFICIAL_PATCH_NUMS_256
            tokenizer, model = load_official_tokenizer(flags.vae, sides), None
        sha256 = sha256_file(flags.vae)
    limit = QUICK_BASE.limit if flags.quick else None
    dataset = open_dataset(flags, tokenizer.image_side, limit)
    if model is None:
        geometry = scratch_geometry(flags, tokenizer, dataset.num_classes, BaseConfig().geometry)
        return _scratch(flags, tokenizer, sha256, geometry, dataset)
    if model.num_classes != dataset.num_classes:
        raise UserError(
            f"--dataset {flags.dataset}: has {dataset.num_classes} classes; the network that you "
            f"start from has {model.num_classes}"
        )
    return Start(
        tokenizer=tokenizer,
        tokenizer_sha256=sha256,
        geometry=model.geometry,
        make_model=lambda: model,
        origin=origin,
        learning_rate=rate,
        dataset=dataset,
    )


def _scratch(
    flags: TrainFlags, tokenizer: Tokenizer, sha256: str, geometry: Geometry, dataset: Dataset
) -> Start:
    def make_model() -> VAR:
        with torch_seed(flags.seed):
            return VAR(geometry)

    return Start(
        tokenizer=tokenizer,
        tokenizer_sha256=sha256,
        geometry=geometry,
        make_model=make_model,
        origin={"scratch": geometry.as_dict(), "seed": flags.seed},
        learning_rate=scratch_rate(geometry, flags.batch),
        dataset=dataset,
    )


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What a start that has to be made would be."""

    geometry: Geometry
    learning_rate: float


def planned_start(flags: TrainFlags) -> Planned:
    """Geometry and default learning rate of the start that `prepare_start` would make.

    Raises:
        UserError: a data set that cannot be read.
    """
    config = base_config(flags)
    tokenizer = Tokenizer(config.tokenizer)
    dataset = open_dataset(flags, tokenizer.image_side, config.limit)
    geometry = replace(config.geometry, num_classes=dataset.num_classes)
    if not flags.from_scratch:
        return Planned(geometry=geometry, learning_rate=FINE_TUNING_RATE)
    geometry = scratch_geometry(flags, tokenizer, dataset.num_classes, geometry)
    return Planned(geometry=geometry, learning_rate=scratch_rate(geometry, flags.batch))
