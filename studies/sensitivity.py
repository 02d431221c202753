"""Which scales of a VAR need depth?

    python -m studies.sensitivity

Takes layers from a trained network, without training it further, and measures what that costs:
(a) every scale at every depth, all other scales full;
(b) every switch point with every depth: `d4@3` runs all layers on scales 1-3, 4 after them;
(c) the paper's windows at half depth: early, middle, late scales, the others full;
(d) the first scales at half depth, so that every early window meets every late one.

Windows are the paper's 1-3, 4-6 and 7-10 of ten scales; of other networks those whose shares of
the tokens come nearest to the paper's: for sides 1,2,3,4,6 scales 1, 2 and 3-5.

Claim C1 (early scales need depth, late ones do not) is judged by an asymmetry statistic that was
fixed before any run: see `analysis/claims/c1.py`. It runs over units (`--units`): base networks
with a training seed, uniforms and test images of their own.

Windows, which decide, are measured in every unit, the rest in the first alone (`--full`: in all).

With the defaults no network is trained: five come with the package. `--dry-run` says what it costs
here. Expect a heatmap in which every scale loses something at a quarter of the depth, and a
verdict.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any

from analysis.study_file import EQUIDISTANT, SensitivityFile, with_selector
from studies.grid.flags import StudyConfig
from studies.grid.point import Outcome, Point
from studies.study import Study, main
from studies.tracking.logged import Answer
from varant.errors import UserError
from varant.flags import Depths, choices
from varant.model.geometry import windows_of
from varant.model.plan import SELECTORS, DepthPlan, default_depths

if TYPE_CHECKING:
    from analysis.claims.planned import Lines
    from reports import ReportPaths
    from studies.grid.bench import Planned


DECIDING = ("full", "window")  # the families that claim C1 is judged by


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig(StudyConfig):
    depths: Depths | None = None
    """Depth grid, such as 2,4,6; default: a quarter, half and three quarters of the network."""
    selectors: Annotated[tuple[str, ...], choices(SELECTORS)] = (EQUIDISTANT,)
    """Which layers a subnet keeps: a list."""
    full: bool = False
    """All plans in every unit; else all in the first, and in the others full network and windows,
    which decide."""

    # As many samples as the ladder's: with more the first command would take longer, and units
    # differ by more than samples do.
    powered, most_samples = None, 2_000
    # Of so many images NLL's asymmetry has 3 % of the variance that units give it (docs/results).
    likelihood_images = 500


def entries_of(
    patch_nums: tuple[int, ...], depth: int, depths: Sequence[int], selectors: Sequence[str]
) -> Iterator[tuple[DepthPlan, dict[str, Any]]]:
    """The study's plans and their columns: full network, windows, first scales, switch points,
    single scales.

    Two may be one plan (`d4@4` of five scales is `d4 on scale 5`), which is measured once.
    """
    scales = range(1, len(patch_nums) + 1)
    full = DepthPlan.full(patch_nums, depth)
    yield full, {"plan": "full", "family": "full", "selector": selectors[0]}

    def reduced(
        name: str, chosen: Sequence[int], subnet: int, **columns: Any
    ) -> Iterator[tuple[DepthPlan, dict[str, Any]]]:
        """The scales `chosen` at depth `subnet`, by every selector."""
        columns |= {"plan": f"d{subnet}{name}", "subnet_depth": subnet}
        for selector in selectors:
            kept = [subnet if scale in chosen else depth for scale in scales]
            plan = DepthPlan.per_scale(patch_nums, depth, depths=kept, selector=selector)
            yield plan, columns | {"selector": selector}

    half = depth // 2
    for window, chosen in windows_of(patch_nums).items():
        yield from reduced(f" on {window}", chosen, half, family="window", window=window)
    for last in scales[:-1]:
        yield from reduced(f" on scales 1-{last}", scales[:last], half, family="prefix", scale=last)
    for subnet, switch in product(dict.fromkeys((*depths, half)), range(len(patch_nums))):
        yield from reduced(f"@{switch}", scales[switch:], subnet, family="switch", switch=switch)
    for subnet, scale in product(depths, scales):
        yield from reduced(f" on scale {scale}", (scale,), subnet, family="scale", scale=scale)


class Sensitivity(Study[SensitivityConfig, None]):
    """Takes layers from a trained network scale by scale."""

    name = "sensitivity"
    question = "Which scales of this network need depth? Layers are removed without training."
    file = SensitivityFile

    def depths(self, bench: Planned) -> tuple[int, ...]:
        """The depth grid; `UserError` for a depth that the network has not."""
        depth = bench.geometry.depth
        for chosen in self.config.depths or ():
            if not 1 <= chosen <= depth:
                raise UserError(
                    f"--depths {chosen}: the network has {depth} layers; use 1 to {depth}"
                )
        return self.config.depths or default_depths(depth)

    def points(self, bench: Planned, found: None) -> Iterator[Point]:
        """In the order in which the MLflow page lists: full network and windows first."""
        geometry, selectors = bench.geometry, self.config.selectors
        for unit in bench.units:
            for plan, columns in entries_of(
                geometry.patch_nums, geometry.depth, self.depths(bench), selectors
            ):
                mapped = self.config.full or unit == bench.units[0]
                if not mapped and columns["family"] not in DECIDING:
                    continue
                named = f"u{unit} " if len(bench.units) > 1 else ""
                named += with_selector(columns["plan"], columns["selector"])
                yield self.plan_point(bench, named, plan, unit=unit, **columns)

    def planned(self, bench: Planned) -> Lines:
        from analysis.claims.planned import ASYMMETRY

        return ASYMMETRY

    def sheet(self, outcome: Outcome[None]) -> list[tuple[str, Point]]:
        """Of the first network: full, the windows, and two-zone plans from deep to shallow."""
        middle = len(outcome.bench.geometry.patch_nums) // 2
        of = {"unit": outcome.bench.units[0], "selector": self.config.selectors[0]}
        shown = [*outcome.where(family="full", **of), *outcome.where(family="window", **of)]
        for depth in reversed(self.depths(outcome.bench)):
            for switch in (middle, 0):
                place = {"subnet_depth": depth, "switch": switch}
                shown += outcome.where(family="switch", **place, **of)
        return [(str(point.columns["plan"]), point) for point in shown]

    def facts(self, outcome: Outcome[None]) -> dict[str, Any]:
        geometry = outcome.bench.geometry
        return {
            "depths": self.depths(outcome.bench),
            "selectors": self.config.selectors,
            "windows": windows_of(geometry.patch_nums),
            "half_depth": geometry.depth // 2,
        }

    def run_name(self, bench: Planned) -> str:
        return f"{super().run_name(bench)}, units {','.join(map(str, bench.units))}"

    def answer(self, outcome: Outcome[None], paths: ReportPaths) -> Answer:
        from studies.tracking.outline import flat

        metrics = outcome.result(outcome.where(family="full")[0]).values
        for row in paths.said["asymmetry"]:
            if row["asymmetry"] is not None:
                name = f"{row['selector']} {row['normalisation']} {flat(row['metric'])}"
                metrics[f"study/asymmetry {name}"] = row["asymmetry"]
        note = f"C1 (early scales need depth, late ones do not): {paths.said['answer']}"
        return replace(super().answer(outcome, paths), note=note, metrics=metrics)

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        lines = []
        for family in ("full", "scale", "switch", "window", "prefix"):
            names = [str(p.columns["plan"]) for p in points if p.columns["family"] == family]
            names = list(dict.fromkeys(names))
            lines.append(f"{family} ({len(names)}): {', '.join(names)}")
        return lines


if __name__ == "__main__":
    main(Sensitivity, SensitivityConfig, __doc__)
