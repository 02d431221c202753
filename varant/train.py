"""Train a VARiant supernet.

    python -m varant.train --schedule progressive --budget 100k --out runs/my-supernet

From the cached base network of the data set (trained first where the workspace has none), or from
--model FOLDER, from official files (--vae and --var), or --from-scratch. The folder gets
model.safetensors, tokenizer.safetensors and config.json (`varant.load` and `python -m
studies.sensitivity --model` take it), metrics.jsonl, the newest two checkpoints, and curves.svg.
Stopped by anything, the same command goes on exactly where it was; finished, it says so.

A step trains a subnet with share p and the full network otherwise; --schedule says how p goes:
full (0, the control), fixed (--share), progressive (--start-share, --end-share, --phases: the
paper's 2:8 to 10:0), reversed (the same backwards), sandwich. 100k images of the embedded data
take about 4 minutes on one core; on more devices: torchrun --nproc-per-node 2 -m varant.train ...
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch
import tyro

from varant.data.batches import Batches, CachedBatches, OnlineBatches
from varant.data.datasets import SPLITS
from varant.data.tokens import TokenSplit, read_tokens
from varant.devices import check_device
from varant.errors import UserError, exit_codes, require_writable
from varant.flags import parse_budget
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.progress import Progress, progress_bar, silent
from varant.start.calibration import calibrate
from varant.start.preparation import Workspace, prepare_tokens
from varant.start.start import Start, given_start, planned_start, prepare_start
from varant.start.train_flags import TrainFlags, check_flags, plain_flags, training_config
from varant.training.curves import save_curves
from varant.training.distributed import Ranks, joined_ranks
from varant.training.run import (
    RUN_FILE,
    Evaluator,
    RunFolder,
    advancing,
    differing,
    read_metrics,
    run_training,
)
from varant.training.schedule import draw_steps
from varant.training.trainer import Trainer, TrainingConfig


def train_supernet(
    flags: TrainFlags,
    out: Path,
    given: Start | None,
    config: TrainingConfig,
    ranks: Ranks,
    device: str,
) -> None:
    """Prepare and train; on every rank, of which the first prepares before the others."""
    workspace = Workspace(folder=flags.workspace)
    progress = progress_bar if ranks.first else silent
    if not ranks.first:
        ranks.wait()
    start = given or prepare_start(flags, workspace, progress)
    batches, tokens_digest, select = _data(flags, start, config, workspace, progress, device)
    if ranks.first:
        ranks.wait()
    identity = {
        "flags": plain_flags(flags),
        "training": config.as_dict(),
        "start": start.origin,
        "tokenizer": start.tokenizer_sha256,
        "tokens": tokens_digest,
    }
    run = RunFolder(folder=out, identity=identity)
    with contextlib.ExitStack() as held:
        if ranks.first:
            held.enter_context(run.locked())
            run.claim()
        model = start.make_model().to(device)
        tokenizer = start.tokenizer.to(device)
        trainer = Trainer(model, tokenizer, batches, config, ranks)
        evaluator = Evaluator(
            tokenizer=tokenizer,
            tokens=select,
            every_images=evaluation_interval(flags, config),
            images=flags.evaluate_images,
        )
        passes = config.steps * config.batch * config.passes
        title = f"{config.schedule.name} s{config.seed}"
        with progress(title, passes, "img") as advance:
            run_training(
                run,
                trainer,
                tokenizer,
                evaluator=evaluator,
                log=advancing(advance),
                log_every=flags.log_every,
                checkpoint_seconds=flags.checkpoint_every,
            )
        if ranks.first:
            lines = read_metrics(out)
            images = min(flags.evaluate_images, len(select))
            save_curves(out, lines, trainer, select_images=images)
            _say_result(out, lines[-1], images)
    if isinstance(batches, OnlineBatches) and batches.skipped:
        _say_skipped(batches.skipped)


def evaluation_interval(flags: TrainFlags, config: TrainingConfig) -> int:
    """Images between two evaluations."""
    if flags.evaluate_every is None:
        return max(1, config.budget_images // 10)
    return parse_budget("--evaluate-every", flags.evaluate_every)


def _data(
    flags: TrainFlags,
    start: Start,
    config: TrainingConfig,
    workspace: Workspace,
    progress: Progress,
    device: str,
) -> tuple[Batches, str, TokenSplit]:
    """Training batches, the digest of what they are made of, and the select split's tokens."""
    tokenizer = start.tokenizer.to(device)
    data = prepare_tokens(
        workspace,
        start.dataset,
        tokenizer,
        start.tokenizer_sha256,
        progress,
        flips=flags.flip and not flags.online,
        skip_unreadable=flags.skip_unreadable,
        splits=SPLITS[1:] if flags.online else SPLITS,
    )
    tokens = read_tokens(data.folder)
    if tokens.skipped:
        _say_skipped(tokens.skipped)
    if not flags.online:
        batches = CachedBatches(tokens.train, seed=config.seed, batch=config.batch)
        return batches, data.digest, tokens.select
    batches = OnlineBatches(
        start.dataset.train,
        tokenizer,
        seed=config.seed,
        batch=config.batch,
        flips=flags.flip,
        skip_unreadable=flags.skip_unreadable,
    )
    return batches, f"online {start.dataset.digest}", tokens.select


def _say_skipped(paths: tuple[str, ...]) -> None:
    print(
        f"{len(paths)} unreadable images left out: {', '.join(paths[:3])}"
        f"{' ...' if len(paths) > 3 else ''}",
        file=sys.stderr,
    )


def _say_result(out: Path, line: dict, images: int) -> None:
    """The last evaluation, in one line."""
    found = ", ".join(
        f"{name.rsplit('/', 1)[1]} {value:.3f}"
        for name, value in line.items()
        if name.startswith("select/nll/mean/")
    )
    print(
        f"{out}: {line['images_seen']:,} image passes; NLL in nats/token on {images} images of the "
        f"select split: {found}"
    )


def dry_run_text(flags: TrainFlags, out: Path, geometry: Geometry, config: TrainingConfig) -> str:
    """Config, steps and expected cost, from a calibration of a second or two."""
    draws = draw_steps(
        config.schedule,
        steps=config.steps,
        depths=config.depths,
        full_depth=geometry.depth,
        seed=config.seed,
        draw=config.draw,
    )
    counts = Counter(depth for step in draws.depths for depth in step)
    flops = {
        depth: 3 * plan_cost(geometry, config.plan_of(depth, geometry), guidance=False).flops
        for depth in {geometry.depth, *counts}
    }
    total = config.batch * sum(flops[depth] * count for depth, count in counts.items())
    lines = [f"{key} = {value}" for key, value in plain_flags(flags).items()]
    lines += ["", f"{geometry}", f"learning rate {config.learning_rate:g}", ""]
    lines += [
        f"depth {depth}: {counts[depth]:,} passes of {config.batch} images, "
        f"{flops[depth] / flops[geometry.depth]:.2f} of the full network's FLOPs"
        for depth in sorted(counts)
    ]
    lines.append(f"{config.steps:,} steps, {total:.3g} training FLOPs, into {out}")
    if geometry.width < 256:  # larger ones do not train on the processor that we are timing
        speed = calibrate(geometry, guidance=False).training_images_per_second
        seconds = total / flops[geometry.depth] / speed
        lines.append(f"about {seconds:.0f} CPU-s here, after tokenizer and base where they are new")
    return "\n".join(lines)


def finished(out: Path, flags: TrainFlags) -> bool:
    """Whether the run of these flags is finished in `out`.

    Raises:
        UserError: another run is.
    """
    run = RunFolder(folder=out, identity={})
    if not run.finished or not (out / RUN_FILE).exists():
        return False
    try:
        stored = json.loads((out / RUN_FILE).read_text())["identity"]["flags"]
        differences = differing(stored, json.loads(json.dumps(plain_flags(flags))))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{out / RUN_FILE}: damaged; name another --out folder") from None
    if differences:
        raise UserError(
            f"--out {out}: holds a finished run of other flags ({'; '.join(differences[:3])}); "
            "name another folder"
        )
    return True


def main(flags: TrainFlags) -> None:
    """Check the flags, join the ranks, and train."""
    check_flags(flags)
    check_device(flags.device)
    if flags.quick:
        flags = replace(flags, budget="6400", evaluate_images=100)
    out = flags.out or flags.workspace / "supernet"
    given = given_start(flags)
    planned = given or planned_start(flags)
    config = training_config(flags, planned.geometry, planned.learning_rate)
    evaluation_interval(flags, config)
    if flags.dry_run:
        config.check_fits(planned.geometry, device=flags.device, ranks=1)
        print(dry_run_text(flags, out, planned.geometry, config))
        return
    torch.set_num_threads(flags.threads)
    with joined_ranks(flags.device) as ranks:
        config.check_fits(planned.geometry, device=flags.device, ranks=ranks.count)
        ranks.check_same(plain_flags(flags) | {"torch": torch.__version__})
        if finished(out, flags):
            if ranks.first:
                print(f"{out}: finished already; nothing to do")
            return
        if ranks.first:
            require_writable("--out", out)
            require_writable("--workspace", flags.workspace)
        device = flags.device
        if ranks.count > 1 and device.startswith("cuda"):
            device = f"cuda:{ranks.local_rank}"
        train_supernet(flags, out, given, config, ranks, device)


if __name__ == "__main__":
    with exit_codes():
        main(tyro.cli(TrainFlags, description=__doc__))
