"""Measured costs as claims see them."""

import functools
from dataclasses import dataclass

import pandas as pd

from analysis.claims.rows import Evidence
from analysis.efficiency_file import OURS, EfficiencyFile
from analysis.maps.generation import Sampling, sampling_of
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import PlanKey
from analysis.statistics.units import LEAST_UNITS

PAPERS_GEOMETRY, PAPERS_BATCH = "d30", 64
SPEEDUP_TOLERANCE = 0.05  # factors are published in steps of 0.1


@dataclass(frozen=True)
class Costs:
    """The efficiency study with its frame."""

    study: EfficiencyFile
    frame: pd.DataFrame

    @functools.cached_property
    def samplings(self) -> list[Sampling]:
        return sampling_of(self.study, self.frame)

    @property
    def papers(self) -> Sampling | None:
        """The paper's network and batch on a GPU, in five turns or more; None where that was not
        measured."""
        if self.study.name != PAPERS_GEOMETRY or self.study.hardware.gpu is None:
            return None
        enough = (one for one in self.samplings if one.seconds.shape[1] >= LEAST_UNITS)
        return next((one for one in enough if one.batch == PAPERS_BATCH), None)


def speedup_test(sampling: Sampling, plan: PlanKey, published: float) -> Evidence:
    """Whether a published factor lies within the tolerance of the range of the repeats."""
    row = sampling.latency.loc[(OURS, plan.label)]
    low, high = row["speedup_low"], row["speedup_high"]
    agrees = low - SPEEDUP_TOLERANCE <= published <= high + SPEEDUP_TOLERANCE
    return Evidence(
        label=f"{plan.label}: times as fast as the full network",
        interval=Interval(estimate=row["speedup"], low=low, high=high),
        outcome=1 if agrees else -1,
        note=f"published {published}; range of the repeats",
    )
