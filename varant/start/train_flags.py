"""The flags of `python -m varant.train`, and the training config that they describe."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from varant.data.datasets import check_dataset
from varant.errors import UserError, require_count
from varant.flags import parse_budget, parse_depths
from varant.model.geometry import Geometry
from varant.model.plan import default_depths
from varant.training.schedule import PAPER_SHARES, SCHEDULES, Schedule
from varant.training.trainer import TrainingConfig

REFERENCE_SHARE = 2 / 3  # the progressive schedule's own mean share


@dataclass(frozen=True, kw_only=True)
class TrainFlags:
    """Flags."""

    out: Path | None = None
    """Folder of the run; default: WORKSPACE/supernet."""
    schedule: str = "progressive"
    """full, fixed, progressive, reversed or sandwich."""
    budget: str = "100k"
    """Image passes, such as 100k, 1.5M or 2e5; a sandwich step takes three an image."""
    share: float = REFERENCE_SHARE
    """Subnet share of --schedule fixed; default: the mean share of the progressive one."""
    start_share: float = PAPER_SHARES[0]
    """Subnet share of the progressive schedule's first phase."""
    end_share: float = PAPER_SHARES[1]
    """Subnet share of its last phase."""
    phases: str = "5/30,15/30,10/30"
    """Its phases' lengths, first, ramp, last, as fractions of the budget; they sum to 1."""
    ramp: str = "linear"
    """Shape of its ramp: linear (the paper's), cosine, early (rises fast at first) or late."""
    depths: str | None = None
    """Subnet depths, such as 2,4,6; default: a quarter, half and three quarters of the layers."""
    switch: int | None = None
    """Last scale that runs all layers; default: six tenths of the scales (the paper's 6 of 10)."""
    selector: str = "equidistant"
    """Which layers a subnet keeps: equidistant, nested, first, last."""
    draw: str = "stratified"
    """How steps draw: stratified (shares hold over every short window) or independent."""
    distill: bool = False
    """With sandwich: subnets learn the full network's predictions in place of the tokens."""
    scale_weights: str | None = None
    """Weight of each scale's tokens in the loss, such as 1,1,1,0.5,0.5; default: all 1."""

    batch: int = 64
    """Images of an optimiser step, over all ranks."""
    accumulate: int = 1
    """Parts that a rank trains its images of a step in, to save memory."""
    lr: float | None = None
    """Peak learning rate; default: 1e-3 from a trained network, 1e-6 (the paper's) from official
    files, 5e-3 from scratch, or VAR's 1e-4 x batch / 256 where the width is 256 or more."""
    lr_schedule: str = "cosine"
    """cosine (to 5 percent) or constant; a cosine starves the last phase of a schedule."""
    warmup_steps: int = 50
    """Steps over which the learning rate rises."""
    weight_decay: float = 0.02
    """Of AdamW; embeddings, biases, scales and AdaLN gammas are exempt."""
    clip: float = 2.0
    """Largest gradient norm."""
    class_drop: float = 0.1
    """Share of images trained with the unconditional class."""
    ema: float | None = None
    """Decay a step of averaged weights, which are then what is evaluated and saved."""
    precision: str = "float32"
    """float32, bfloat16 or float16 (autocast; float16 on CUDA only)."""
    compile: bool = False
    """Compile the network with torch.compile."""
    activation_checkpointing: bool = False
    """Keep only layer inputs for the backward pass: less memory, a third more time."""

    dataset: str = "shapes"
    """shapes, digits or folder."""
    data_path: Path | None = None
    """For --dataset folder: a folder of class folders, or of train/ and val/ with class folders."""
    flip: bool = False
    """Train on mirrored images as well."""
    online: bool = False
    """Read, crop, flip and tokenise images at every step in place of tokens made once."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read, and list them."""
    patch_nums: str | None = None
    """Sides of the token maps of a tokenizer trained here, such as 1,2,3,4,6 (image side 4 x the
    last); with --vae --from-scratch: the scales to use it at."""

    model: Path | None = None
    """Start from a checkpoint folder of ours."""
    vae: Path | None = None
    """The tokenizer of an official checkpoint."""
    var: Path | None = None
    """The transformer of an official checkpoint, with --vae."""
    from_scratch: bool = False
    """Start from an untrained network."""
    depth: int | None = None
    """Layers of a network from scratch; default 8, or 16 with --vae."""
    width: int | None = None
    """Width of a network from scratch; default 48, or 64 x depth with --vae."""
    heads: int | None = None
    """Heads of a network from scratch; default: 16 channels each, or 64 with --vae."""
    base_budget: str = "48k"
    """Training images of the base network, where it is trained here."""

    workspace: Path = Path("runs")
    """Folder of all that studies write: data, tokenizers, base networks."""
    seed: int = 0
    """Seed of base network, data order and all draws."""
    device: str = "cpu"
    """cpu, cuda or cuda:0; under torchrun every process takes a CUDA device of its own."""
    threads: int = 1
    """CPU threads of this process."""
    evaluate_every: str | None = None
    """Images between two evaluations on the select split; default: a tenth of the budget."""
    evaluate_images: int = 500
    """Select images of an evaluation."""
    log_every: int = 1
    """Steps between two lines of metrics.jsonl."""
    checkpoint_every: float = 60.0
    """Seconds between two checkpoints; 0 writes one after every step."""
    quick: bool = False
    """The whole path on tiny data in half a minute; no result."""
    dry_run: bool = False
    """Print config, steps and expected cost; train nothing."""


# Flags that say where and how fast, not what: they may change when a run goes on.
NOT_IDENTITY = (
    "out",
    "workspace",
    "device",
    "threads",
    "checkpoint_every",
    "dry_run",
    "skip_unreadable",
)


def plain_flags(flags: TrainFlags) -> dict:
    """The flags that say what is trained, JSON-ready."""
    plain = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(flags).items()}
    return {k: v for k, v in plain.items() if k not in NOT_IDENTITY}


def check_flags(flags: TrainFlags) -> None:
    """Validate what needs neither data nor network.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    for flag, value, least in (
        ("--batch", flags.batch, 1),
        ("--accumulate", flags.accumulate, 1),
        ("--warmup-steps", flags.warmup_steps, 0),
        ("--seed", flags.seed, 0),
        ("--threads", flags.threads, 1),
        ("--evaluate-images", flags.evaluate_images, 1),
        ("--log-every", flags.log_every, 1),
    ):
        require_count(flag, value, least=least)
    if not flags.checkpoint_every >= 0:
        raise UserError(f"--checkpoint-every {flags.checkpoint_every}: must be 0 or more seconds")
    if flags.dataset != "folder":
        check_dataset(flags.dataset, others=("folder",))
    if (flags.dataset == "folder") != (flags.data_path is not None):
        raise UserError("--data-path: goes with --dataset folder, and --dataset folder needs it")
    if flags.var is not None and flags.vae is None:
        raise UserError(f"--var {flags.var}: give its tokenizer as --vae")
    if flags.vae is not None and (flags.var is None) != flags.from_scratch:
        raise UserError(f"--vae {flags.vae}: give --var to start from, or --from-scratch")
    if flags.model is not None and (flags.from_scratch or flags.vae is not None):
        raise UserError(f"--model {flags.model}: one start only; drop --from-scratch and --vae")
    for flag, value in (
        ("--depth", flags.depth),
        ("--width", flags.width),
        ("--heads", flags.heads),
    ):
        if value is not None and not flags.from_scratch:
            raise UserError(f"{flag} {value}: sizes a network --from-scratch only")
    if flags.patch_nums is not None and (flags.model is not None or flags.var is not None):
        raise UserError(f"--patch-nums {flags.patch_nums}: the network that you start from has its")
    if flags.quick and flags.dataset == "folder":
        raise UserError("--quick: runs on the embedded data sets only")


def schedule_of(flags: TrainFlags) -> Schedule:
    """The schedule that the flags describe.

    Raises:
        UserError: an unknown name, or numbers that make no schedule.
    """
    if flags.schedule not in SCHEDULES:
        raise UserError(f"--schedule {flags.schedule}: use one of {', '.join(SCHEDULES)}")
    if flags.schedule == "full":
        return Schedule.full()
    if flags.schedule == "sandwich":
        return Schedule.sandwich_rule()
    for flag, share in (
        ("--share", flags.share),
        ("--start-share", flags.start_share),
        ("--end-share", flags.end_share),
    ):
        if not 0 <= share <= 1:
            raise UserError(f"{flag} {share:g}: must be from 0 to 1")
    if flags.schedule == "fixed":
        return Schedule.fixed(flags.share)
    try:
        phases = tuple(float(Fraction(part.strip())) for part in flags.phases.split(","))
    except (ValueError, ZeroDivisionError):
        phases = ()
    if len(phases) != 3:
        raise UserError(f"--phases {flags.phases}: give three fractions such as 5/30,15/30,10/30")
    make = Schedule.progressive if flags.schedule == "progressive" else Schedule.reversed
    return make(flags.start_share, flags.end_share, phases, flags.ramp)


def patch_nums_of(flags: TrainFlags) -> tuple[int, ...] | None:
    """The sides that `--patch-nums` lists."""
    if flags.patch_nums is None:
        return None
    try:
        sides = tuple(int(part) for part in flags.patch_nums.split(","))
    except ValueError:
        sides = ()
    if not sides or sides[0] != 1 or any(a >= b for a, b in itertools.pairwise(sides)):
        raise UserError(
            f"--patch-nums {flags.patch_nums}: give growing sides from 1, such as 1,2,3,4,6"
        )
    return sides


def training_config(flags: TrainFlags, geometry: Geometry, learning_rate: float) -> TrainingConfig:
    """How this network is trained.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    depths = default_depths(geometry.depth)
    if flags.depths is not None:
        depths = parse_depths("--depths", flags.depths, depth=geometry.depth)
    schedule = schedule_of(flags)
    scales = len(geometry.patch_nums)
    switch = round(0.6 * scales) if flags.switch is None else flags.switch
    weights = None
    if flags.scale_weights is not None:
        try:
            weights = tuple(float(part) for part in flags.scale_weights.split(","))
        except ValueError:
            raise UserError(
                f"--scale-weights {flags.scale_weights}: give numbers such as 1,1,1,0.5,0.5"
            ) from None
    return TrainingConfig(
        budget_images=parse_budget("--budget", flags.budget),
        batch=flags.batch,
        accumulate=flags.accumulate,
        learning_rate=learning_rate if flags.lr is None else flags.lr,
        rate_schedule=flags.lr_schedule,
        warmup_steps=flags.warmup_steps,
        weight_decay=flags.weight_decay,
        clip=flags.clip,
        class_drop=flags.class_drop,
        schedule=schedule,
        depths=depths,
        switch=switch,
        selector=flags.selector,
        draw=flags.draw,
        distill=flags.distill,
        scale_weights=weights,
        ema=flags.ema,
        precision=flags.precision,
        compile=flags.compile,
        recompute=flags.activation_checkpointing,
        seed=flags.seed,
    )
