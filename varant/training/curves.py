"""The picture that goes with every training run: losses, and the drawn shares on the schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from varant.files import replacing
from varant.training.schedule import Draws
from varant.training.trainer import TrainingConfig

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WINDOW = 20  # steps that a drawn share and a shown loss are taken over
SELECT = "select/nll/mean/"


def save_curves(
    folder: Path,
    lines: list[dict],
    draws: Draws,
    config: TrainingConfig,
    full_depth: int,
    *,
    select_images: int,
) -> None:
    """Write `curves.svg` and `curves.png`: loss by depth, subnet share, learning rate.

    Args:
        lines: the run's metric lines.
        select_images: images of the select split that each evaluation looked at.
    """
    # Drawing is seldom wanted where networks train: it costs half a second to import.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = {
        "font.size": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "svg.hashsalt": "varant",
        "savefig.dpi": 160,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7, 7), layout="constrained")
        FigureCanvasAgg(figure)
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 2, 2))
        colours = _colours(config.depths, full_depth)
        _draw_evaluations(top, lines, colours, full_depth)
        top.set_title(f"NLL on {select_images:,} images of the select split, teacher-forced")
        _draw_losses(middle, lines, colours)
        _draw_shares(bottom, draws, config, full_depth)
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            with replacing(folder / f"curves.{kind}") as aside:
                figure.savefig(aside, format=kind, metadata=metadata)


def _colours(depths: tuple[int, ...], full_depth: int) -> dict[int, object]:
    """A colour a depth: light to dark with depth, the full network black."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.15, max(1, len(depths))))
    return dict(zip(sorted(depths), shades, strict=False)) | {full_depth: "black"}


def _draw_evaluations(
    ax: Axes, lines: list[dict], colours: dict[int, object], full_depth: int
) -> None:
    evaluated = [line for line in lines if f"{SELECT}full" in line]
    images = [line["images_seen"] / 1e3 for line in evaluated]
    ends = []
    for key in (key for key in evaluated[-1] if key.startswith(SELECT)):
        plan = key.removeprefix(SELECT)
        depth = full_depth if plan == "full" else int(plan[1:].split("@")[0])
        values = [line[key] for line in evaluated]
        ax.plot(images, values, "o-", markersize=3, linewidth=1.2, color=colours[depth])
        ends.append((values[-1], plan, colours[depth]))
    _label_ends(ax, images[-1], ends)
    ax.set_ylabel("nats a token")


def _label_ends(ax: Axes, right: float, ends: list[tuple[float, str, object]]) -> None:
    """Names at the curves' ends, pushed apart where they would overlap."""
    low, high = ax.get_ylim()
    gap, last = (high - low) * 0.07, -np.inf
    for value, label, colour in sorted(ends, key=lambda end: end[0]):
        last = max(value, last + gap)
        ax.annotate(
            label,
            (right, last),
            xytext=(6, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            annotation_clip=False,
        )


def _draw_losses(ax: Axes, lines: list[dict], colours: dict[int, object]) -> None:
    for depth, colour in colours.items():
        key = f"loss/depth_{depth:02d}"
        points = [(line["images_seen"] / 1e3, line[key]) for line in lines if key in line]
        if points:
            images, losses = np.array(points).T
            ax.plot(images, losses, ".", color=colour, markersize=1.5, alpha=0.3)
            ax.plot(images, _running_median(losses), color=colour, linewidth=1.2)
    ax.set_ylabel("nats a token")
    ax.set_title(f"Training loss of the drawn depth (dots), running median of {WINDOW} (lines)")


def _running_median(values: np.ndarray) -> np.ndarray:
    """Median of the window around each value, shorter at the ends."""
    half = WINDOW // 2
    return np.array([np.median(values[max(0, i - half) : i + half]) for i in range(len(values))])


def _draw_shares(ax: Axes, draws: Draws, config: TrainingConfig, full_depth: int) -> None:
    images = np.arange(1, config.steps + 1) * config.batch * config.passes / 1e3
    if config.schedule.sandwich:
        ax.text(
            0.5,
            0.5,
            "sandwich rule: every step trains the largest, the smallest and one other depth",
            transform=ax.transAxes,
            ha="center",
            va="center",
        )
        ax.set_yticks([])
    else:
        subnet = draws.subnet_S(full_depth).astype(float)
        window = min(WINDOW, len(subnet))
        drawn = np.convolve(subnet, np.ones(window) / window, mode="valid")
        middle = (window - 1) // 2
        ax.plot(images[middle : middle + len(drawn)], drawn, color="#d55e00", linewidth=0.9)
        ax.plot(images, draws.share_S, color="black", linewidth=1.4)
        ax.set_ylim(-0.05, 1.05)
        ax.set_ylabel("subnet share p")
    ax.set_xlabel("thousand image passes")
    title = f"Schedule: {config.schedule.name}"
    if not config.schedule.sandwich:
        title += f" (black), and the share drawn in {WINDOW} steps (orange)"
    ax.set_title(title)
