"""What every study starts from: data, tokenizer, tokens and base network, each made once.

Everything lands in the workspace under the digest of all that it depends on, and its last file
is written when it is whole: a preparation that was killed is made again, never taken for done.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors.numpy import load_file, save_file

from varant.data.batches import CachedBatches
from varant.data.datasets import SPLITS, Dataset
from varant.data.folders import ReplacingSplit
from varant.data.tokens import INDEX_FILE, Tokens, cache_tokens, tokens_digest
from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.inception import INCEPTION_FEATURES
from varant.evaluation.reference import Reference, load_reference_npz
from varant.files import digest_of, replacing, write_json
from varant.model.geometry import Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR
from varant.progress import Progress, silent
from varant.randomness import torch_seed
from varant.store.checkpoint import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE, read_config, save
from varant.training.run import CHECKPOINTS, RunFolder, advancing, run_training
from varant.training.tokenizer import TokenizerTraining, reconstruction_psnr, train_tokenizer
from varant.training.trainer import Trainer, TrainingConfig

# Part of every digest below: raise it when a change of code changes what training gives.
RECIPE_VERSION = 2
WORKSPACE_FILE, WORKSPACE_VERSION = "workspace.json", 1

LIGHT_TOKENIZER = TokenizerConfig(
    patch_nums=(1, 2, 3, 4, 6),
    vocab_size=128,
    code_channels=8,
    backbone="light",
    channels=64,
    phis=0,
)
SMALL_GEOMETRY = Geometry(
    depth=8,
    width=48,
    heads=3,
    patch_nums=LIGHT_TOKENIZER.patch_nums,
    vocab_size=LIGHT_TOKENIZER.vocab_size,
    code_channels=LIGHT_TOKENIZER.code_channels,
    num_classes=10,
)


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """All that fixes a base network.

    Attributes:
        limit: training images to use, None for all.
    """

    dataset: str = "shapes"
    limit: int | None = None
    tokenizer: TokenizerConfig = LIGHT_TOKENIZER
    tokenizer_training: TokenizerTraining = TokenizerTraining()
    geometry: Geometry = SMALL_GEOMETRY
    training: TrainingConfig = TrainingConfig()

    def with_seed(self, seed: int) -> BaseConfig:
        """The same with another seed of the network's training; the tokenizer is shared."""
        return replace(self, training=replace(self.training, seed=seed))


QUICK_BASE = BaseConfig(
    limit=2_000,
    tokenizer_training=TokenizerTraining(steps=120),
    geometry=replace(SMALL_GEOMETRY, depth=4, width=32, heads=2),
    training=TrainingConfig(budget_images=6_400),
)


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """Where things lie under `--workspace`."""

    folder: Path

    def model(self, digest: str) -> Path:
        return self.folder / "models" / digest[:16]

    def tokens(self, digest: str) -> Path:
        return self.folder / "tokens" / digest[:16]

    def cell(self, digest: str) -> Path:
        return self.folder / "cells" / digest[:16]

    def study(self, name: str) -> Path:
        return self.folder / name

    def claim(self) -> None:
        """Write which version of the layout this folder has, or check that it is ours.

        Raises:
            UserError: it is another.
        """
        path = self.folder / WORKSPACE_FILE
        if not path.exists():
            write_json(path, {"format": "varant-workspace", "version": WORKSPACE_VERSION})
            return
        try:
            content = json.loads(path.read_text())
            version = content["version"] if content["format"] == "varant-workspace" else None
        except (OSError, ValueError, KeyError, TypeError):
            version = None
        if version != WORKSPACE_VERSION:
            raise UserError(
                f"--workspace {self.folder}: version {version} in {WORKSPACE_FILE}, this code "
                f"writes {WORKSPACE_VERSION}; name another folder"
            )


@dataclass(frozen=True, kw_only=True)
class PreparedTokenizer:
    folder: Path
    sha256: str
    psnr_db: float


def prepare_tokenizer(
    workspace: Workspace,
    config: BaseConfig,
    dataset: Dataset,
    progress: Progress,
    *,
    skip_unreadable: bool = False,
) -> PreparedTokenizer:
    """Train the tokenizer unless the workspace has it.

    Args:
        skip_unreadable: let other images stand for those that cannot be read.
    """
    identity = {
        "recipe": RECIPE_VERSION,
        "dataset": dataset.digest,
        "tokenizer": config.tokenizer.as_dict(),
        "training": asdict(config.tokenizer_training),
    }
    folder = workspace.model(digest_of(identity))
    if not (folder / CONFIG_FILE).exists():
        training = config.tokenizer_training
        train, select = dataset.train, dataset.select
        if skip_unreadable:
            train, select = ReplacingSplit(train), ReplacingSplit(select)
        with progress("tokenizer", training.steps * training.batch, "img") as advance:
            tokenizer = train_tokenizer(
                train,
                config.tokenizer,
                training,
                log=lambda step, metrics: advance(training.batch, loss=metrics["loss"]),
            )
        psnr_db = reconstruction_psnr(tokenizer, select)
        save(folder, tokenizer, note={"identity": identity, "psnr_db": psnr_db})
    content = read_config(folder)
    return PreparedTokenizer(
        folder=folder, sha256=content["sha256"][TOKENIZER_FILE], psnr_db=content["note"]["psnr_db"]
    )


@dataclass(frozen=True, kw_only=True)
class PreparedData:
    """A tokenised data set and the folder that it is in."""

    folder: Path
    digest: str


def prepare_tokens(
    workspace: Workspace,
    dataset: Dataset,
    tokenizer: Tokenizer,
    tokenizer_sha256: str,
    progress: Progress,
    *,
    flips: bool = False,
    skip_unreadable: bool = False,
    splits: tuple[str, ...] = SPLITS,
) -> PreparedData:
    """Tokenise the data set unless the workspace has its tokens; see `cache_tokens`."""
    digest = tokens_digest(dataset.digest, tokenizer_sha256, flips=flips, splits=splits)
    folder = workspace.tokens(digest)
    if not (folder / INDEX_FILE).exists():
        entries = sum(dataset.sizes[name] * (1 + flips * (name == "train")) for name in splits)
        with progress("tokens", entries, "img") as advance:
            cache_tokens(
                folder,
                dataset,
                tokenizer,
                flips=flips,
                splits=splits,
                skip_unreadable=skip_unreadable,
                advance=advance,
            )
    return PreparedData(folder=folder, digest=digest)


def prepare_reference(
    data: PreparedData,
    tokenizer: Tokenizer,
    tokens: Tokens,
    extractor: Extractor,
    progress: Progress = silent,
    *,
    batch: int = 50,
) -> Path:
    """Features of the reconstructed test images, which samples are compared with.

    Made unless the data's folder has them for this extractor; read back by `read_reference`.

    Args:
        batch: images decoded at once, where the tokenizer is.
    """
    path = data.folder / f"reference-{extractor.name}.safetensors"
    if not path.exists():
        test = tokens.test.rows(slice(None))
        device = next(tokenizer.parameters()).device
        parts = []
        with progress("reference", len(test), "img") as advance:
            for part in test.tokens_NL.split(batch):
                parts.append(extractor(tokenizer.decode(part.to(device)).add(1).div(2)))
                advance(len(part))
        features_NF = Features.joined(parts).features_NF
        with replacing(path) as aside:
            save_file({"features": features_NF, "labels": test.labels_N.numpy()}, aside)
    return path


def read_reference(path: Path, *, features: int = INCEPTION_FEATURES) -> Reference:
    """What `prepare_reference` wrote (`.safetensors`), or else statistics in an NPZ.

    Args:
        features: that the extractor has; an NPZ must have as many.

    Raises:
        UserError: as `load_reference_npz`.
    """
    if path.suffix != ".safetensors":
        return load_reference_npz(path, features=features)
    content = load_file(path)
    return Reference(features_NF=content["features"], labels_N=content["labels"])


@dataclass(frozen=True, kw_only=True)
class PreparedBase:
    """A trained base network.

    Attributes:
        folder: loads with `varant.load`.
        sha256: of the network's weights: what the cells that use it depend on.
        seconds: wall time of its training.
    """

    folder: Path
    sha256: str
    seed: int
    seconds: float


def base_folder(workspace: Workspace, config: BaseConfig, data: PreparedData) -> Path:
    """Where the base of this config lies, trained or not."""
    return workspace.model(digest_of(_base_identity(config, data)))


def _base_identity(config: BaseConfig, data: PreparedData) -> dict:
    return {
        "recipe": RECIPE_VERSION,
        "tokens": data.digest,
        "geometry": config.geometry.as_dict(),
        "training": config.training.as_dict(),
    }


def prepare_base(
    workspace: Workspace,
    config: BaseConfig,
    data: PreparedData,
    tokenizer: Tokenizer,
    tokens: Tokens,
    progress: Progress,
    *,
    device: str = "cpu",
) -> PreparedBase:
    """Train the base (full-depth) network on `device` unless the workspace has it.

    Killed, it goes on from its last checkpoint. `tokenizer` is moved to that device.
    """
    identity = _base_identity(config, data)
    run = RunFolder(folder=base_folder(workspace, config, data), identity=identity)
    if not run.finished:
        with run.locked(wait=True):
            if not run.finished:  # by the process that we waited for
                _train_base(run, config, tokenizer.to(device), tokens, progress, device)
    content = read_config(run.folder)
    return PreparedBase(
        folder=run.folder,
        sha256=content["sha256"][MODEL_FILE],
        seed=config.training.seed,
        seconds=content["note"]["seconds"],
    )


def _train_base(
    run: RunFolder,
    config: BaseConfig,
    tokenizer: Tokenizer,
    tokens: Tokens,
    progress: Progress,
    device: str,
) -> None:
    run.claim()
    training = config.training
    with torch_seed(training.seed):
        model = VAR(config.geometry).to(device)
    batches = CachedBatches(tokens.train, seed=training.seed, batch=training.batch)
    trainer = Trainer(model, tokenizer, batches, training)
    title = f"base seed {training.seed}"
    with progress(title, training.steps * training.batch, "img") as advance:
        run_training(run, trainer, tokenizer, log=advancing(advance))
    shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)  # nobody goes on from a base
