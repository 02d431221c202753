"""What does depth save in time? Ratios of two things that were timed by turns in one run.

    python -m studies.efficiency

The `training` part, on random tokens, one thread on a CPU (CPU-seconds) or one CUDA device (wall):
- a subnet step over a full step, against the ratio of their FLOPs, where matrix products dominate
  (depth 12, width 384, the official 680 tokens);
- training on cached tokens over tokenising at every step, with the official tokenizer and VAR-d16;
- the share of a step that loading its tokens takes, and images a second, for the small default.

Takes about 4 minutes and 8 GiB on one core. Expect step ratios within 15 % of the FLOPs ratio,
cached tokens at 1.12 times the throughput of online ones or better, loading under 2 %.
"""

from __future__ import annotations

import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import tyro

from studies.grid.folder import hardware, write_study
from studies.tracking.logged import LoggedStudy
from studies.tracking.mirror import mirroring
from varant import VAR, Geometry, Tokenizer, TokenizerConfig
from varant.data.batches import CachedBatches, OnlineBatches
from varant.data.datasets import ArraySplit
from varant.data.tokens import TokenSplit
from varant.devices import check_device
from varant.errors import UserError, exit_codes, require_count, require_writable
from varant.files import digest_of
from varant.model.cost import plan_cost
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256
from varant.randomness import torch_seed
from varant.start.preparation import LIGHT_TOKENIZER, SMALL_GEOMETRY, Workspace
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer, TrainingConfig

STUDY = "efficiency"
PARTS = ("training",)
OFFICIAL_TOKENIZER = TokenizerConfig(
    patch_nums=OFFICIAL_PATCH_NUMS_256,
    vocab_size=4096,
    code_channels=32,
    backbone="official",
    channels=160,
    multipliers=(1, 1, 2, 2, 4),
    blocks=2,
    phis=4,
)
MATRIX_GEOMETRY = replace(Geometry.official(16), depth=12, width=384, heads=6)


@dataclass(frozen=True, kw_only=True)
class EfficiencyConfig:
    """Flags of the study."""

    parts: str = "training"
    """What to time: training."""
    repeats: int = 5
    """Timings of each thing, by turns; the median counts."""
    workspace: Path = Path("runs")
    """Folder of all that studies write."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    quick: bool = False
    """Tiny networks, in a few seconds; every output is marked, none is a result."""
    dry_run: bool = False
    """Print config and what would be timed; time nothing."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One measured ratio or rate.

    Attributes:
        value: median over the repeats.
        low, high: smallest and largest of them.
        expected: what it is compared with, and how that is called in `against`.
    """

    name: str
    value: float
    low: float
    high: float
    unit: str
    expected: float | None
    against: str


def timed_by_turns(
    works: Sequence[Callable[[], object]], *, repeats: int, device: str
) -> np.ndarray:
    """(repeats, works) seconds: CPU time of this process, or wall time of a CUDA device.

    By turns, so that a slow moment of the machine falls on all of them alike; each runs once
    before, untimed.
    """
    cuda = device.startswith("cuda")

    def seconds(work: Callable[[], object]) -> float:
        if cuda:
            torch.cuda.synchronize()
        clock = time.perf_counter if cuda else time.process_time
        started = clock()
        work()
        if cuda:
            torch.cuda.synchronize()
        return clock() - started

    for work in works:
        work()
    return np.array([[seconds(work) for work in works] for _ in range(repeats)])


def random_trainer(
    geometry: Geometry, tokenizer: Tokenizer, *, batch: int, depth: int, device: str
) -> Trainer:
    """A trainer whose every step trains `depth`, on random tokens."""
    with torch_seed(0):
        model = VAR(geometry).to(device)
        shard = torch.randint(geometry.vocab_size, (4 * batch, geometry.tokens)).short()
    tokens = TokenSplit(shards=(shard,), labels_N=torch.zeros(4 * batch, dtype=torch.long))
    full = depth == geometry.depth
    config = TrainingConfig(
        budget_images=10_000 * batch,
        batch=batch,
        schedule=Schedule.full() if full else Schedule.fixed(1.0),
        depths=() if full else (depth,),
        switch=round(0.6 * len(geometry.patch_nums)),
    )
    batches = CachedBatches(tokens, seed=0, batch=batch)
    return Trainer(model, tokenizer.to(device), batches, config)


def time_steps(config: EfficiencyConfig) -> list[Timing]:
    """A subnet step over a full step, at a size where matrix products dominate."""
    geometry = MATRIX_GEOMETRY
    if config.quick:
        geometry = replace(geometry, depth=4, width=64, heads=2)
    with torch_seed(0):  # the backbone takes no part in a step on cached tokens
        tokenizer = Tokenizer(replace(OFFICIAL_TOKENIZER, channels=32))
    depths = sorted({geometry.depth // 4, geometry.depth // 2, geometry.depth}, reverse=True)
    trainers = [
        random_trainer(geometry, tokenizer, batch=2, depth=depth, device=config.device)
        for depth in depths
    ]
    seconds = timed_by_turns(
        [trainer.advance for trainer in trainers], repeats=config.repeats, device=config.device
    )
    found = []
    for column, trainer in enumerate(trainers[1:], start=1):
        depth = depths[column]
        flops = [
            plan_cost(geometry, t.plans[d], guidance=False).flops
            for t, d in ((trainer, depth), (trainers[0], geometry.depth))
        ]
        name = f"step time d{depth}@{trainer.config.switch} / full"
        ratios = seconds[:, column] / seconds[:, 0]
        found.append(_timing(name, ratios, "ratio", flops[0] / flops[1], "FLOPs ratio"))
    return found


def time_tokenising(config: EfficiencyConfig) -> list[Timing]:
    """Throughput on cached tokens over tokenising at every step, official geometry."""
    geometry = Geometry.official(16)
    shape = OFFICIAL_TOKENIZER
    if config.quick:
        geometry = replace(geometry, depth=2, width=64, heads=2)
        shape = replace(shape, channels=32)
    with torch_seed(0):
        tokenizer = Tokenizer(shape).eval()
    cached = random_trainer(
        geometry, tokenizer, batch=1, depth=geometry.depth, device=config.device
    )
    side = tokenizer.image_side
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, side, side), dtype=np.uint8)
    images = ArraySplit(images_N3HW=pixels, labels_N=np.zeros(4, dtype=np.int64))
    online = OnlineBatches(images, tokenizer.to(config.device), seed=0, batch=1)
    stored = cached.batches

    def step_on(batches: CachedBatches | OnlineBatches) -> Callable[[], object]:
        def step() -> None:
            cached.batches = batches
            cached.advance()

        return step

    seconds = timed_by_turns(
        [step_on(stored), step_on(online)], repeats=config.repeats, device=config.device
    )
    ratios = seconds[:, 1] / seconds[:, 0]
    name = "throughput on cached tokens / tokenised online"
    return [_timing(name, ratios, "ratio", 1.12, "target, at least")]


def time_small_default(config: EfficiencyConfig) -> list[Timing]:
    """Images a second of the small default network, and the share of loading in a step."""
    steps = 2 if config.quick else 20
    with torch_seed(0):
        tokenizer = Tokenizer(LIGHT_TOKENIZER).eval()
    trainer = random_trainer(
        SMALL_GEOMETRY, tokenizer, batch=64, depth=SMALL_GEOMETRY.depth, device=config.device
    )
    batches = trainer.batches

    def train() -> None:
        for _ in range(steps):
            trainer.advance()

    def load() -> None:
        for step in range(steps):
            batch = batches.batch(step, slice(None))
            batch.tokens_NL.to(config.device)

    seconds = timed_by_turns([train, load], repeats=config.repeats, device=config.device)
    rate = 64 * steps / seconds[:, 0]
    return [
        _timing(
            "loading / step, small default",
            seconds[:, 1] / seconds[:, 0],
            "share",
            0.02,
            "target, below",
        ),
        _timing(
            "training speed, small default",
            rate,
            "images/s" if config.device.startswith("cuda") else "images/CPU-s",
            400.0,
            "target, at least",
        ),
    ]


def _timing(
    name: str, values: np.ndarray, unit: str, expected: float | None, against: str
) -> Timing:
    return Timing(
        name=name,
        value=statistics.median(values.tolist()),
        low=float(values.min()),
        high=float(values.max()),
        unit=unit,
        expected=expected,
        against=against,
    )


def table(timings: Sequence[Timing]) -> str:
    """Plain text: median, range, and what it is compared with."""
    lines = [f"{'':48} {'median':>8}  {'range':>17}  compared with"]
    for t in timings:
        spread = f"{t.low:.4g} to {t.high:.4g}"
        against = f"{t.against} {t.expected:.4g}" if t.expected is not None else ""
        lines.append(f"{t.name:48} {t.value:8.4g}  {spread:>17}  {against} ({t.unit})")
    return "\n".join(lines)


def check_flags(config: EfficiencyConfig) -> None:
    """Raise `UserError` for flags that make no sense."""
    for part in config.parts.split(","):
        if part not in PARTS:
            raise UserError(f"--parts {part}: use one of {', '.join(PARTS)}")
    require_count("--repeats", config.repeats)
    check_device(config.device)


def main(config: EfficiencyConfig, command: str) -> None:
    """Time, print, write the study's folder, and record it."""
    check_flags(config)
    study = f"{STUDY}-quick" if config.quick else STUDY
    flags = asdict(config) | {"workspace": str(config.workspace)}
    if config.dry_run:
        print("\n".join(f"{key} = {value}" for key, value in flags.items()))
        print("training: step ratios, cached against online tokens, loading share, small default")
        return
    require_writable("--workspace", config.workspace)
    torch.set_num_threads(1)
    timings: list[Timing] = []
    for measure in (time_steps, time_tokenising, time_small_default):
        timings += measure(config)
        print(f"{measure.__name__}: done", file=sys.stderr)
    folder = Workspace(folder=config.workspace).study(study)
    folder.mkdir(parents=True, exist_ok=True)
    machine = hardware(workers=1, device=config.device)
    if config.device.startswith("cuda"):
        machine["gpu"] = torch.cuda.get_device_name(config.device)
    facts = {
        "study": study,
        "quick": config.quick,
        "command": command,
        "hardware": machine,
        "timings": [asdict(timing) for timing in timings],
    }
    write_study(folder, facts)
    _record(config, study, folder, timings, machine)
    marked = "QUICK, no result\n" if config.quick else ""
    print(f"{marked}{table(timings)}\n{folder / 'study.json'}")


def _record(
    config: EfficiencyConfig, study: str, folder: Path, timings: list[Timing], machine: dict
) -> None:
    """One MLflow run: the medians, and the study's file."""
    with mirroring():
        from studies.tracking.mlflow_runs import open_study

        flags = {"parts": config.parts, "repeats": config.repeats, "device": config.device}
        record = open_study(
            config.workspace,
            LoggedStudy(
                name=study,
                run_name=f"training on {machine.get('gpu', machine['cpu'])}",
                config_digest=digest_of(flags | {"timings": [asdict(t) for t in timings]}),
                params=flags,
                tags={"study": study, "quick": str(config.quick).lower()},
            ),
        )
        record.finish(
            note=table(timings),
            metrics={
                t.name.replace("@", "-").replace(",", "").replace(" / ", " over "): t.value
                for t in timings
            },
            tags={"hardware": str(machine)},
            artifacts={"": [folder / "study.json"]},
            failed=False,
        )


if __name__ == "__main__":
    with exit_codes():
        flags = tyro.cli(EfficiencyConfig, description=__doc__)
        main(flags, "python -m studies.efficiency " + shlex.join(sys.argv[1:]))
