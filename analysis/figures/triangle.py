"""Drawing of claim C1's triangle of signs: all splits into early and late scales at once."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.figures.theme import EARLY, LATE
from analysis.statistics.asymmetry import Split

SHADES = ListedColormap([LATE, "#e3cdd6", "#cfe0ec", EARLY])  # late, not clear, not clear, early


def draw_triangle(ax: Axes, asymmetries: Mapping[tuple[int, int], Split], scales: int) -> None:
    """The sign of the mean A of scales 1..a (rows) against b..K (columns), for all a < b.

    Blue and plus: the early scales need depth more; wine and minus: the late ones. Full colour
    where several units' 95 % interval leaves out zero, pale where it does not, or one unit speaks.
    """
    shade = np.full((scales - 1, scales - 1), np.nan)
    texts = np.full(shade.shape, "", dtype=object)
    for (early, late), split in asymmetries.items():
        above, at = split.interval.estimate > 0, (early - 1, late - 2)
        shade[at] = (3 if split.clear else 2) if above else (0 if split.clear else 1)
        texts[at] = "+" if above else "\u2212"
    index = pd.Index([f"1\u2013{a}" if a > 1 else "1" for a in range(1, scales)], name="early")
    names = [f"{b}\u2013{scales}" if b < scales else str(b) for b in range(2, scales + 1)]
    seaborn.heatmap(
        pd.DataFrame(shade, index=index, columns=pd.Index(names, name="late")),
        mask=np.isnan(shade),
        annot=texts,
        fmt="",
        annot_kws={"fontsize": 8, "va": "center_baseline", "in_layout": False},
        cmap=SHADES,
        vmin=-0.5,
        vmax=3.5,
        linewidths=0.8,
        cbar=False,
        ax=ax,
    )
    for text, value in zip(ax.texts, shade[~np.isnan(shade)], strict=True):
        text.set_color("white" if value in (0, 3) else "black")
    ax.tick_params(length=0, labelsize=6.5)
    ax.tick_params(axis="x", rotation=90 if scales > 6 else 0)
    ax.tick_params(axis="y", rotation=0)
