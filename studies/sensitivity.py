"""Which scales of a VAR need depth?

    python -m studies.sensitivity

Takes layers from a trained network, without training it further, and measures what that costs:
(a) every scale at every depth, all other scales full;
(b) every switch point with every depth: `d4@3` runs all layers on scales 1-3, 4 after them;
(c) the paper's windows at half depth: early, middle, late scales, the others full.

Windows of K scales end after round(0.3 K), round(0.6 K) and K: for the paper's 10 scales 1-3, 4-6
and 7-10, as published; for 5 scales 1-2, 3 and 4-5.

Claim C1 (early scales need depth, late ones do not) is judged by an asymmetry statistic that was
fixed before any run: see `analysis/statistics/asymmetry.py`.

Cost on two idle cores with the defaults: under 5 minutes from nothing, most of it the base
network; under 90 s with the base in the workspace. Expect a full network with class accuracy above
0.95, a heatmap in which every scale loses something at a quarter of the depth, and a verdict.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import tyro

from reports import ReportPaths
from studies.grid.bench import Bench
from studies.grid.flags import StudyFlags
from studies.grid.point import Outcome, Point
from studies.study import Study
from studies.tracking.mirror import flat
from varant.errors import UserError, exit_codes, require_count
from varant.flags import parse_depths, parse_list
from varant.model.plan import SELECTORS, DepthPlan, default_depths


@dataclass(frozen=True, kw_only=True)
class SensitivityFlags(StudyFlags):
    """Flags of the study."""

    depths: str | None = None
    """Depth grid, such as 2,4,6; default: a quarter, half and three quarters of the network."""
    selectors: str = "equidistant"
    """Which layers a subnet keeps: a list of equidistant, nested, first, last."""
    base_seeds: int = 1
    """Base networks to train, with seeds from --seed on; several are pooled in the verdict."""
    workers: int = 2
    """One-thread processes that run cells; 1 runs them in this process."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One place in a figure: a plan under the name that people give it.

    Two entries may share a plan (`d4@4` of five scales is `d4 on scale 5`); it is measured once.
    """

    family: str
    name: str
    plan: DepthPlan
    selector: str
    subnet_depth: int | None = None
    scale: int | None = None
    window: str | None = None
    switch: int | None = None


def windows_of(scales: int) -> dict[str, tuple[int, ...]]:
    """The early, middle and late scales, 1-based; they end after round(0.3 K) and round(0.6 K).

    Raises:
        UserError: fewer than three scales.
    """
    if scales < 3:
        raise UserError(f"a network of {scales} scales: early, middle and late need three")
    first, second = max(1, round(0.3 * scales)), max(2, round(0.6 * scales))
    return {
        "early": tuple(range(1, first + 1)),
        "middle": tuple(range(first + 1, second + 1)),
        "late": tuple(range(second + 1, scales + 1)),
    }


def entries_of(
    patch_nums: tuple[int, ...], depth: int, depths: tuple[int, ...], selectors: tuple[str, ...]
) -> list[Entry]:
    """All entries of the study, the full network first."""
    scales = len(patch_nums)
    entries = [
        Entry(
            family="full",
            name="full",
            plan=DepthPlan.full(patch_nums, depth),
            selector=selectors[0],
        )
    ]
    for selector in selectors:
        suffix = "" if selector == "equidistant" else f" ({selector})"

        def reduced(chosen: tuple[int, ...], subnet_depth: int, selector=selector) -> DepthPlan:
            kept = [subnet_depth if k in chosen else depth for k in range(1, scales + 1)]
            return DepthPlan.per_scale(patch_nums, depth, depths=kept, selector=selector)

        for d in depths:
            for k in range(1, scales + 1):
                entries.append(
                    Entry(
                        family="scale",
                        name=f"d{d} on scale {k}{suffix}",
                        plan=reduced((k,), d),
                        selector=selector,
                        subnet_depth=d,
                        scale=k,
                    )
                )
            for switch in range(scales):
                entries.append(
                    Entry(
                        family="switch",
                        name=f"d{d}@{switch}{suffix}",
                        plan=reduced(tuple(range(switch + 1, scales + 1)), d),
                        selector=selector,
                        subnet_depth=d,
                        switch=switch,
                    )
                )
        for window, chosen in windows_of(scales).items():
            entries.append(
                Entry(
                    family="window",
                    name=f"d{depth // 2} on {window}{suffix}",
                    plan=reduced(chosen, depth // 2),
                    selector=selector,
                    subnet_depth=depth // 2,
                    window=window,
                )
            )
    return entries


class Sensitivity(Study):
    """Takes layers from a trained network scale by scale."""

    name = "sensitivity"
    question = "Which scales of this network need depth? Layers are removed without training."
    flags: SensitivityFlags

    @property
    def networks(self) -> int:
        return self.flags.base_seeds

    def check(self, bench: Bench) -> None:
        flags = self.flags
        require_count("--base-seeds", flags.base_seeds)
        if flags.model is not None and flags.base_seeds > 1:
            raise UserError(
                f"--base-seeds {flags.base_seeds}: --model gives one network; leave it 1"
            )

    def depths(self, bench: Bench) -> tuple[int, ...]:
        depth = bench.geometry.depth
        if self.flags.depths is None:
            return default_depths(depth)
        return parse_depths("--depths", self.flags.depths, depth=depth)

    def selectors(self) -> tuple[str, ...]:
        selectors = parse_list("--selectors", self.flags.selectors)
        for selector in selectors:
            if selector not in SELECTORS:
                raise UserError(f"--selectors {selector}: use one of {', '.join(SELECTORS)}")
        return selectors

    def entries(self, bench: Bench) -> list[Entry]:
        geometry = bench.geometry
        return entries_of(geometry.patch_nums, geometry.depth, self.depths(bench), self.selectors())

    def points(self, bench: Bench) -> list[Point]:
        """The full network and the windows first: the MLflow page lists in this order."""
        order = ("full", "window", "switch", "scale")
        entries = sorted(self.entries(bench), key=lambda entry: order.index(entry.family))
        several = len(bench.networks) > 1
        return [
            self.plan_point(
                bench,
                f"s{network.base_seed} {entry.name}" if several else entry.name,
                entry.plan,
                network=network,
                family=entry.family,
                cell=entry.name,
                scale=entry.scale,
                window=entry.window,
                switch=entry.switch,
                subnet_depth=entry.subnet_depth,
                selector=entry.selector,
            )
            for network in bench.networks
            for entry in entries
        ]

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Of the first network: full, the windows, and the shallowest plans."""
        middle_switch = len(outcome.bench.geometry.patch_nums) // 2
        seed, selector = outcome.bench.networks[0].base_seed, self.selectors()[0]
        return [
            (str(point.columns["cell"]), point)
            for point in outcome.points
            if point.columns["base_seed"] == seed
            and point.columns["selector"] == selector
            and (
                point.columns["family"] in ("full", "window")
                or (
                    point.columns["family"] == "switch"
                    and point.columns["switch"] in (0, middle_switch)
                )
            )
        ]

    def facts(self, outcome: Outcome) -> dict:
        bench = outcome.bench
        return {
            "depths": self.depths(bench),
            "selectors": self.selectors(),
            "windows": windows_of(len(bench.geometry.patch_nums)),
            "half_depth": bench.geometry.depth // 2,
        }

    def run_name(self, bench: Bench) -> str:
        seeds = ",".join(str(network.base_seed) for network in bench.networks)
        return f"{super().run_name(bench)}, s{seeds}"

    def note(self, paths: ReportPaths) -> str:
        answer = json.loads(paths.answer.read_text())["answer"]
        return f"C1 (early scales need depth, late ones do not): {answer}"

    def parent_metrics(self, outcome: Outcome, paths: ReportPaths) -> dict[str, float]:
        full = next(p for p in outcome.points if p.columns["family"] == "full")
        metrics = {
            name: fmean(found.values) for name, found in outcome.result(full).metrics.items()
        }
        for row in json.loads(paths.answer.read_text())["asymmetry"]:
            if row["asymmetry"] is not None:
                name = f"{row['selector']} {row['normalisation']} {flat(row['metric'])}"
                metrics[f"study/asymmetry {name}"] = row["asymmetry"]
        return metrics

    def parent_tags(self, paths: ReportPaths) -> dict[str, str]:
        verdicts = json.loads(paths.answer.read_text())["verdicts"]
        first = next(iter(verdicts.values()), {})
        return {f"verdict {name}": verdict for name, verdict in first.items()}

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        lines = []
        for family in ("full", "scale", "switch", "window"):
            names = [
                str(point.columns["cell"]) for point in points if point.columns["family"] == family
            ]
            names = list(dict.fromkeys(names))
            lines.append(f"{family} ({len(names)}): {', '.join(names)}")
        return lines


def main(flags: SensitivityFlags, command: str = "") -> None:
    """Run the study."""
    Sensitivity(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(SensitivityFlags, description=__doc__)
        main(chosen, "python -m studies.sensitivity " + shlex.join(sys.argv[1:]))
