"""Which scales of a VAR need depth?

    python -m studies.sensitivity

Takes layers from a trained network, without training it further, and measures what that costs:
(a) every scale at every depth, all other scales full;
(b) every switch point with every depth: `d4@3` runs all layers on scales 1-3, 4 after them;
(c) the paper's windows at half depth: early, middle, late scales, the others full.

Windows of K scales end after round(0.3 K), round(0.6 K) and K: for the paper's 10 scales 1-3, 4-6
and 7-10, as published; for 5 scales 1-2, 3 and 4-5.

Claim C1 (early scales need depth, late ones do not) is judged by an asymmetry statistic that was
fixed before any run: see `analysis/asymmetry.py`.

Cost on two idle cores with the defaults: under 5 minutes from nothing, most of it the base
network; under 90 s with the base in the workspace. Expect a full network with class accuracy above
0.95, a heatmap in which every scale loses something at a quarter of the depth, and a verdict.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

from reports import build
from studies.cell import Cell, Evaluation
from studies.networks import Bench, base_config, checkpoint_geometry, from_checkpoint, prepare_bases
from studies.runner import collect, one_thread_processes, run_cells, split_cells
from studies.sensitivity_grid import Entry, entries_of
from studies.sensitivity_mirror import open_record, record_interrupt, record_results
from studies.sensitivity_outcome import Outcome, write_folder
from varant.calibration import calibrate
from varant.cost import plan_cost
from varant.datasets import check_dataset, split_sizes
from varant.devices import check_device
from varant.errors import UserError, exit_codes, require_count, require_writable
from varant.files import digest_of
from varant.flags import parse_budget, parse_depths, parse_list
from varant.geometry import Geometry
from varant.plan import SELECTORS, default_depths
from varant.preparation import BaseConfig, Workspace

STUDY = "sensitivity"
NLL_SETS = 40


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig:
    """Flags of the study."""

    workspace: Path = Path("runs")
    """Folder of all that studies write."""
    dataset: str = "shapes"
    """Embedded data set: shapes or digits."""
    model: Path | None = None
    """A checkpoint folder to measure in place of the base network."""
    depths: str | None = None
    """Depth grid, such as 2,4,6; default: a quarter, half and three quarters of the network."""
    selectors: str = "equidistant"
    """Which layers a subnet keeps: a list of equidistant, nested, first, last."""
    base_seeds: int = 1
    """Base networks to train, with seeds from --seed on; several are pooled in the verdict."""
    base_budget: str = "48k"
    """Training images of a base network."""
    samples: int = 2000
    """Generated images a cell."""
    sets: int = 8
    """Disjoint sets that the samples are split into, for intervals."""
    nll_images: int | None = None
    """Test images a cell for the teacher-forced NLL; default: 2000, or as many as there are."""
    cfg: float = 0.0
    """Classifier-free guidance; 0 is off."""
    top_k: int = 0
    """Sample among the k likeliest codes; 0 is off."""
    top_p: float = 0.0
    """Sample among the likeliest codes of this probability; 0 is off."""
    seed: int = 0
    """Seed of the base network and of sampling."""
    workers: int = 2
    """One-thread processes that run cells."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    quick: bool = False
    """The whole path on tiny data in about a minute; every output is marked, none is a result."""
    dry_run: bool = False
    """Print config, cells and expected cost; run nothing."""


@dataclass(frozen=True, kw_only=True)
class CheckedFlags:
    """Flags that were read and found good, before anything is written."""

    depths: tuple[int, ...]
    selectors: tuple[str, ...]
    nll_images: int


def check_flags(
    config: SensitivityConfig, *, depth: int, num_classes: int, test_images: int
) -> CheckedFlags:
    """Validate what does not need the data.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    for flag, value in (
        ("--base-seeds", config.base_seeds),
        ("--sets", config.sets),
        ("--workers", config.workers),
        ("--samples", config.samples),
    ):
        require_count(flag, value)
    require_count("--seed", config.seed, least=0)
    require_count("--top-k", config.top_k, least=0)
    if not 0.0 <= config.top_p <= 1.0:
        raise UserError(f"--top-p {config.top_p}: must be from 0.0 (off) to 1.0")
    if not math.isfinite(config.cfg):
        raise UserError(f"--cfg {config.cfg}: must be a finite number")
    if config.sets < 2:
        raise UserError(f"--sets {config.sets}: an interval needs at least 2 disjoint sets")
    least = config.sets * 2 * num_classes
    if config.samples < least or config.samples % config.sets:
        raise UserError(
            f"--samples {config.samples}: must be a multiple of --sets ({config.sets}) and at "
            f"least {least}, two of each class in each set"
        )
    if config.model is not None and config.base_seeds > 1:
        raise UserError(f"--base-seeds {config.base_seeds}: --model gives one network; leave it 1")
    selectors = parse_list("--selectors", config.selectors)
    for selector in selectors:
        if selector not in SELECTORS:
            raise UserError(f"--selectors {selector}: use one of {', '.join(SELECTORS)}")
    check_device(config.device)
    depths = default_depths(depth)
    if config.depths is not None:
        depths = parse_depths("--depths", config.depths, depth=depth)
    nll_images = config.nll_images
    if nll_images is None:
        nll_images = min(2000, test_images // NLL_SETS * NLL_SETS)
    require_count("--nll-images", nll_images)
    if nll_images > test_images:
        raise UserError(
            f"--nll-images {nll_images}: {config.dataset} has {test_images} test images"
        )
    if nll_images % NLL_SETS:
        raise UserError(f"--nll-images {nll_images}: must be a multiple of {NLL_SETS}")
    return CheckedFlags(depths=depths, selectors=selectors, nll_images=nll_images)


def study_name(config: SensitivityConfig) -> str:
    """A quick run is a study of its own, so that it never stands in a result's place."""
    return f"{STUDY}-quick" if config.quick else STUDY


def cells_of(
    config: SensitivityConfig, nll_images: int, bench: Bench, entries: list[Entry]
) -> dict[tuple[int, str], Cell]:
    """The cell of each (base seed, entry name); entries that share a plan share a cell."""
    evaluation = Evaluation(
        samples=config.samples,
        sets=config.sets,
        nll_images=nll_images,
        nll_sets=NLL_SETS,
        cfg=config.cfg,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=config.seed,
    )
    return {
        (network.base_seed, entry.name): Cell(
            network=network, plan=entry.plan, evaluation=evaluation, device=config.device
        )
        for network in bench.networks
        for entry in entries
    }


def main(config: SensitivityConfig, command: str) -> None:
    """Check, prepare, run the cells, record them, and build the report."""
    started = time.monotonic()
    if config.quick:
        config = replace(config, samples=160, sets=4, nll_images=200)
    check_dataset(config.dataset)
    base = base_config(
        dataset=config.dataset,
        quick=config.quick,
        budget_images=parse_budget("--base-budget", config.base_budget),
        seed=config.seed,
    )
    geometry = checkpoint_geometry(config.model) if config.model else base.geometry
    flags = check_flags(
        config,
        depth=geometry.depth,
        num_classes=geometry.num_classes,
        test_images=split_sizes(config.dataset, limit=base.limit)["test"],
    )
    entries = entries_of(geometry.patch_nums, geometry.depth, flags.depths, flags.selectors)
    workspace = Workspace(folder=config.workspace)
    if config.dry_run:
        print(dry_run_text(config, flags, base, geometry, entries))
        return
    require_writable("--workspace", config.workspace)
    with one_thread_processes(config.workers) as pool:
        if config.model:
            bench = from_checkpoint(
                workspace,
                config.model,
                dataset_name=config.dataset,
                limit=base.limit,
                seed=config.seed,
            )
        else:
            bench = prepare_bases(workspace, base, config.base_seeds, pool, device=config.device)
        preparation_seconds = time.monotonic() - started
        cells = cells_of(config, flags.nll_images, bench, entries)
        split = split_cells(list(cells.values()), workspace)
        if split.finished:
            print(f"{len(split.finished)} cells are finished already", file=sys.stderr)
        futures = run_cells(pool, split.open, workspace)
        identity = {"flags": plain_flags(config), "cells": sorted(c.digest for c in cells.values())}
        outcome = Outcome(
            study=study_name(config),
            quick=config.quick,
            command=command,
            flags=plain_flags(config),
            config_digest=digest_of(identity),
            folder=workspace.study(study_name(config)),
            workspace=workspace,
            bench=bench,
            entries=entries,
            cells=cells,
            depths=flags.depths,
            selectors=flags.selectors,
            workers=config.workers,
            device=config.device,
            preparation_seconds=preparation_seconds,
        )
        record = open_record(outcome)  # two seconds and more, while the cells run
        try:
            results = split.finished | collect(futures)
            write_folder(outcome, results, wall_seconds=time.monotonic() - started)
            paths = build(outcome.folder)
        except BaseException:
            record_interrupt(record)
            raise
        record_results(record, outcome, results, paths)
    failed = sum(result.status == "failed" for result in results.values())
    if failed:
        print(f"{failed} cells failed; the report names them", file=sys.stderr)
    print(f"{paths.verdict} ({time.monotonic() - started:.0f} s)\n{paths.pdf}")


def dry_run_text(
    config: SensitivityConfig,
    flags: CheckedFlags,
    base: BaseConfig,
    geometry: Geometry,
    entries: list[Entry],
) -> str:
    """Config, cells and expected cost, from a calibration of a second or two."""
    plans = {entry.plan.digest: entry.plan for entry in entries}
    cost = calibrate(geometry, guidance=config.cfg != 0)
    networks = 1 if config.model else config.base_seeds
    full_flops = plan_cost(geometry).flops
    shares = sum(plan_cost(geometry, plan).flops / full_flops for plan in plans.values())
    cell_seconds = shares * (
        config.samples / cost.samples_per_second + flags.nll_images / cost.nll_images_per_second
    ) + 0.7 * len(plans)
    lines = [f"{key} = {value}" for key, value in plain_flags(config).items()]
    lines.append("")
    for family in ("full", "scale", "switch", "window"):
        names = [entry.name for entry in entries if entry.family == family]
        lines.append(f"{family} ({len(names)}): {', '.join(names)}")
    lines += [
        f"{len(plans)} different plans x {networks} networks = {len(plans) * networks} cells",
        "",
        f"workspace {config.workspace}: cells and networks that are there are not made again",
    ]
    if not config.model:
        images = base.training.steps * base.training.batch
        seconds = images / cost.training_images_per_second
        lines.append(
            f"base network: {images:,} training images, about {seconds:.0f} CPU-s each; "
            "the tokenizer before it about a quarter of that"
        )
    lines.append(
        f"cells: about {cell_seconds * networks:.0f} CPU-s, on {config.workers} one-thread "
        "processes; then MLflow and the report, about 15 s"
    )
    return "\n".join(lines)


def plain_flags(config: SensitivityConfig) -> dict:
    """The flags that say what is measured, JSON-ready; where and how fast is left out."""
    flags = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    for flag in ("workspace", "workers", "dry_run"):
        del flags[flag]
    return flags


if __name__ == "__main__":
    with exit_codes():
        flags = tyro.cli(SensitivityConfig, description=__doc__)
        main(flags, "python -m studies.sensitivity " + shlex.join(sys.argv[1:]))
