"""Drawing the (full, subnet) plane: a point a way to train."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.figures.labels import label_column, plain
from analysis.figures.theme import FAINT
from analysis.statistics.fronts import Trade


def draw_trade(ax: Axes, data: Trade, colours: Mapping[str, str]) -> None:
    """Every schedule's full network against its subnet; nearer to the lower left is better.

    Crosses are intervals over seeds, dots are seeds; the line is the front of the fixed shares,
    the dotted one the control's full network.
    """
    every = pd.concat([data.points[["full", "subnet"]], data.models[["full", "subnet"]]])
    for name, set_limits in (("full", ax.set_xlim), ("subnet", ax.set_ylim)):
        control = [data.control] if name == "full" and data.control is not None else []
        low, high = (end([*every[name], *control]) for end in (min, max))
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        set_limits(low - room, high + room)
    if len(data.front) > 1:
        ax.plot(*data.front.T, color=FAINT, linewidth=1.0, zorder=1)
    if data.control is not None:
        ax.axvline(data.control, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    of = {"x": "full", "y": "subnet", "hue": "schedule", "palette": dict(colours), "legend": False}
    seeds = data.models[data.models.duplicated("schedule", keep=False)]
    if len(seeds):
        sns.scatterplot(seeds, s=5, linewidth=0, alpha=0.6, ax=ax, **of)
    sns.scatterplot(data.points, s=25, linewidth=0, zorder=3, ax=ax, **of)
    x, y, x_half, y_half = (data.points[n] for n in ("full", "subnet", "full_half", "subnet_half"))
    shades = [colours[name] for name in data.points["schedule"]]
    ax.hlines(y, x - x_half, x + x_half, shades, linewidth=0.9)
    ax.vlines(x, y - y_half, y + y_half, shades, linewidth=0.9)
    places = data.points[["full", "subnet", "schedule"]].itertuples(index=False)
    label_column(ax, [(x, y, name, colours[name]) for x, y, name in places])
    plain(ax)
