"""What a grid would cost on this processor, as a study's `--dry-run` says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies.cells.cell import Task
from studies.grid.flags import StudyConfig

if TYPE_CHECKING:
    from studies.grid.bench import Planned

LARGE = 256  # width of a network that the processor which we would time could not run


@dataclass(frozen=True, kw_only=True)
class Price:
    """What tasks would take.

    Attributes:
        lines: for people.
        seconds: CPU-seconds of each task.
        unit_seconds: of a unit, its base network included.
    """

    lines: tuple[str, ...]
    seconds: Mapping[Task, float]
    unit_seconds: float


def price_of(bench: Planned, tasks: Sequence[Task], config: StudyConfig) -> Price | None:
    """By a calibration of a second or two; None for networks of `LARGE` width."""
    from varant.start.calibration import calibrate, held_out_seconds

    geometry = bench.geometry
    if geometry.width >= LARGE:
        return None
    lines, base = [], 0.0
    speed = calibrate(geometry, guidance=config.sampling.cfg != 0)
    if bench.trained_here and (images := bench.training_images):
        base = images / speed.training_images_per_second
        lines.append(
            f"base networks: {len(bench.trained_here)} of {images:,} training images, about "
            f"{base:.0f} CPU-s each; where there is no tokenizer, one to four minutes before them"
        )
    prepared = held_out_seconds(bench.dataset, len(bench.units))
    if prepared:
        lines.append(
            f"held-out images of {len(bench.units)} units, unless they are there: about "
            f"{prepared:.0f} CPU-s"
        )
    seconds = {task: task.seconds(speed, geometry) for task in tasks}
    total, workers = sum(seconds.values()), config.workers
    training = sum(seconds[task] for task in tasks if task.trains)
    if training:
        passes = sum(task.images for task in tasks if task.trains)
        lines.append(f"training: {passes:,} image passes, about {training:.0f} CPU-s")
    lines.append(
        f"evaluation: about {total - training:.0f} CPU-s; on {workers} one-thread processes "
        f"about {(total + prepared) / workers:.0f} s of wall time for held-out images and "
        "cells; then MLflow and the report, about 15 s"
    )
    return Price(lines=tuple(lines), seconds=seconds, unit_seconds=base + total / len(bench.units))
