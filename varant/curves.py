"""The picture that goes with every training run: losses, and the drawn shares on the schedule."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from varant.files import replacing
from varant.schedule import Draws
from varant.training import TrainingConfig

WINDOW = 20  # steps that a drawn share and a shown loss are taken over


def save_curves(
    folder: Path, lines: list[dict], draws: Draws, config: TrainingConfig, full_depth: int
) -> None:
    """Write `curves.svg` and `curves.png`: loss by depth, subnet share, learning rate.

    Args:
        lines: the run's metric lines.
    """
    # Drawing is seldom wanted where networks train: it costs half a second to import.
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings = {
        "font.size": 8, "axes.spines.top": False, "axes.spines.right": False,
        "axes.titlelocation": "left", "svg.hashsalt": "varant", "savefig.dpi": 160,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(7, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        _draw_losses(top, lines, full_depth)
        _draw_shares(bottom, draws, config, full_depth)
        for kind, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
            with replacing(folder / f"curves.{kind}") as aside:
                figure.savefig(aside, format=kind, metadata=metadata)


def _colours(depths: list[int], full_depth: int) -> dict[int, object]:
    """A colour a depth: light to dark with depth, the full network black."""
    import matplotlib

    shades = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.15, max(1, len(depths))))
    return dict(zip(depths, shades, strict=False)) | {full_depth: "black"}


def _draw_losses(ax, lines: list[dict], full_depth: int) -> None:
    names = sorted({key for line in lines for key in line if key.startswith("loss/depth_")})
    depths = [int(name.rsplit("_", 1)[1]) for name in names]
    colours = _colours([d for d in depths if d != full_depth], full_depth)
    ends = []
    for name, depth in zip(names, depths, strict=True):
        points = [(line["images_seen"] / 1e3, line[name]) for line in lines if name in line]
        images, losses = np.array(points).T
        label = "full network" if depth == full_depth else f"depth {depth}"
        ax.plot(images, losses, color=colours[depth], alpha=0.15, linewidth=0.6)
        smooth = _running_median(losses)
        ax.plot(images, smooth, color=colours[depth], linewidth=1.4)
        ends.append((smooth[-1], label, colours[depth], images[-1]))
    _label_ends(ax, ends)
    for line in lines:
        for key, value in line.items():
            if key.startswith("select/nll/mean/"):
                plan = key.rsplit("/", 1)[1]
                depth = full_depth if plan == "full" else int(plan[1:].split("@")[0])
                ax.plot(
                    line["images_seen"] / 1e3, value, "o", markersize=3,
                    color=colours.get(depth, "grey"), markeredgecolor="white", markeredgewidth=0.4,
                )  # fmt: skip
    ax.set_ylabel("nats a token")
    ax.set_title("Loss by trained depth (lines: running median of the steps; dots: select split)")


def _running_median(values: np.ndarray) -> np.ndarray:
    reach = range(len(values))
    return np.array([np.median(values[max(0, i - WINDOW) : i + 1]) for i in reach])


def _label_ends(ax, ends: list[tuple]) -> None:
    """Names at the curves' ends, pushed apart where they would overlap."""
    if not ends:
        return
    low, high = ax.get_ylim()
    gap, last = (high - low) * 0.07, -np.inf
    right = max(end[3] for end in ends)
    for value, label, colour, _ in sorted(ends, key=lambda end: end[0]):
        last = max(value, last + gap)
        ax.annotate(
            label, (right, last), xytext=(4, 0), textcoords="offset points", color=colour,
            va="center", annotation_clip=False,
        )  # fmt: skip


def _draw_shares(ax, draws: Draws, config: TrainingConfig, full_depth: int) -> None:
    images = np.arange(1, config.steps + 1) * config.batch * config.passes / 1e3
    if config.schedule.sandwich:
        ax.text(
            0.5, 0.5, "sandwich rule: every step trains the largest, the smallest and one other "
            "depth", transform=ax.transAxes, ha="center", va="center",
        )  # fmt: skip
        ax.set_yticks([])
    else:
        subnet = draws.subnet_S(full_depth).astype(float)
        window = min(WINDOW, len(subnet))
        drawn = np.convolve(subnet, np.ones(window) / window, mode="valid")
        ax.plot(images[window - 1 :], drawn, color="#d55e00", linewidth=0.9)
        ax.plot(images, draws.share_S, color="black", linewidth=1.4)
        ax.set_ylim(-0.05, 1.05)
        ax.set_ylabel("subnet share p")
    ax.set_xlabel("thousand image passes")
    title = f"Schedule: {config.schedule.name}"
    if not config.schedule.sandwich:
        title += f" (black), and the share drawn in the last {WINDOW} steps (orange)"
    ax.set_title(title)
