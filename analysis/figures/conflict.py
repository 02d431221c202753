"""How gradients conflict: layers by moments of training."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from seaborn.utils import relative_luminance

from analysis.figures.heatmap import LIGHT
from analysis.figures.theme import ABSENT, INK


def draw_conflict(ax: Axes, profile: pd.DataFrame, *, title: str, row_label: bool = True) -> None:
    """Cosines of gradients: purple, conflict; orange, agreement; white, nothing in common.

    Args:
        profile: `analysis.statistics.conflict.profile`.
    """
    moments = [f"{100 * progress:.0f}" for progress in profile.columns]
    values = profile.to_numpy(dtype=float)
    seaborn.heatmap(
        pd.DataFrame(values, index=profile.index, columns=moments),
        annot=True,
        fmt=".2f",
        annot_kws={"fontsize": 6, "va": "center_baseline", "ha": "center", "in_layout": False},
        cmap="PuOr_r",
        vmin=-1.0,
        vmax=1.0,
        linewidths=0.4,
        cbar=False,
        ax=ax,
    )
    shades = np.asarray(ax.collections[0].get_facecolor())[~np.isnan(values).ravel()]
    for text, colour in zip(ax.texts, shades, strict=True):
        text.set(text=text.get_text().replace("-", "\u2212"))
        text.set_color(INK if relative_luminance(colour) > LIGHT else "white")
    ax.set_facecolor(ABSENT)
    ax.set_title(title)
    ax.set(xlabel="% of the training", ylabel="layer" if row_label else "")
    ax.tick_params(length=0)
    ax.set_yticks(ax.get_yticks(), profile.index, rotation=0, va="center_baseline")
