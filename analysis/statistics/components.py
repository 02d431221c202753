"""Variance components of a balanced nested design: what bases, training seeds and evaluations add.

Values are y[b, s, r] = mean + base b + training seed s on it + evaluation r of that, each drawn
independently. The components' point estimates are those of the analysis of variance, cut off at 0;
their intervals are generalised confidence intervals (S. Weerahandi, J. Amer. Statist. Assoc. 88
(1993), 899-905): each mean square is divided by a chi-square over its degrees of freedom, drawn
`DRAWS` times, and the component that follows from each draw is kept.
"""

import numpy as np

from analysis.instrument_file import Component

DRAWS = 20_000
LEVELS = ("base", "training", "evaluation")


def variance_components(values_BSR: np.ndarray) -> dict[str, Component]:
    """The components `base`, `training` and `evaluation` of values (B, S, R).

    A level that was not repeated (an axis of length 1) is not told from the one above it: its
    component is NaN, and part of that one's.

    Raises:
        ValueError: not three axes, nothing repeated, or a number that is not finite.
    """
    values_BSR = np.asarray(values_BSR, float)
    if values_BSR.ndim != 3 or values_BSR.size < 2 or not np.isfinite(values_BSR).all():
        raise ValueError(f"values {values_BSR.shape}: give finite (bases, seeds, evaluations)")
    rng = np.random.default_rng(0)
    found = {
        name: Component(estimate=np.nan, low=np.nan, high=np.nan, degrees_of_freedom=0)
        for name in LEVELS
    }
    inner, inner_draws = 0.0, np.zeros(DRAWS)
    for axis in (2, 1, 0):
        # The mean square of a level: of its means within the level above, times what they average.
        means = values_BSR.mean(axis=tuple(range(axis + 1, 3)))
        groups, size = int(np.prod(means.shape[:-1])), means.shape[-1]
        averaged = int(np.prod(values_BSR.shape[axis + 1 :]))
        freedom = groups * (size - 1)
        if freedom == 0:
            continue
        square = averaged * means.var(axis=-1, ddof=1).mean()
        draws = square * freedom / rng.chisquare(freedom, DRAWS)
        low, high = np.quantile(np.maximum(draws - inner_draws, 0.0) / averaged, (0.025, 0.975))
        found[LEVELS[axis]] = Component(
            estimate=max(square - inner, 0.0) / averaged,
            low=float(low),
            high=float(high),
            degrees_of_freedom=freedom,
        )
        inner, inner_draws = square, draws
    return found
