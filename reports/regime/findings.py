"""All estimates and verdicts of a regime study, in one value that the report arranges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import pandas as pd

from analysis.claims.ledger import judge_regimes
from analysis.claims.rows import LedgerRow
from analysis.maps.heatmap import Heatmap
from analysis.maps.regimes import Regime, explained, regime_map, trends
from analysis.statistics.conflict import WHOLE, profile
from analysis.statistics.levels import FULL, PlanKey
from analysis.statistics.units import Observations
from analysis.study_file import RegimeFile, Zone
from reports.parts import words

NAMES: dict[Zone, str] = {"full": "full network", "subnets": "subnets"}
COMPARED = ("progressive", "reversed")
CONFLICTING = ("fixed", "progressive")


@dataclass(frozen=True, kw_only=True)
class RegimeFindings:
    """What the report arranges. Draws and writes nothing.

    Attributes:
        study: what was asked.
        regimes: by base and learning rate.
        plans: by zone, see `zones`.
        maps: by kind of schedule and zone.
        trends: by zone, see `analysis.maps.regimes.trends`; of the progressive schedule.
        because: by zone, see `analysis.maps.regimes.explained`.
        profiles: cosines of gradients by kind of schedule, then by age of the base, see
            `analysis.statistics.conflict.profile`; those that were measured.
        cosines: of all parameters, mean over rates and units: a row a kind, base and subnet, then
            a column a moment.
        claim: C3, by its own rule in every regime.
    """

    study: RegimeFile
    regimes: tuple[Regime, ...]
    plans: Mapping[Zone, tuple[PlanKey, ...]]
    maps: Mapping[tuple[str, Zone], Heatmap]
    trends: Mapping[Zone, Mapping[str, Observations]]
    because: Mapping[Zone, Observations]
    profiles: Mapping[str, Mapping[int, pd.DataFrame]]
    cosines: pd.DataFrame
    claim: LedgerRow

    @property
    def deciding(self) -> dict[Zone, Heatmap]:
        """The progressive schedule's maps."""
        return {zone: data for (kind, zone), data in self.maps.items() if kind == COMPARED[0]}

    @property
    def over(self) -> str:
        """What intervals are over, in words."""
        return words.over(len(self.study.units))

    @cached_property
    def differences(self) -> pd.DataFrame:
        """A row a schedule, zone and regime: how much worse than fixed, in nats/token, over `units`
        units."""
        rows = []
        for kind, (zone, of), regime in product(COMPARED, self.plans.items(), self.regimes):
            if found := regime.against_fixed(kind, of):
                i, at = found.interval(), (kind, zone, regime.base_images, regime.lr)
                rows.append((*at, *i.ends, i.p_value, len(found.units)))
        columns = "kind zone base_images lr damage low high p_value units"
        return pd.DataFrame(rows, columns=columns.split())

    @property
    def units(self) -> int:
        """The fewest that a difference of the progressive schedule runs over."""
        mine = self.differences[self.differences["kind"] == COMPARED[0]]
        return int(mine["units"].min()) if len(mine) else 0

    @property
    def every_plan(self) -> tuple[PlanKey, ...]:
        """The full network and the subnets."""
        return (*self.plans["full"], *self.plans["subnets"])


def findings_of(
    study: RegimeFile, regimes: Sequence[Regime], conflict: pd.DataFrame
) -> RegimeFindings:
    plans = zones(study)
    return RegimeFindings(
        study=study,
        regimes=tuple(regimes),
        plans=plans,
        maps={
            (kind, zone): regime_map(regimes, kind, plans[zone], f"{kind}, {NAMES[zone]}")
            for kind in COMPARED
            for zone in plans
        },
        trends={zone: trends(regimes, COMPARED[0], of) for zone, of in plans.items()},
        because={zone: explained(regimes, conflict, of) for zone, of in plans.items()},
        profiles=_profiles(study, conflict),
        cosines=_cosines(conflict),
        claim=judge_regimes(study, regimes),
    )


def zones(study: RegimeFile) -> dict[Zone, tuple[PlanKey, ...]]:
    """The plans that each half of an answer is of: subnets are meant on average."""
    subnets = (PlanKey(subnet_depth=d, switch=study.train_switch) for d in study.depths)
    return {"full": (FULL,), "subnets": tuple(subnets)}


def _profiles(study: RegimeFile, conflict: pd.DataFrame) -> dict[str, dict[int, pd.DataFrame]]:
    found = {
        kind: {
            age: profile(mine)
            for age in study.ages
            if len(mine := conflict[(conflict["kind"] == kind) & (conflict["base_images"] == age)])
        }
        for kind in CONFLICTING
    }
    return {kind: ages for kind, ages in found.items() if ages}


def _cosines(conflict: pd.DataFrame) -> pd.DataFrame:
    whole = conflict[(conflict["layer"] == WHOLE) & conflict["kind"].isin(CONFLICTING)]
    means = whole.groupby(["kind", "base_images", "subnet_depth", "progress"])["cosine"].mean()
    return means.unstack("progress").reset_index()
