"""Train a tokenizer on images of your own.

    python -m varant.train_tokenizer --dataset folder --data-path images --patch-nums 1,2,3,4,6,8
    python -m varant.train --from-scratch --vae runs/tokenizer --dataset folder --data-path images

Token maps of the given sides, images of `4 x the last side` pixels, as the presets have them (a
light network; --backbone official is VAR's, 16 pixels a token, and needs a GPU to be of use). The
folder gets tokenizer.safetensors and config.json, metrics.jsonl (loss, and how many codes each
scale uses, by perplexity), and the newest two checkpoints: stopped by anything, the same command
goes on exactly where it was. At the end: PSNR and the Frechet distance of reconstructed select
images, and the codes that each scale uses. A scale whose codes collapse is named when it begins to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from varant.errors import UserError, exit_codes, require_writable
from varant.flags import NotNegative, OutFile, OutFolder, Positive, Processes, Seed, Sides, flags_of
from varant.presets import DEFAULT, PresetName, presets
from varant.start.config import DataConfig

if TYPE_CHECKING:
    from varant.data.datasets import Dataset
    from varant.model.tokenizer import Tokenizer, TokenizerConfig
    from varant.progress import Log
    from varant.training.run import RunFolder
    from varant.training.tokenizer import TokenizerTrainer

MEASURED_IMAGES = 2_500  # of the select split
LOG_EVERY = 10  # steps between two lines of metrics.jsonl
COLLAPSED = 2.0  # codes in use, by perplexity: below, a scale says next to nothing
SETTLED_STEPS = 100  # after which a scale's running shares mean something


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig:
    data: DataConfig = DataConfig()
    preset: PresetName = DEFAULT
    """Whose sizes to take where no flag gives them."""
    patch_nums: Sides | None = None
    """Sides of the token maps, such as 1,2,3,4,6; default: the preset's."""
    vocab_size: Positive | None = None
    """Codes; default: the preset's."""
    code_channels: Positive | None = None
    """Numbers in a code; default: the preset's."""
    channels: Positive | None = None
    """Width of encoder and decoder; default: the preset's, or 160 of the official one."""
    backbone: Literal["light", "official"] = "light"
    """light: a few residual convolutions, 4 pixels a token; official: VAR's, 16 pixels a token."""
    steps: Positive | None = None
    """Optimiser steps; default: the preset's."""
    batch: Positive = 64
    """Images a step."""
    seed: Seed = 0
    """Of initialisation, data order and restarts of unused codes."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    threads: Processes = 1
    """CPU threads to compute with: more are faster on an idle machine, slower on a busy one."""
    checkpoint_every: NotNegative = 60.0
    """Least seconds between two checkpoints; 0 writes one after every step."""
    export: OutFile | None = None
    """File to write the tokenizer into as the published ones are, of --backbone official."""
    out: OutFolder = Path("runs/tokenizer")
    """Folder of the training and its result."""

    def check(self) -> None:
        if self.export is not None and self.backbone != "official":
            raise UserError(
                f"--export {self.export}: the light backbone has no official form; give --backbone "
                "official"
            )

    def sizes(self) -> TokenizerConfig:
        from varant.start.presets import light_tokenizer

        light = light_tokenizer(presets()[self.preset])
        own = ("patch_nums", "vocab_size", "code_channels", "channels")
        given: dict[str, Any] = {name: getattr(self, name) for name in own}
        changes = {name: value for name, value in given.items() if value is not None}
        if self.backbone == "official":
            changes = {"backbone": "official", "phis": 4, "channels": 160} | changes
        return replace(light, **changes)


def main(config: TrainTokenizerConfig) -> None:
    import torch

    from varant.data.folders import ReplacingSplit
    from varant.devices import check_device
    from varant.progress import progress_bar
    from varant.start.sources import open_dataset
    from varant.store.checkpoint import load_tokenizer
    from varant.store.official import save_official_tokenizer
    from varant.training.run import RunFolder, advancing
    from varant.training.tokenizer import TokenizerTrainer, TokenizerTraining

    check_device(config.device)
    require_writable("--out", config.out)
    torch.set_num_threads(config.threads)
    sizes = config.sizes()
    dataset = open_dataset(config.data, sizes.image_side)
    steps = config.steps or presets()[config.preset].tokenizer.steps
    training = TokenizerTraining(steps=steps, batch=config.batch, seed=config.seed)
    identity = {
        "tokenizer": asdict(sizes),
        "training": asdict(training),
        "dataset": dataset.digest,
        "skip_unreadable": config.data.skip_unreadable,
    }
    run = RunFolder(folder=config.out, identity=identity)
    with run.locked():
        run.claim()
        if not run.finished:
            train = ReplacingSplit(dataset.train, config.data.skip_unreadable)
            trainer = TokenizerTrainer(train, sizes, training, config.device)
            with progress_bar("tokenizer", steps * config.batch, "img") as advance:
                train_in(run, trainer, advancing(advance), config.checkpoint_every)
    tokenizer = load_tokenizer(config.out).to(config.device)
    print("\n".join(measured(config, tokenizer, dataset)))
    if config.export is not None:
        save_official_tokenizer(tokenizer, config.export)
        print(f"{config.export}: as the published files are")


def train_in(
    run: RunFolder, trainer: TokenizerTrainer, log: Log, checkpoint_seconds: float
) -> None:
    """Train to the end, from the newest whole checkpoint of the folder if any, and save the result.

    Raises:
        Preempted: SIGTERM or SIGUSR1 came; the state is saved.
        UserError: there are checkpoints, and all are damaged.
    """
    import torch

    from varant.store.checkpoint import save
    from varant.training.run import ResumedRun
    from varant.training.tokenizer import perplexities

    resumed = ResumedRun(run, trainer, checkpoint_seconds)
    collapsed = set(resumed.facts["collapsed"] if resumed.facts else ())

    def facts() -> dict[str, list[int]]:
        return {"collapsed": sorted(collapsed)}

    with resumed.going():
        while not trainer.finished:
            metrics = trainer.advance()
            resumed.saver.check()
            if trainer.finished or trainer.step % LOG_EVERY == 0:
                found = perplexities(trainer.used_KV)
                metrics |= {f"perplexity/scale_{k:02d}": p for k, p in enumerate(found, 1)}
                resumed.write({"step": trainer.step} | metrics)
                log(trainer.step, metrics)
                collapsed = _collapsed(trainer.step, found, collapsed)
            resumed.end_step(facts, resumed.wishes())
    note: dict[str, Any] = {"identity": run.identity, "torch": torch.__version__}
    save(run.folder, trainer.tokenizer.eval(), note=note)


def _collapsed(step: int, found: list[float], before: set[int]) -> set[int]:
    """Scales that have collapsed; those that had not before are named."""
    from varant.training.run import warn_on_stderr

    if step < SETTLED_STEPS:
        return before
    now = {k for k, codes in enumerate(found, 1) if codes < COLLAPSED}
    for k in sorted(now - before):
        warn_on_stderr(
            f"step {step}: the codes of scale {k} collapse ({found[k - 1]:.2f} in use, by "
            "perplexity); use fewer scales, or more images"
        )
    return now


def measured(config: TrainTokenizerConfig, tokenizer: Tokenizer, dataset: Dataset) -> list[str]:
    """How well select images are reconstructed, and which codes each scale uses for them."""
    import numpy as np
    import torch

    from varant.data.folders import ReplacingSplit
    from varant.evaluation.patches import PatchExtractor
    from varant.evaluation.reference import Gaussian
    from varant.evaluation.scores import frechet_distance
    from varant.training.tokenizer import perplexities, psnr_db, reconstructions

    select = ReplacingSplit(dataset.select, config.data.skip_unreadable)
    count, extractor = min(MEASURED_IMAGES, len(select)), PatchExtractor()
    used_KV = torch.zeros(len(tokenizer.patch_nums), tokenizer.vocab_size)
    found: dict[str, list[Any]] = {"real": [], "drawn": []}
    errors = []
    for part in reconstructions(tokenizer, select, count):
        errors.append(part.errors_B)
        for name, images in (("real", part.images), ("drawn", part.drawn)):
            found[name].append(extractor(images.add(1).div(2).clamp(0, 1)).features_NF)
        for k, tokens_BT in enumerate(tokenizer.quantize.split(part.tokens_BL)):
            hits_V = torch.bincount(tokens_BT.flatten().cpu(), minlength=used_KV.shape[1])
            used_KV[k] += hits_V
    gaussians = {name: Gaussian.of(np.concatenate(parts)) for name, parts in found.items()}
    distance = frechet_distance(gaussians["drawn"], gaussians["real"])
    lines = [
        f"{config.out}: PSNR {psnr_db(errors):.2f} dB, FD {distance:.4g} "
        f"({extractor.name}) of {count:,} reconstructed select images from the images themselves",
        f"{'scale':>5} {'side':>5} {'codes used':>11} {'perplexity':>11}",
    ]
    in_use = perplexities(used_KV)
    for k, side in enumerate(tokenizer.patch_nums):
        codes = f"{int((used_KV[k] > 0).sum())}/{used_KV.shape[1]}"
        lines.append(f"{k + 1:>5} {side:>5} {codes:>11} {in_use[k]:>11.1f}")
    return lines


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(TrainTokenizerConfig, __doc__))
