"""How deep, where to switch, and how to train: quality against KV memory under one budget.

    python -m studies.pareto --budget 100k --workers 2

From one base network, with one budget of image passes each, trains the control (no subnet steps),
fixed subnet shares and the progressive schedule; then measures every model at every switch point
and subnet depth. Gives the frontier of quality against peak KV memory, the plane where full
network and subnets trade, the best plan for each memory budget as a file, and a verdict on each of
the paper's claims that can be tested here.

Points whose switch is not the trained one are shown hollow and decide no verdict. With one seed
(--seeds 0) training variance is not measured and no claim is called reproduced; from five seeds
(--seeds 0,1,2,3,4) intervals are Student's t over seeds.

Cost on two idle cores with --workers 2 and the base in the workspace: about 15 minutes a seed.
Expect subnets that gain and a full network that loses as the share rises.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import tyro

from analysis.frame import load_frame
from analysis.statistics.fronts import choose_plans
from studies.grid.bench import Bench
from studies.grid.folder import FRAME_FILE
from studies.grid.point import Outcome, Point
from studies.supernets import Arm, SupernetFlags, SupernetStudy, parse_shares
from varant.errors import UserError, exit_codes
from varant.files import write_json
from varant.flags import parse_list
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import SELECTORS, DepthPlan
from varant.training.schedule import SCHEDULES

PLANS_FILE = "plans.json"
PAPER_PLANS = ((30, 10), (16, 6), (8, 6), (4, 6), (2, 6))  # (depth, switch) of VAR-d30


@dataclass(frozen=True, kw_only=True)
class ParetoFlags(SupernetFlags):
    """Flags of the study."""

    schedules: str = "full,fixed,progressive"
    """Training schedules: a list of full (the control), fixed, progressive, reversed, sandwich."""
    shares: str = "0.1,0.5,2/3,1"
    """Subnet shares of the fixed schedules; 2/3 is the progressive schedule's mean share."""
    train_switch: int | None = None
    """Switch point that models are trained for; default: six tenths of the scales."""
    selectors: str = "equidistant"
    """Which layers subnets keep: a list; each schedule with subnets is trained for each."""
    reference_kv: float = 1.1
    """Reference point of the hypervolume: peak KV as a share of the full network's."""
    reference_nll: float | None = None
    """Its NLL in nats/token; default: that of a uniform guess, the log of the vocabulary."""
    reference_fd: float = 10.0
    """Its Frechet distance."""
    kv_budgets: str = "0.2,0.4,0.6,0.8"
    """Memory budgets to choose plans for, as shares of the full network's peak KV."""


def share_label(text: str) -> str:
    """A share as its flag had it, without needless digits: `2/3`, `0.1`, `1`."""
    return text if "/" in text else f"{float(text):g}"


def arms_of(flags: ParetoFlags, switch: int) -> list[Arm]:
    """The ways to train that the flags ask for, the control first.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    kinds = parse_list("--schedules", flags.schedules)
    for kind in kinds:
        if kind not in SCHEDULES:
            raise UserError(f"--schedules {kind}: use {', '.join(SCHEDULES)}")
    selectors = parse_list("--selectors", flags.selectors)
    for selector in selectors:
        if selector not in SELECTORS:
            raise UserError(f"--selectors {selector}: use one of {', '.join(SELECTORS)}")
    arms = []
    if "full" in kinds:
        arms.append(Arm(label="control", kind="full", share=0.0, selector=None, switch=switch))
    for selector in selectors:
        suffix = "" if selector == "equidistant" else f" ({selector})"
        for kind in kinds:
            if kind == "fixed":
                for text in parse_list("--shares", flags.shares):
                    label = f"fixed {_share(text) and share_label(text)}{suffix}"
                    arms.append(
                        Arm(
                            label=label,
                            kind=kind,
                            share=_share(text),
                            selector=selector,
                            switch=switch,
                        )
                    )
            elif kind != "full":
                arms.append(
                    Arm(
                        label=kind + suffix, kind=kind, share=None, selector=selector, switch=switch
                    )
                )
    return arms


def _share(text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = math.nan
    if not 0 < share <= 1:
        raise UserError(
            f"--shares {text}: must be above 0, up to 1 (the control has 0), such as 0.5 or 2/3"
        )
    return share


class Pareto(SupernetStudy):
    """Trains supernets by several schedules and measures all of their plans."""

    name = "pareto"
    question = (
        "Under one training budget, which schedule, switch point and subnet depth give the best "
        "quality for their KV memory? One base network is trained further by each schedule, and "
        "every resulting network is measured at every switch point and subnet depth."
    )
    flags: ParetoFlags

    def quick_flags(self, flags: ParetoFlags) -> ParetoFlags:
        quick = super().quick_flags(flags)
        if flags.shares == ParetoFlags().shares:
            quick = replace(quick, shares="0.5,1")
        return quick

    def arms(self, geometry: Geometry) -> list[Arm]:
        return arms_of(self.flags, self.train_switch(geometry))

    @cached_property
    def kv_budgets(self) -> tuple[float, ...]:
        return parse_shares("--kv-budgets", self.flags.kv_budgets)

    def train_switch(self, geometry: Geometry) -> int:
        scales = len(geometry.patch_nums)
        switch = self.flags.train_switch
        if switch is None:
            return round(0.6 * scales)
        if not 0 <= switch < scales:
            raise UserError(
                f"--train-switch {switch}: the network has {scales} scales; use 0 to {scales - 1}"
            )
        return switch

    def check(self, bench: Bench) -> None:
        flags = self.flags
        for flag, value in (
            ("--reference-kv", flags.reference_kv),
            ("--reference-fd", flags.reference_fd),
            ("--reference-nll", flags.reference_nll),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{flag} {value}: must be a positive number")
        if not self.kv_budgets or not self.arms(bench.geometry):
            raise UserError(f"--schedules {flags.schedules}: leaves no model to train")
        super().check(bench)

    def points(self, bench: Bench) -> list[Point]:
        """Seed by seed the trainings, and each model's plans."""
        every = parse_list("--selectors", self.flags.selectors)
        return [
            point
            for seed in self.seeds
            for arm in self.arms(bench.geometry)
            for point in self.model_points(
                bench, arm, seed, [arm.selector] if arm.selector else every
            )
        ]

    def facts(self, outcome: Outcome) -> dict:
        geometry = outcome.bench.geometry
        nll = self.flags.reference_nll or math.log(geometry.vocab_size)
        return super().facts(outcome) | {
            "train_switch": self.train_switch(geometry),
            "selectors": parse_list("--selectors", self.flags.selectors),
            "reference_point": {
                "kv_share": self.flags.reference_kv,
                "nll/mean": nll,
                "fd": self.flags.reference_fd,
            },
            "kv_budgets": self.kv_budgets,
            "paper_cost": paper_cost(),
        }

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Full network and shallowest trained subnet of control and progressive, first seed."""
        geometry = outcome.bench.geometry
        switch, depth = self.train_switch(geometry), self.depths(geometry)[0]
        wanted = ("full", f"d{depth}@{switch}")
        arms = [arm.label for arm in self.arms(geometry)]
        shown = [arms[0], *arms[-1:], *[a for a in arms if a.startswith("fixed")][-1:]]
        return [
            (f"{label} {plan}", point)
            for label in dict.fromkeys(shown)
            for plan in wanted
            for point in outcome.points
            if point.in_frame
            and point.columns["schedule"] == label
            and point.columns["cell"] == plan
            and point.columns["seed"] == self.seeds[0]
        ]

    def write_more(self, outcome: Outcome) -> list[Path]:
        """Training curves, and the best plan of each memory budget."""
        return [*super().write_more(outcome), *self._export_plans(outcome)]

    def _export_plans(self, outcome: Outcome) -> list[Path]:
        """The best plan of each memory budget, and `plans.json`, which says what each is."""
        frame = load_frame(outcome.folder / FRAME_FILE, training=True, full=False)
        places = {
            (p.columns["schedule"], p.columns["seed"], p.columns["cell"]): p
            for p in outcome.points
            if p.in_frame
        }
        listed, paths = [], []
        for chosen in choose_plans(
            frame, self.kv_budgets, full_kv=self.full_kv(outcome.bench.geometry)
        ):
            cell = places[chosen.schedule, chosen.seed, chosen.cell].cell
            path = outcome.folder / f"plan-kv{100 * chosen.kv_share_limit:g}.json"
            cell.plan.save(path)
            paths.append(path)
            listed.append(
                {
                    "file": path.name,
                    "kv_share_limit": chosen.kv_share_limit,
                    "kv_share": chosen.kv_share,
                    "schedule": chosen.schedule,
                    "seed": chosen.seed,
                    "plan": chosen.cell,
                    "model": os.path.relpath(cell.network.model_folder, outcome.folder),
                    "select_nll": chosen.select_nll,
                    "test": {name: asdict(level) for name, level in chosen.test.items()},
                    "loss_nats": asdict(chosen.loss) if chosen.loss else None,
                    "non_inferior": chosen.non_inferior,
                }
            )
        for old in outcome.folder.glob("plan-kv*.json"):  # of other budgets
            if old not in paths:
                old.unlink()
        write_json(outcome.folder / PLANS_FILE, listed)
        return [*paths, outcome.folder / PLANS_FILE]


def paper_cost() -> dict:
    """What plans of VAR-d30 cost at batch 64 with guidance, by arithmetic (PAPER's cost table)."""
    geometry = Geometry.official(30)
    full = plan_cost(geometry, batch=64, guidance=True, kv_bytes=2)
    found = {}
    for depth, switch in PAPER_PLANS:
        plan = DepthPlan.two_zone(geometry.patch_nums, 30, subnet_depth=depth, switch=switch)
        cost = plan_cost(geometry, plan, batch=64, guidance=True, kv_bytes=2)
        found[plan.name] = {
            "kv_mib_reference": cost.kv_bytes_reference / 2**20,
            "kv_mib_limit": cost.kv_bytes_limit / 2**20,
            "flops_share": cost.flops / full.flops,
        }
    return found


def main(flags: ParetoFlags, command: str = "") -> None:
    """Run the study."""
    Pareto(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(ParetoFlags, description=__doc__)
        main(chosen, "python -m studies.pareto " + shlex.join(sys.argv[1:]))
