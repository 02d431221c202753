"""What a study measures: data, tokenizer, feature network, and the networks to start from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from varant.start.start import (
    FINE_TUNING_RATE,
    Start,
    base_config,
    given_start,
    open_dataset,
    planned_start,
)
from varant.start.train_flags import TrainFlags

from studies.cells.evaluation import Network
from studies.running.executors import Executor
from varant.data.datasets import Dataset
from varant.data.tokens import read_tokens
from varant.evaluation.extractors import ExtractorSpec
from varant.evaluation.reference import load_reference_npz
from varant.files import digest_of
from varant.model.geometry import Geometry
from varant.model.tokenizer import Tokenizer
from varant.progress import progress_bar
from varant.start.preparation import (
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
from varant.store.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    TOKENIZER_FILE,
    load_tokenizer,
    read_config,
    save,
)
from varant.training.tokenizer import reconstruction_psnr


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What a study's cells share.

    Attributes:
        networks: the network or networks under test, which trainings start from.
        training_images: images that each was trained on, None where that is not known.
        learning_rate: the default for training them further.
        made: whether it is all there; else it only says what would be made.
    """

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
    learning_rate: float
    made: bool = True


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What samples are scored with.

    Attributes:
        inception: TorchScript file of an Inception network; None for the packaged features of
            the data set.
        reference: NPZ file of their mean and covariance on real images (ADM's `mu` and `sigma`);
            None compares with reconstructed test images.
    """

    inception: Path | None = None
    reference: Path | None = None

    def extractor(self, dataset: Dataset) -> ExtractorSpec:
        """Its feature network.

        Raises:
            UserError: no file there, or no network is packaged for this data set.
        """
        if self.inception is not None:
            return ExtractorSpec.inception(self.inception)
        return ExtractorSpec.packaged(dataset.name)


def planned_bench(flags: TrainFlags, yardstick: Yardstick, networks: int = 1) -> Bench:
    """What `prepare_bench` would give, as far as that is known before anything is made.

    Raises:
        UserError: flags that make no sense together, or files that cannot be read.
    """
    start = given_start(flags)
    if start is None:
        planned = planned_start(flags)
        base = base_config(flags)
        dataset = open_dataset(flags, Tokenizer(base.tokenizer).image_side, base.limit)
        geometry, rate = planned.geometry, planned.learning_rate
        images = base.training.steps * base.training.batch
    else:
        dataset, geometry, rate, images = (start.dataset, start.geometry, start.learning_rate, None)
    spec = yardstick.extractor(dataset)
    extractor = spec.load()
    if yardstick.reference is not None:
        load_reference_npz(yardstick.reference, features=extractor.features)
    nowhere = Path("not-made")
    return Bench(
        dataset=dataset,
        tokenizer_sha256="",
        tokenizer_description="",
        psnr_db=float("nan"),
        extractor_name=extractor.name,
        extractor_digest=extractor.digest,
        features=extractor.features,
        geometry=geometry,
        networks=tuple(
            Network(
                model_folder=nowhere,
                model=f"base of seed {flags.seed + i}",
                tokenizer_sha256="",
                base_seed=flags.seed + i,
                tokens_folder=nowhere,
                tokens_digest="",
                extractor=spec,
                reference_path=nowhere,
            )
            for i in range(networks)
        ),
        training_images=(images,) * networks,
        description="",
        learning_rate=rate,
        made=False,
    )


def prepare_bench(
    workspace: Workspace,
    flags: TrainFlags,
    yardstick: Yardstick,
    executor: Executor,
    *,
    networks: int = 1,
) -> Bench:
    """Data, tokenizer, tokens and networks, each made unless it is there.

    Several base networks that are missing train side by side.
    """
    torch.set_num_threads(1)
    start = given_start(flags)
    if start is not None:
        return _given_bench(workspace, flags, yardstick, start)
    return _base_bench(workspace, flags, yardstick, executor, networks)


def _base_bench(
    workspace: Workspace, flags: TrainFlags, yardstick: Yardstick, executor: Executor, networks: int
) -> Bench:
    config = base_config(flags)
    dataset = open_dataset(flags, Tokenizer(config.tokenizer).image_side, config.limit)
    config = replace(config, geometry=replace(config.geometry, num_classes=dataset.num_classes))
    tokenizer = prepare_tokenizer(
        workspace, config, dataset, progress_bar, skip_unreadable=flags.skip_unreadable
    )
    data = prepare_tokens(
        workspace,
        dataset,
        load_tokenizer(tokenizer.folder),
        tokenizer.sha256,
        progress_bar,
        skip_unreadable=flags.skip_unreadable,
    )
    configs = [config.with_seed(flags.seed + i) for i in range(networks)]
    missing = [c for c in configs if not (base_folder(workspace, c, data) / CONFIG_FILE).exists()]
    if len(missing) > 1:
        jobs = [
            executor.submit(_prepare_one_base, workspace, c, data, tokenizer, flags.device)
            for c in missing
        ]
        for job in jobs:
            job.result()
    bases = [_prepare_one_base(workspace, c, data, tokenizer, flags.device) for c in configs]
    return _bench(
        yardstick=yardstick,
        device=flags.device,
        dataset=dataset,
        data=data,
        tokenizer_folder=tokenizer.folder,
        psnr_db=tokenizer.psnr_db,
        geometry=config.geometry,
        models=[(b.folder, b.seed) for b in bases],
        training_images=tuple(c.training.steps * c.training.batch for c in configs),
        description="base network trained by this study",
        learning_rate=FINE_TUNING_RATE,
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


def _given_bench(
    workspace: Workspace, flags: TrainFlags, yardstick: Yardstick, start: Start
) -> Bench:
    """The bench of a checkpoint, its data tokenised by its own tokenizer."""
    folder = flags.model
    if folder is None:  # official files: cells load checkpoints of ours
        folder = workspace.model(digest_of(start.origin | {"vae": start.tokenizer_sha256}))
        if not (folder / CONFIG_FILE).exists():
            save(folder, start.tokenizer, start.make_model(), note={"origin": start.origin})
    sha256 = read_config(folder)["sha256"][TOKENIZER_FILE]
    data = prepare_tokens(
        workspace,
        start.dataset,
        start.tokenizer,
        sha256,
        progress_bar,
        skip_unreadable=flags.skip_unreadable,
    )
    return _bench(
        yardstick=yardstick,
        device=flags.device,
        dataset=start.dataset,
        data=data,
        tokenizer_folder=folder,
        psnr_db=reconstruction_psnr(start.tokenizer, start.dataset.select),
        geometry=start.geometry,
        models=[(folder, flags.seed)],
        training_images=(None,),
        description=f"checkpoint {flags.model.name}" if flags.model else f"{flags.var.name}",
        learning_rate=start.learning_rate,
    )


def _bench(
    *,
    yardstick: Yardstick,
    device: str,
    dataset: Dataset,
    data: PreparedData,
    tokenizer_folder: Path,
    psnr_db: float,
    geometry: Geometry,
    models: list[tuple[Path, int]],
    training_images: tuple[int | None, ...],
    description: str,
    learning_rate: float,
) -> Bench:
    tokenizer = load_tokenizer(tokenizer_folder)
    spec = yardstick.extractor(dataset)
    extractor = spec.load(device)
    if yardstick.reference is not None:
        reference = yardstick.reference
        reference_digest = load_reference_npz(reference, features=extractor.features).digest
    else:
        reference_digest = None
        reference = prepare_reference(
            data, tokenizer.to(device), read_tokens(data.folder), extractor, progress_bar
        )
    sha256 = read_config(tokenizer_folder)["sha256"][TOKENIZER_FILE]
    networks = tuple(
        Network(
            model_folder=folder.resolve(),
            model=read_config(folder)["sha256"][MODEL_FILE],
            tokenizer_sha256=sha256,
            base_seed=seed,
            tokens_folder=data.folder.resolve(),
            tokens_digest=data.digest,
            extractor=spec,
            reference_path=reference.resolve(),
            reference_digest=reference_digest,
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
        features=extractor.features,
        geometry=geometry,
        networks=networks,
        training_images=training_images,
        description=description,
        learning_rate=learning_rate,
    )
