"""The networks that a study measures: prepared base networks, or one from a checkpoint folder."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from studies.cell import Network
from varant.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    load_tokenizer,
    read_config,
)
from varant.datasets import Dataset, load_dataset
from varant.errors import UserError
from varant.evaluation.features import packaged_extractor
from varant.geometry import Geometry
from varant.preparation import (
    QUICK_BASE,
    BaseConfig,
    PreparedBase,
    PreparedData,
    PreparedTokenizer,
    Workspace,
    base_folder,
    prepare_base,
    prepare_reference,
    prepare_tokenizer,
    prepare_tokens,
)
from varant.progress import progress_bar
from varant.tokenizer_training import reconstruction_psnr
from varant.tokens import read_tokens


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a study's cells share: data, tokenizer and the networks under test."""

    dataset: Dataset
    tokenizer_sha256: str
    tokenizer_description: str
    psnr_db: float
    extractor_name: str
    extractor_digest: str
    features: int
    geometry: Geometry
    networks: tuple[Network, ...]
    training_images: tuple[int | None, ...]
    description: str


def base_config(*, dataset: str, quick: bool, budget_images: int | None, seed: int) -> BaseConfig:
    """The base network of a study: the small default, or the tiny one of `--quick`."""
    config = replace(QUICK_BASE if quick else BaseConfig(), dataset=dataset)
    if budget_images is not None and not quick:
        config = replace(config, training=replace(config.training, budget_images=budget_images))
    return config.with_seed(seed)


def checkpoint_geometry(folder: Path, dataset: Dataset | None = None) -> Geometry:
    """Geometry of a checkpoint of ours.

    Raises:
        UserError: no checkpoint there, or one that does not fit the data set.
    """
    content = read_config(folder)
    if content["geometry"] is None:
        raise UserError(f"--model {folder}: a tokenizer without a network")
    geometry = Geometry(**content["geometry"])
    if dataset is not None:
        tokenizer = load_tokenizer(folder)
        if tokenizer.image_side != dataset.image_side:
            raise UserError(
                f"--model {folder}: draws {tokenizer.image_side} px images; --dataset "
                f"{dataset.name} has {dataset.image_side} px"
            )
        if geometry.num_classes != dataset.num_classes:
            raise UserError(
                f"--model {folder}: has {geometry.num_classes} classes; --dataset "
                f"{dataset.name} has {dataset.num_classes}"
            )
    return geometry


def prepare_bases(
    workspace: Workspace,
    config: BaseConfig,
    seeds: int,
    pool: ProcessPoolExecutor,
    *,
    device: str = "cpu",
) -> Bench:
    """Data, tokenizer, tokens and `seeds` base networks, each made unless it is there.

    Several missing networks train side by side in the pool.
    """
    torch.set_num_threads(1)
    dataset = load_dataset(config.dataset, limit=config.limit)
    tokenizer = prepare_tokenizer(workspace, config, dataset, progress_bar)
    data = prepare_tokens(
        workspace, dataset, load_tokenizer(tokenizer.folder), tokenizer.sha256, progress_bar
    )
    configs = [config.with_seed(config.training.seed + i) for i in range(seeds)]
    missing = [c for c in configs if not (base_folder(workspace, c, data) / CONFIG_FILE).exists()]
    if len(missing) > 1:
        jobs = [
            pool.submit(_prepare_one_base, workspace, c, data, tokenizer, device) for c in missing
        ]
        for job in jobs:
            job.result()
    bases = [_prepare_one_base(workspace, c, data, tokenizer, device) for c in configs]
    return _bench(
        dataset=dataset,
        data=data,
        tokenizer_folder=tokenizer.folder,
        psnr_db=tokenizer.psnr_db,
        geometry=config.geometry,
        models=[(b.folder, b.seed) for b in bases],
        training_images=tuple(c.training.steps * c.training.batch for c in configs),
        description="base network trained by this study",
    )


def _prepare_one_base(
    workspace: Workspace,
    config: BaseConfig,
    data: PreparedData,
    tokenizer: PreparedTokenizer,
    device: str,
) -> PreparedBase:
    return prepare_base(
        workspace,
        config,
        data,
        load_tokenizer(tokenizer.folder),
        read_tokens(data.folder),
        progress_bar,
        device=device,
    )


def from_checkpoint(
    workspace: Workspace, folder: Path, *, dataset_name: str, limit: int | None, seed: int
) -> Bench:
    """The network of a checkpoint of ours, with the data tokenised by its own tokenizer."""
    dataset = load_dataset(dataset_name, limit=limit)
    geometry = checkpoint_geometry(folder, dataset)
    tokenizer = load_tokenizer(folder)
    sha256 = read_config(folder)["sha256"][TOKENIZER_FILE]
    data = prepare_tokens(workspace, dataset, tokenizer, sha256, progress_bar)
    return _bench(
        dataset=dataset,
        data=data,
        tokenizer_folder=folder,
        psnr_db=reconstruction_psnr(tokenizer, dataset.select),
        geometry=geometry,
        models=[(folder, seed)],
        training_images=(None,),
        description=f"checkpoint {folder.name}",
    )


def _bench(
    *,
    dataset: Dataset,
    data: PreparedData,
    tokenizer_folder: Path,
    psnr_db: float,
    geometry: Geometry,
    models: list[tuple[Path, int]],
    training_images: tuple[int | None, ...],
    description: str,
) -> Bench:
    tokenizer = load_tokenizer(tokenizer_folder)
    extractor = packaged_extractor(dataset.name)
    reference = prepare_reference(data, tokenizer, read_tokens(data.folder), extractor)
    sha256 = read_config(tokenizer_folder)["sha256"][TOKENIZER_FILE]
    networks = tuple(
        Network(
            model_folder=folder,
            model_sha256=read_config(folder)["sha256"][MODEL_FILE],
            tokenizer_sha256=sha256,
            base_seed=seed,
            tokens_folder=data.folder,
            tokens_digest=data.digest,
            reference_path=reference,
            extractor_dataset=dataset.name,
            extractor_digest=extractor.digest,
        )
        for folder, seed in models
    )
    config = tokenizer.config
    return Bench(
        dataset=dataset,
        tokenizer_sha256=sha256,
        tokenizer_description=(
            f"{config.backbone} multi-scale residual VQ-VAE, {config.vocab_size} codes of "
            f"{config.code_channels} channels"
        ),
        psnr_db=psnr_db,
        extractor_name=extractor.name,
        extractor_digest=extractor.digest,
        features=extractor.network.features.out_features,
        geometry=geometry,
        networks=networks,
        training_images=training_images,
        description=description,
    )
