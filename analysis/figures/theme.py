"""The look of all figures, and figures as files.

Figures are made for the report's page: `PAGE_WIDTH` inches are its text width, type is set at the
size in which it will be read, and the fonts are ones that come with matplotlib. No global state is
touched: callers make and save figures inside `with style():`. What seaborn draws well it draws:
heatmaps, points, categories. Lines and scatters whose intervals are given are matplotlib's, since
seaborn would estimate intervals itself.
"""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import seaborn
from matplotlib.figure import Figure

PAGE_WIDTH = 6.5  # inches
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # that the text of an SVG is set in

INK = "#222222"
FAINT = "#8a8a8a"
ABSENT = "#f0f0f0"
EARLY = "#0072b2"  # blue (Okabe and Ito) and wine (Tol): told apart by any eye, and in grey
LATE = "#882255"
WARNING = "#b2182b"

LOOK = {
    "font.family": "serif",
    "font.serif": ["STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 4,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "svg.hashsalt": "varant",
    "svg.fonttype": "none",  # text can be found, and reports are half as large
    "savefig.dpi": 200,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of all figures, for the time of the block; the same input gives the same bytes."""
    settings = seaborn.axes_style("ticks") | seaborn.plotting_context("paper") | LOOK
    with matplotlib.rc_context(settings):
        yield


def new_figure(*, height: float, width: float = PAGE_WIDTH, constrained: bool = True) -> Figure:
    """An empty figure of `width` x `height` inches; saving it makes room for labels, unless its
    layout is not `constrained`. It has no canvas that draws: seaborn would, after each heatmap."""
    return Figure(figsize=(width, height), layout="constrained" if constrained else None)


def figure_bytes(figure: Figure) -> dict[str, bytes]:
    """The figure as `svg` and `png`, without dates or versions: a rebuild changes no byte."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.set_layout_engine("none")  # both have one layout, which took a quarter of the time
    figure.savefig(png, format="png", metadata={"Software": None})
    return {"svg": svg.getvalue(), "png": png.getvalue()}


def mark_preliminary(figure: Figure, why: str) -> None:
    """Say on the figure itself why it is no result; axes of fixed places make room."""
    if figure.get_layout_engine() is None:
        share = 1 - 0.2 / figure.get_figheight()
        for ax in figure.axes:
            left, bottom, wide, high = ax.get_position(original=True).bounds
            ax.set_position((left, bottom * share, wide, high * share))
    figure.suptitle(why, color=WARNING, fontsize=8, fontweight="bold")
