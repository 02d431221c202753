"""The picture that goes with every training run: losses by depth, and drawn on scheduled shares."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from varant.files import replacing
from varant.training.config import SELECT_NLL
from varant.training.trainer import Trainer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW = 20  # steps that a drawn share and a shown loss are taken over
Lines = list[dict[str, Any]]
Colours = Mapping[int, Any]


def save_curves(folder: Path, lines: Lines, trainer: Trainer, *, select_images: int) -> None:
    """Write `curves.svg` and `curves.png`: NLL and loss by depth, and subnet share if there is one.

    Args:
        lines: the run's metric lines.
        select_images: images of the select split that each evaluation looked at.
    """
    # Drawing is seldom wanted where networks train: it costs half a second to import.
    import matplotlib
    from matplotlib.figure import Figure

    depths = sorted({trainer.model.depth, *trainer.config.depths}, reverse=True)
    shades = matplotlib.colormaps["viridis"](np.linspace(0.15, 0.85, max(1, len(depths) - 1)))
    colours = dict(zip(depths, ["black", *shades], strict=False))  # light to dark with depth
    with matplotlib.rc_context(
        {
            "font.size": 8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlelocation": "left",
            "svg.hashsalt": "varant",
            "savefig.dpi": 160,
        }
    ):
        heights = (3, 2) if trainer.config.schedule.sandwich else (3, 2, 2)
        figure = Figure(figsize=(7, sum(heights)), layout="constrained")
        top, middle, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
        _draw_evaluations(top, lines, trainer, colours)
        top.set_title(f"NLL on {select_images:,} images of the select split, teacher-forced")
        _draw_losses(middle, lines, colours)
        if below:
            _draw_shares(below[0], trainer)
        figure.supxlabel("thousand image passes", fontsize="medium")
        figure.legend(loc="outside upper right", frameon=False, ncols=len(depths))
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            with replacing(folder / f"curves.{kind}") as aside:
                figure.savefig(aside, format=kind, metadata=metadata)


def _draw_evaluations(ax: Axes, lines: Lines, trainer: Trainer, colours: Colours) -> None:
    for depth, colour in colours.items():
        plan = trainer.config.plan_of(depth, trainer.model.geometry)
        images, values = _series(lines, f"{SELECT_NLL}{plan.name}")
        ax.plot(images, values, "o-", markersize=3, linewidth=1.2, color=colour, label=plan.name)
    ax.set_ylabel("nats a token")


def _draw_losses(ax: Axes, lines: Lines, colours: Colours) -> None:
    half = WINDOW // 2
    for depth, colour in colours.items():
        images, losses = _series(lines, f"loss/depth_{depth:02d}")
        near = (losses[max(0, i - half) : i + half] for i in range(len(losses)))
        ax.plot(images, losses, ".", color=colour, markersize=1.5, alpha=0.3)
        ax.plot(images, [np.median(part) for part in near], color=colour, linewidth=1.2)
    ax.set_ylabel("nats a token")
    ax.set_title(f"Training loss by depth (dots), running median of {WINDOW} (lines)")


def _series(lines: Lines, key: str) -> tuple[list[float], list[float]]:
    """Thousand image passes, and the values of `key`, where it was logged."""
    held = [line for line in lines if key in line]
    return [line["images_seen"] / 1e3 for line in held], [line[key] for line in held]


def _draw_shares(ax: Axes, trainer: Trainer) -> None:
    config = trainer.config
    images = np.arange(1, config.steps + 1) * config.batch * config.passes / 1e3
    subnet_S = trainer.draws.subnet_S(trainer.model.depth).astype(float)
    window = min(WINDOW, len(subnet_S))
    drawn = np.convolve(subnet_S, np.ones(window) / window, mode="valid")
    middle = (window - 1) // 2
    ax.plot(images[middle : middle + len(drawn)], drawn, color="#d55e00", linewidth=0.9)
    ax.plot(images, trainer.draws.share_S, color="black", linewidth=1.4)
    ax.set_ylim(-0.05, 1.05)
    ax.set_ylabel("subnet share p")
    name = config.schedule.name
    ax.set_title(f"Schedule: {name} (black), and the share drawn in {WINDOW} steps (orange)")
