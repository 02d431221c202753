"""Where may I switch, and does it matter where training did?

    python -m studies.switch --budget 30k --workers 2

Trains one model for each switch point N by one schedule (and the control, without subnets), from
one base network with one budget, and measures every model at every other switch point. Gives a
trained-at against used-at map for each depth, and quality, KV and FLOPs against N.

Cost on two idle cores with --workers 2 and the base in the workspace: about 7 minutes a seed.
Expect losses that fall as N grows, and most where the subnet is shallow.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass

import tyro

from studies.grid.bench import Bench
from studies.grid.point import Outcome, Point
from studies.supernets import Arm, SupernetFlags, SupernetStudy
from varant.errors import UserError, exit_codes
from varant.flags import parse_list
from varant.model.geometry import Geometry
from varant.start.train_flags import REFERENCE_SHARE
from varant.training.schedule import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class SwitchFlags(SupernetFlags):
    """Flags of the study."""

    budget: str = "30k"
    """Image passes of each model, such as 30k, 1.5M or 2e5."""
    switches: str | None = None
    """Switch points to train for, such as 0,2,3; default: all, from 0 to one below the scales."""
    schedule: str = "fixed"
    """How they are trained: fixed, progressive, reversed or sandwich."""
    share: float = REFERENCE_SHARE
    """Subnet share of --schedule fixed; default: the mean share of the progressive one."""


class Switch(SupernetStudy):
    """Trains a model for each switch point and uses it at all of them."""

    name = "switch"
    question = (
        "Where may I switch to a subnet, and does it matter which switch point a model was trained "
        "for? One base network is trained further for each switch point; every model is measured "
        "at every switch point."
    )
    flags: SwitchFlags

    def arms(self, geometry: Geometry) -> list[Arm]:
        """The control, and a model a switch point.

        Raises:
            UserError: naming the flag, its value and what would be right.
        """
        flags = self.flags
        kinds = tuple(kind for kind in SCHEDULES if kind != "full")
        if flags.schedule not in kinds:
            raise UserError(f"--schedule {flags.schedule}: use one of {', '.join(kinds)}")
        if not 0 < flags.share <= 1:
            raise UserError(f"--share {flags.share:g}: must be above 0, up to 1")
        share = flags.share if flags.schedule == "fixed" else None
        first = self.switches(geometry)[0]
        control = Arm(label="control", kind="full", share=0.0, selector=None, switch=first)
        return [control] + [
            Arm(
                label=f"switch {n}",
                kind=flags.schedule,
                share=share,
                selector="equidistant",
                switch=n,
            )
            for n in self.switches(geometry)
        ]

    def switches(self, geometry: Geometry) -> tuple[int, ...]:
        scales = len(geometry.patch_nums)
        if self.flags.switches is None:
            return tuple(range(scales))
        found = []
        for text in parse_list("--switches", self.flags.switches):
            if not text.isdecimal() or int(text) >= scales:
                raise UserError(
                    f"--switches {text}: the network has {scales} scales; use 0 to {scales - 1}"
                )
            found.append(int(text))
        return tuple(sorted(set(found)))

    def points(self, bench: Bench) -> list[Point]:
        """Seed by seed the trainings, and each model's plans."""
        return [
            point
            for seed in self.seeds
            for arm in self.arms(bench.geometry)
            for point in self.model_points(bench, arm, seed, ["equidistant"])
        ]

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Every model's shallowest subnet where it was trained for, first seed."""
        depth = self.depths(outcome.bench.geometry)[0]
        shown = []
        for point in outcome.points:
            if not point.in_frame or point.columns["seed"] != self.seeds[0]:
                continue
            label, cell = point.columns["schedule"], point.columns["cell"]
            if (label, cell) == ("control", "full") or (
                label != "control" and cell == f"d{depth}@{point.columns['train_switch']}"
            ):
                shown.append((f"{label} {cell}", point))
        return shown

    def facts(self, outcome: Outcome) -> dict:
        return super().facts(outcome) | {"selectors": ["equidistant"]}


def main(flags: SwitchFlags, command: str = "") -> None:
    """Run the study."""
    Switch(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(SwitchFlags, description=__doc__)
        main(chosen, "python -m studies.switch " + shlex.join(sys.argv[1:]))
