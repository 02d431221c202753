"""Where may I switch, and does it matter where training did?

    python -m studies.switch --budget 30k

Trains one model for each switch point N by one schedule (and the control, without subnets), from
the base network of every unit with one budget, and measures every model at every other switch
point. Gives a trained-at against used-at map for each depth, and quality, KV and FLOPs against N.

`--dry-run` says what it costs here; docs/studies.md what it said elsewhere. Expect losses that fall
as N grows, and most where the subnet is shallow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from analysis.study_file import SupernetFile
from studies.grid.point import Outcome, Point
from studies.study import main
from studies.supernets import Arm, SupernetConfig, SupernetStudy, control, switch_of
from varant.flags import Places, PositiveShare
from varant.model.geometry import Geometry
from varant.training.config import SupernetTraining
from varant.training.schedule import REFERENCE_SHARE, ScheduleFlags

if TYPE_CHECKING:
    from analysis.claims.planned import Lines
    from studies.grid.bench import Planned


@dataclass(frozen=True, kw_only=True)
class SwitchConfig(SupernetConfig):
    training: SupernetTraining = SupernetTraining(budget_images=30_000)
    switches: Places | None = None
    """Switch points to train for, such as 0,2,3; default: all, from 0 to one below the scales."""
    schedule: Literal["fixed", "progressive", "reversed", "sandwich"] = "fixed"
    """How they are trained."""
    share: PositiveShare = REFERENCE_SHARE
    """Subnet share of --schedule fixed; default: the mean share of the progressive one."""


class Switch(SupernetStudy[SwitchConfig, None]):
    """Trains a model for each switch point and uses it at all of them."""

    name = "switch"
    question = (
        "Where may I switch to a subnet, and does it matter which switch point a model was trained "
        "for? The base network of every unit is trained further for each; every model is measured "
        "at every switch point."
    )
    file = SupernetFile

    def planned(self, bench: Planned) -> Lines:
        from analysis.claims.planned import STANDS_IN

        return STANDS_IN

    def arms(self, geometry: Geometry, found: None) -> list[Arm]:
        """The control, and a model a switch point; `UserError` for one after the last scale."""
        wanted = self.config.switches or range(len(geometry.patch_nums))
        switches = [switch_of("--switches", n, geometry) for n in wanted]
        schedule = ScheduleFlags(kind=self.config.schedule, share=self.config.share).make()
        return [control(switches[0])] + [
            Arm(label=f"switch {n}", schedule=schedule, switch=n) for n in switches
        ]

    def sheet(self, outcome: Outcome[None]) -> list[tuple[str, Point]]:
        """The control, and every model's shallowest subnet where it was trained for, first seed."""
        return [
            (name, point)
            for name, point in super().sheet(outcome)
            if (point.columns["kind"] == "full") == (point.columns["family"] == "full")
        ]


if __name__ == "__main__":
    main(Switch, SwitchConfig, __doc__)
