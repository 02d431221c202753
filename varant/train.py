"""Train a VARiant supernet.

    python -m varant.train --schedule progressive --budget 100k --out runs/my-supernet

From a base network of the package (one that it has not is trained first, once), or from --model
FOLDER, from official files (--vae and --var), or --from-scratch. The folder gets
model.safetensors, tokenizer.safetensors and config.json (`varant.load` and `python -m
studies.sensitivity --model` take it), metrics.jsonl, the newest two checkpoints, and curves.svg.
Stopped by anything, the same command goes on exactly where it was; finished, it says so.

A step trains a subnet with share p and the full network otherwise; --schedule says how p goes:
full (0, the control), fixed (--share), progressive (--start-share, --end-share, --phases: the
paper's 2:8 to 10:0), reversed (the same backwards), sandwich. --dry-run says how long it takes
here; on more devices: torchrun --nproc-per-node 2 -m varant.train ...
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from varant.devices import is_cuda
from varant.errors import UserError, exit_codes, require_writable
from varant.flags import OutFolder, Seed, flags_of, plain
from varant.presets import QUICK_BUDGET
from varant.start.config import TrainDataConfig, TrainRunConfig, TrainStartConfig
from varant.training.config import SELECT_NLL, TrainingConfig, TrainingFlags
from varant.training.schedule import ScheduleFlags

if TYPE_CHECKING:  # torch takes seconds to import: --help goes without
    from varant.data.batches import Batches
    from varant.data.tokens import Tokens
    from varant.start.sources import Resolved, Start
    from varant.training.distributed import Ranks

# Flags that say where and how fast, not what: they may change when a run goes on.
NOT_IDENTITY = ["out", "workspace", "device", "threads", "checkpoint_every", "dry_run"]
NOT_IDENTITY += ["shard_optimiser", "skip_unreadable"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    schedule: ScheduleFlags = ScheduleFlags()
    training: TrainingFlags = TrainingFlags()
    data: TrainDataConfig = TrainDataConfig()
    start: TrainStartConfig = TrainStartConfig()
    run: TrainRunConfig = TrainRunConfig()
    seed: Seed = 0
    """Seed of base network, data order and all draws."""
    out: OutFolder | None = None
    """Folder of the run; default: WORKSPACE/supernet."""

    @classmethod
    def quick_defaults(cls) -> TrainConfig:
        training = TrainingFlags(budget_images=QUICK_BUDGET)
        return cls(training=training, run=TrainRunConfig(evaluate_images=100))

    def check(self) -> None:
        if self.run.quick and self.data.dataset == "folder":
            raise UserError("--quick: runs on the embedded data sets only")

    @property
    def identity(self) -> dict[str, Any]:
        preset = self.start.preset_made(self.run.quick)
        return plain(self, without=NOT_IDENTITY) | {"preset": preset}

    def resolve(self) -> Resolved:
        from varant.start.sources import resolve

        quick, batch = self.run.quick, self.training.batch
        return resolve(self.start, self.data, seeds=(self.seed,), quick=quick, batch=batch)

    def training_of(self, resolved: Resolved) -> TrainingConfig:
        """How this start is trained; `UserError` where flags do not suit the network."""
        lr, schedule = self.training.lr or resolved.lr, self.schedule.make()
        more = {"lr": lr, "seed": self.seed, "precision": self.run.precision}
        return TrainingConfig.of(self.training, resolved.geometry, schedule, **more)


def train_supernet(config: TrainConfig, out: Path, resolved: Resolved, ranks: Ranks) -> None:
    """Prepare and train; on every rank."""
    from varant.data.batches import OnlineBatches
    from varant.data.tokens import MIRRORED, Tokens
    from varant.progress import progress_bar, silent
    from varant.start.sources import materialise
    from varant.store.workspace import Workspace
    from varant.training.curves import save_curves
    from varant.training.run import Evaluator, RunFolder, advancing, read_metrics, run_training
    from varant.training.trainer import Trainer

    training, run = config.training_of(resolved), config.run
    progress = progress_bar if ranks.first else silent
    device = run.device
    if ranks.count > 1 and is_cuda(device):
        device = f"cuda:{ranks.local_rank}"
    workspace = Workspace(folder=run.workspace)
    train = [] if config.data.online else ["train", MIRRORED][: 1 + config.data.flip]
    splits = (*train, "select")
    start = materialise(resolved, workspace, progress, device=device, splits=splits, ranks=ranks)
    tokens = Tokens(folder=start.tokens_folder)
    _say_skipped(path for name in splits for path in getattr(tokens, name).skipped)
    batches, source = _batches(config, start, tokens, training)
    identity = {
        "flags": config.identity,
        "training": training.as_dict(),
        "start": start.origin,
        "tokenizer": start.tokenizer_sha256,
        "tokens": source,
    }
    folder = RunFolder(folder=out, identity=identity)
    with contextlib.ExitStack() as held:
        if ranks.first:
            held.enter_context(folder.locked())
            folder.claim()
        model, shard = start.make_model().to(device), run.shard_optimiser
        trainer = Trainer(model, start.tokenizer, batches, training, ranks, shard_optimiser=shard)
        evaluator = Evaluator(
            tokens=tokens.select,
            every_images=run.evaluate_every or training.evaluate_every,
            images=min(run.evaluate_images, len(tokens.select)),
        )
        title = f"{training.schedule.name} s{training.seed}"
        with progress(title, training.image_passes, "img") as advance:
            run_training(
                folder,
                trainer,
                evaluator=evaluator,
                log=advancing(advance),
                log_every=run.log_every,
                checkpoint_seconds=run.checkpoint_every,
            )
        if ranks.first:
            lines = read_metrics(out)
            save_curves(out, lines, trainer, select_images=evaluator.images)
            _say_result(out, lines[-1], evaluator.images)
    if isinstance(batches, OnlineBatches):
        _say_skipped(batches.skipped)


def _batches(
    config: TrainConfig, start: Start, tokens: Tokens, training: TrainingConfig
) -> tuple[Batches, str]:
    """Training batches, and the digest of what they are made of."""
    from varant.data.batches import CachedBatches, OnlineBatches
    from varant.data.folders import ReplacingSplit

    seed, batch, flips = training.seed, training.batch, config.data.flip
    if not config.data.online:
        train = tokens.train.followed_by(tokens.mirrored) if flips else tokens.train
        return CachedBatches(train, seed=seed, batch=batch), start.tokens_digest
    split = ReplacingSplit(start.resolved.dataset.train, config.data.skip_unreadable)
    batches = OnlineBatches(split, start.tokenizer, seed=seed, batch=batch, flips=flips)
    return batches, f"online {start.resolved.dataset.digest}"


def _say_skipped(found: Iterable[str]) -> None:
    if paths := list(dict.fromkeys(found)):
        more = " ..." if len(paths) > 3 else ""
        shown = f"{', '.join(paths[:3])}{more}"
        print(f"{len(paths)} unreadable images left out: {shown}", file=sys.stderr)


def _say_result(out: Path, line: dict[str, Any], images: int) -> None:
    """The last evaluation, in one line."""
    means = {
        name.removeprefix(SELECT_NLL): line[name] for name in line if name.startswith(SELECT_NLL)
    }
    found = ", ".join(f"{plan} {mean:.3f}" for plan, mean in means.items())
    print(
        f"{out}: {line['images_seen']:,} image passes; NLL in nats/token on {images} images of the "
        f"select split: {found}"
    )


def dry_run_text(config: TrainConfig, out: Path, resolved: Resolved) -> str:
    """Config, steps and expected cost, from a calibration of a second or two."""
    from varant.start.calibration import calibrate

    training, geometry = config.training_of(resolved), resolved.geometry
    counts = training.draws(geometry.depth).passes
    depths = {geometry.depth, *counts}
    flops = {depth: 3 * training.flops_at(depth, geometry) for depth in depths}
    total = training.batch * sum(flops[depth] * count for depth, count in counts.items())
    lines = [f"{key} = {value}" for key, value in config.identity.items()]
    lines += ["", f"{geometry}", f"learning rate {training.lr:g}", ""]
    lines += [
        f"depth {depth}: {counts[depth]:,} passes of {training.batch} images, "
        f"{flops[depth] / flops[geometry.depth]:.2f} of the full network's FLOPs"
        for depth in sorted(counts)
    ]
    lines.append(f"{training.steps:,} steps, {total:.3g} training FLOPs, into {out}")
    if geometry.width < 256:  # larger ones do not train on the processor that we are timing
        speed = calibrate(geometry, guidance=False).training_images_per_second
        seconds = total / flops[geometry.depth] / speed
        lines.append(f"about {seconds:.0f} CPU-s here, after tokenizer and base where they are new")
    return "\n".join(lines)


def finished(out: Path, identity: dict[str, Any]) -> bool:
    """Whether the run of these flags is finished in `out`; `UserError` where another is."""
    from varant.training.run import RunFolder, differing

    run = RunFolder(folder=out, identity={})
    if not run.finished or (stored := run.stored()) is None:
        return False
    if differences := "; ".join(differing(stored.get("flags", {}), identity)[:3]):
        raise UserError(
            f"--out {out}: holds a finished run of other flags ({differences}); name another folder"
        )
    return True


def main(config: TrainConfig) -> None:
    import torch

    from varant.devices import check_device
    from varant.store.checkpoint import load, read_config
    from varant.training.distributed import joined_ranks
    from varant.training.run import WORSE_NOTE, read_metrics, warn_on_stderr

    run, out = config.run, config.out or config.run.workspace / "supernet"
    check_device(run.device)
    resolved = config.resolve()
    training = config.training_of(resolved)
    if run.dry_run:
        training.check_fits(resolved.geometry, device=run.device, ranks=1)
        print(dry_run_text(config, out, resolved))
        return
    torch.set_num_threads(run.threads)
    with joined_ranks(run.device) as ranks:
        training.check_fits(resolved.geometry, device=run.device, ranks=ranks.count)
        if run.shard_optimiser and ranks.count == 1:
            raise UserError(
                "--shard-optimiser: there is one process; start several with torchrun, or drop it"
            )
        ranks.check_same(config.identity | {"torch": torch.__version__})
        if finished(out, config.identity):
            if ranks.first:
                load(out), read_metrics(out)  # what is damaged is named: "finished" is a promise
                print(f"{out}: finished already; nothing to do")
                if worse := (read_config(out).get("note") or {}).get(WORSE_NOTE):
                    warn_on_stderr(f"{out}: {worse}")
            return
        if ranks.first:
            require_writable("--out", out)
            require_writable("--workspace", run.workspace)
        train_supernet(config, out, resolved, ranks)


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(TrainConfig, __doc__))
