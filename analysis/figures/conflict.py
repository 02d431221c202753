"""How gradients conflict: layers by moments of training."""

import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.heatmap import draw_cells


def draw_conflict(ax: Axes, profile: pd.DataFrame, *, title: str, row_label: bool = True) -> None:
    """Cosines of gradients: purple, conflict; orange, agreement; white, nothing in common.

    Args:
        profile: `analysis.statistics.conflict.profile`.
    """
    moments = [f"{100 * progress:.0f}" for progress in profile.columns]
    values = profile.set_axis(moments, axis=1).astype(float)
    draw_cells(ax, values, size=6, fmt=".2f", cmap="PuOr_r", vmin=-1.0, vmax=1.0, linewidths=0.4)
    for text in ax.texts:
        text.set(text=text.get_text().replace("-", "\u2212"))
    ax.set_title(title)
    ax.set(xlabel="% of the training", ylabel="layer" if row_label else "")
    ax.set_yticks(ax.get_yticks(), profile.index, rotation=0, va="center_baseline")
