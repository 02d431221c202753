"""Measured costs as claims see them."""

import functools
from dataclasses import dataclass

import pandas as pd

from analysis.efficiency_file import EfficiencyFile
from analysis.maps.generation import Sampling, sampling_of

PAPERS_GEOMETRY, PAPERS_BATCH = "d30", 64


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
        """The paper's network and batch on a GPU; None where that was not measured."""
        if self.study.name != PAPERS_GEOMETRY or self.study.hardware.gpu is None:
            return None
        return next((one for one in self.samplings if one.batch == PAPERS_BATCH), None)
