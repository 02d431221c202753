"""A training run small enough to be killed often: `python small_run.py FOLDER [KEY=VALUE ...]`.

Keys: `schedule`, `switch`, `accumulate`, `batch`, `checkpoint_seconds`, `log_every`, `nan_step`,
`slow_step`, `lr`.
"""

import sys
import time
from pathlib import Path

import torch

from varant import VAR, Geometry, Tokenizer, TokenizerConfig
from varant.data.batches import CachedBatches
from varant.data.tokens import TokenSplit
from varant.errors import exit_codes
from varant.training.config import TrainingConfig
from varant.training.distributed import joined_ranks
from varant.training.run import Evaluator, RunFolder, run_training
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

PATCH_NUMS = (1, 2, 3)
STEPS, BATCH = 60, 8
SCHEDULES = {
    "progressive": Schedule.progressive(),
    "fixed": Schedule.fixed(0.5),
    "sandwich": Schedule.sandwich_rule(),
}


def parts():
    """A tokenizer, a network and tokens that the class decides."""
    torch.manual_seed(0)
    config = TokenizerConfig(
        patch_nums=PATCH_NUMS, vocab_size=8, code_channels=4, backbone="light", channels=8, phis=0
    )
    geometry = Geometry(
        depth=3,
        width=16,
        heads=2,
        patch_nums=PATCH_NUMS,
        vocab_size=8,
        code_channels=4,
        num_classes=3,
    )
    labels = torch.arange(96) % 3
    noise = torch.randint(0, 2, (96, 14), generator=torch.Generator().manual_seed(1))
    tokens = TokenSplit(shards=((labels[:, None] * 2 + noise).short(),), labels_N=labels)
    return Tokenizer(config).eval(), VAR(geometry), tokens


def run(folder: Path, **options) -> Trainer:
    """Train in `folder`, from where it is; alone, or as the rank that the environment names."""
    torch.set_num_threads(1)
    tokenizer, model, tokens = parts()
    schedule = SCHEDULES[options.get("schedule", "progressive")]
    batch = int(options.get("batch", BATCH))
    config = TrainingConfig(
        budget_images=STEPS * batch * (3 if schedule.sandwich else 1),
        batch=batch,
        accumulate=int(options.get("accumulate", 1)),
        warmup_steps=5,
        schedule=schedule,
        depths=(1, 2),
        switch=int(options.get("switch", 1)),
        ema=0.9,
        lr=float(options.get("lr", 5e-3)),
    )
    with joined_ranks("cpu") as ranks:
        ranks.check_same(config.as_dict())
        batches = CachedBatches(tokens, seed=config.seed, batch=config.batch)
        trainer = Trainer(model, tokenizer, batches, config, ranks)
        evaluator = Evaluator(tokenizer=tokenizer, tokens=tokens, every_images=100, images=20)
        folder_run = RunFolder(folder=folder, identity={"training": config.as_dict()})
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            folder_run.claim()

        def log(step: int, metrics: dict) -> None:
            if step == int(options.get("nan_step", -1)):
                with torch.no_grad():
                    model.head.bias[0] = torch.nan
            time.sleep(float(options.get("slow_step", 0)))

        run_training(
            folder_run,
            trainer,
            evaluator=evaluator,
            log=log,
            log_every=int(options.get("log_every", 1)),
            checkpoint_seconds=float(options.get("checkpoint_seconds", 0)),
        )
    return trainer


if __name__ == "__main__":
    with exit_codes():
        run(Path(sys.argv[1]), **dict(pair.split("=") for pair in sys.argv[2:]))
