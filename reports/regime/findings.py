"""All estimates and verdicts of a regime study, in one value that the report arranges."""

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import pandas as pd

from analysis.claims.ledger import judge_regimes
from analysis.maps.regimes import Regime, explained, regime_map, trends
from analysis.statistics.conflict import WHOLE, profile
from analysis.statistics.levels import FULL, PlanKey
from analysis.study_file import RegimeFile, Zone
from reports.parts import words

NAMES: dict[Zone, str] = {"full": "full network", "subnets": "subnets"}
COMPARED = ("progressive", "reversed")
CONFLICTING = ("fixed", "progressive")


class RegimeFindings:
    """What the report arranges. Draws and writes nothing.

    Attributes:
        regimes: by base and learning rate.
        plans: those that each half of an answer is of, subnets on average; all are `every_plan`.
        maps: by kind of schedule and zone; the progressive schedule's are `deciding`.
        trends: by zone, see `analysis.maps.regimes.trends`; of the progressive schedule.
        because: by zone, see `analysis.maps.regimes.explained`.
        profiles: cosines of gradients by kind of schedule, then by age of the base, see
            `analysis.statistics.conflict.profile`; those that were measured.
        cosines: of all parameters, mean over rates and units: a row a kind, base and subnet, then
            a column a moment.
        claim: C3, by its own rule in every regime.
        over: what intervals are over, in words.
        units: the fewest that a difference of the progressive schedule runs over.
    """

    def __init__(
        self, study: RegimeFile, regimes: Sequence[Regime], conflict: pd.DataFrame
    ) -> None:
        self.study, self.regimes, self.over = study, regimes, words.over(len(study.units))
        subnets = [PlanKey(subnet_depth=d, switch=study.train_switch) for d in study.depths]
        self.plans: dict[Zone, Sequence[PlanKey]] = {"full": [FULL], "subnets": subnets}
        self.every_plan = (FULL, *subnets)
        self.maps = {
            (kind, zone): regime_map(regimes, kind, of, f"{kind}, {NAMES[zone]}")
            for kind in COMPARED
            for zone, of in self.plans.items()
        }
        self.deciding = {zone: self.maps[COMPARED[0], zone] for zone in self.plans}
        self.trends = {zone: trends(regimes, COMPARED[0], of) for zone, of in self.plans.items()}
        self.because = {zone: explained(regimes, conflict, of) for zone, of in self.plans.items()}
        self.profiles, self.cosines = _profiles(study, conflict), _cosines(conflict)
        self.claim = judge_regimes(study, regimes)
        mine = self.differences[self.differences["kind"] == COMPARED[0]]
        self.units = int(mine["units"].min()) if len(mine) else 0

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
