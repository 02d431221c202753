"""What can a metric see? Known damage to real images, scored as samples are.

    python -m studies.ladder

Trains no network. Every unit is a repeat with held-out images and a reference of its own (of a
finite data set: a random part, half at most, of those that there are). Their reconstructions are
scored as they are (the floor) and after damage of known size to their token maps: all tokens of one
scale from another image of the class, for each scale; a few or half of the last scale's tokens at
random; a blur; a class left out; images repeated.

A metric may decide about the early, middle or late scales if it rejects that zone's last scale
swapped against real images in 95 % of the repeats: the rule is in `analysis/statistics/ladder.py`.
The result is `table.json`, which other studies read (`--ladder`; docs/studies.md).

Most of its cost is images and references; `--dry-run` says how much that is here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from analysis.instrument_file import TABLE, LadderFile, LadderTable, Passes
from studies.cells.evaluation import RealImages
from studies.grid.flags import StudyConfig
from studies.grid.point import Outcome, Point
from studies.study import Study, main
from varant.errors import UserError
from varant.model.geometry import windows_of

if TYPE_CHECKING:
    from studies.grid.bench import Planned


@dataclass(frozen=True, kw_only=True)
class LadderConfig(StudyConfig):
    default_units = 20

    @classmethod
    def quick_defaults(cls) -> Self:
        return replace(super().quick_defaults(), units=3)

    @property
    def given(self) -> str:
        """Units have no networks of their own, so that a given tokenizer serves any number."""
        return ""


class Ladder(Study[LadderConfig, None]):
    """Scores real images after known damage."""

    name = "ladder"
    question = (
        "What can these metrics see? Real, held-out images are damaged in known ways and scored as "
        "samples are. A metric that cannot tell a zone's last scale swapped from real images "
        "decides nothing about that zone."
    )
    title = "What can these metrics see?"
    networks = verdicts = False
    file = LadderFile

    def points(self, bench: Planned, found: None) -> Iterator[Point]:
        from varant.evaluation.ladder import REAL, rungs

        sides, codes = bench.geometry.patch_nums, bench.geometry.vocab_size
        ends = {scales[-1]: zone for zone, scales in windows_of(sides).items()}
        for unit in self.units:
            for rung in rungs(sides, codes):
                if rung.name == REAL:  # the floor: `real_points`
                    continue
                zone = ends.get(rung.scale or 0) if rung.swapped else None
                columns = {"unit": unit, "family": "rung", "plan": rung.name, "scale": rung.scale}
                task = replace(self.real_images(bench, unit), rung=rung.name, draw=unit)
                yield Point(
                    name=f"{rung.name} u{unit}", task=task, columns=columns | {"window": zone}
                )

    def real_images(self, bench: Planned, unit: int) -> RealImages:
        part = None if self._shared_images(bench) is None else unit
        return replace(super().real_images(bench, unit), part=part)

    def _shared_images(self, bench: Planned) -> int | None:
        """Held-out images that all units have; None where each has its own."""
        return bench.dataset.sizes["select"] if bench.dataset.make_unit is None else None

    def check(self, bench: Planned) -> None:
        images, samples = self._shared_images(bench), bench.evaluation.samples
        if images is not None and 2 * samples > images:
            raise UserError(
                f"--samples {samples}: {bench.dataset.name} has {images:,} held-out images, and a "
                f"repeat takes half of them at most; give {images // 2} or fewer"
            )

    def sheet(self, outcome: Outcome[None]) -> Sequence[tuple[str, Point]]:
        """Every rung, real images first, of the first unit."""
        of_unit = outcome.where(unit=self.units[0])
        return [(str(p.columns["plan"]), p) for p in [of_unit[-1], *of_unit[:-1]]]

    def facts(self, outcome: Outcome[None]) -> dict[str, Any]:
        bench = outcome.bench
        return {"setting": bench.setting, "windows": windows_of(bench.geometry.patch_nums)}

    def run_name(self, bench: Planned) -> str:
        return f"{bench.dataset.name}, {bench.evaluation.samples} images, {len(self.units)} repeats"

    def write_more(self, outcome: Outcome[None]) -> list[Path]:
        """The table that other studies read."""
        from analysis.frame import load_frame
        from analysis.statistics.ladder import climb, floor_spreads, part_spread, passes
        from analysis.study_file import FRAME_FILE
        from studies.grid.folder import write_facts

        frame = load_frame(outcome.folder / FRAME_FILE, full=False)
        samples = outcome.bench.evaluation.samples
        part = part_spread(samples, self._shared_images(outcome.bench))
        spreads = floor_spreads(frame, part)
        table = LadderTable(
            setting=outcome.bench.setting,
            samples=samples,
            repeats=len(self.units),
            metrics=tuple(
                Passes(
                    kind=metric.kind,
                    extractor=metric.extractor,
                    zones=zones,
                    floor_spread=spreads.get(metric),
                )
                for metric, zones in passes(climb(frame, part)).items()
            ),
        )
        return [write_facts(outcome.folder / TABLE, table)]

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        rungs = list(dict.fromkeys(str(p.columns["plan"]) for p in points))
        return [f"{len(rungs)} rungs, {len(self.units)} repeats each: {', '.join(rungs)}"]


if __name__ == "__main__":
    main(Ladder, LadderConfig, __doc__)
