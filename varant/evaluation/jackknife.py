"""A score of all samples, and of all but each block of them: what its standard error follows from.

Blocks are of consecutive samples, so that each holds the classes in equal numbers where the
samples do.
"""

from dataclasses import dataclass, field

import numpy as np

GROUPS = 20


def blocks(count: int) -> list[slice]:
    """`GROUPS` blocks of so many samples, or one a sample where there are fewer."""
    ends = np.cumsum([len(part) for part in np.array_split(np.arange(count), min(GROUPS, count))])
    return [slice(int(start), int(end)) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def block_of(count: int) -> np.ndarray:
    """(N,) int8: which block each of so many samples is in."""
    sizes = [block.stop - block.start for block in blocks(count)]
    return np.repeat(np.arange(len(sizes), dtype=np.int8), sizes)


@dataclass(frozen=True, kw_only=True)
class Jackknifed:
    """A score of all samples.

    Attributes:
        replicates_G: (G,) the score without each block; (0,) where it has none.
        common_R: (R,) the score without each block of the reference, where other scores share it.
    """

    value: float
    replicates_G: np.ndarray = field(default_factory=lambda: np.empty(0))
    common_R: np.ndarray = field(default_factory=lambda: np.empty(0))

    @property
    def standard_error(self) -> float:
        """Of the delete-a-group jackknife; 0 for one group, NaN without replicates.

        Source: B. Efron and C. Stein, Annals of Statistics 9 (1981), 586-596. At a distance's floor
        it may be too wide: there the distance is a square near its least value.
        """
        groups = len(self.replicates_G)
        return float(np.sqrt((groups - 1) * self.replicates_G.var())) if groups else float("nan")
