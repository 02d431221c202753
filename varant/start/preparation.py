"""Tokenizer, tokens and base network, each made once.

Everything lands in the workspace under the digest of all that it depends on, and its last file
is written when it is whole: a preparation that was killed is made again, never taken for done.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from varant.data.batches import CachedBatches
from varant.data.datasets import Dataset
from varant.data.folders import ReplacingSplit
from varant.data.tokens import read_split
from varant.files import digest_of
from varant.model.transformer import VAR
from varant.progress import Progress
from varant.randomness import torch_seed
from varant.start.presets import BaseConfig
from varant.store.checkpoint import CONFIG_FILE, load_tokenizer, save
from varant.store.workspace import Workspace
from varant.training.run import CHECKPOINTS, Evaluator, RunFolder, advancing, run_training
from varant.training.tokenizer import reconstruction_psnr, train_tokenizer
from varant.training.trainer import Trainer

# Part of every digest below: raise it when a change of code changes what training gives.
RECIPE_VERSION = 2
EVALUATION_IMAGES = 1_000  # select images of an evaluation of a base network


def tokenizer_recipe(config: BaseConfig, dataset: Dataset) -> dict[str, Any]:
    """All that a tokenizer depends on that is trained here: its identity."""
    return {
        "recipe": RECIPE_VERSION,
        "dataset": dataset.digest,
        "tokenizer": asdict(config.tokenizer),
        "training": asdict(config.tokenizer_training),
    }


def prepare_tokenizer(
    workspace: Workspace,
    config: BaseConfig,
    dataset: Dataset,
    progress: Progress,
    skip_unreadable: bool = False,
) -> Path:
    """The folder of the data set's tokenizer, trained unless the workspace has it; on the CPU,
    which such a small one needs for a minute or four, so that every device has the same.

    Args:
        skip_unreadable: let other images stand for those that cannot be read.
    """
    training, identity = config.tokenizer_training, tokenizer_recipe(config, dataset)
    folder = workspace.model(digest_of(identity))
    if not (folder / CONFIG_FILE).exists():
        splits = (dataset.train, dataset.select)
        train, select = (ReplacingSplit(split, skip_unreadable) for split in splits)
        with progress("tokenizer", training.steps * training.batch, "img") as advance:
            log = advancing(advance)
            tokenizer = train_tokenizer(train, config.tokenizer, training, log=log)
        psnr_db = reconstruction_psnr(tokenizer, select)
        save(folder, tokenizer, note={"identity": identity, "psnr_db": psnr_db})
    return folder


@dataclass(frozen=True, kw_only=True)
class BaseJob:
    """The training of a base network, whose folder loads with `varant.load`; picklable."""

    workspace: Workspace
    config: BaseConfig
    tokenizer_folder: Path
    tokens_digest: str
    device: str

    @property
    def run_folder(self) -> RunFolder:
        identity = {
            "recipe": RECIPE_VERSION,
            "tokens": self.tokens_digest,
            "geometry": asdict(self.config.geometry),
            "training": self.config.training.as_dict(),
        }
        return RunFolder(folder=self.workspace.model(digest_of(identity)), identity=identity)

    def run(self, progress: Progress) -> None:
        """Train on the device unless it is there; killed, it goes on from its last checkpoint."""
        self.run_folder.once(lambda run: self._train(run, progress))

    def _train(self, run: RunFolder, progress: Progress) -> None:
        training = self.config.training
        with torch_seed(training.seed):
            model = VAR(self.config.geometry).to(self.device)
        tokenizer = load_tokenizer(self.tokenizer_folder).to(self.device)
        tokens = read_split(self.workspace.tokens(self.tokens_digest), "train")
        batches = CachedBatches(tokens, seed=training.seed, batch=training.batch)
        trainer = Trainer(model, tokenizer, batches, training)
        with progress(f"base seed {training.seed}", training.image_passes, "img") as advance:
            run_training(run, trainer, evaluator=self._evaluator(), log=advancing(advance))
        shutil.rmtree(run.folder / CHECKPOINTS, ignore_errors=True)  # nobody goes on from a base

    def _evaluator(self) -> Evaluator | None:
        if not self.config.evaluations:
            return None
        return Evaluator(
            tokens=read_split(self.workspace.tokens(self.tokens_digest), "select"),
            every_images=self.config.training.budget_images // self.config.evaluations,
            images=EVALUATION_IMAGES,
        )
