"""What is known of the instrument that a study measures with: the tables of ladder and noise.

Tables of some settings are packaged, `tables/ladder-*.json` and `tables/noise-*.json`: copies of
the `table.json` that `studies.ladder` and `studies.noise` wrote. A study uses those of its own
setting, or the files that its flags name, which must be of its setting.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis.errors import FrameError
from analysis.instrument_file import LadderTable, NoiseTable, Passes, Setting, Table
from analysis.metrics import parse_metric
from analysis.study_file import ScaleZone
from studies.grid.flags import StudyConfig
from varant.errors import UserError
from varant.start.sources import Resolved

TABLES = Path(__file__).parent / "tables"
DEFAULT_SAMPLES = 2_000

AnyTable = TypeVar("AnyTable", bound=Table)


@dataclass(frozen=True, kw_only=True)
class Instrument:
    """Tables of a setting; None for those that there are not."""

    ladder: LadderTable | None
    noise: NoiseTable | None

    def facts(self, metrics: Iterable[str], samples: int) -> dict[str, Any]:
        """What `StudyFile` says of the ladder."""
        names = list(metrics)
        return {"ladder": self.passes(names, samples), "floor_spreads": self.floor_spreads(names)}

    def passes(
        self, metrics: Iterable[str], samples: int
    ) -> dict[str, dict[ScaleZone, bool]] | None:
        """`StudyFile.ladder`, by names of metrics; None without a ladder at so many samples.

        A metric that sees damage in some samples sees it in more: spread and floor only fall.
        """
        if self.ladder is None or samples < self.ladder.samples:
            return None
        return {
            name: dict(known.zones)
            for name, known in self._known(metrics)
            if (parse_metric(name).samples or samples) >= self.ladder.samples
        }

    def floor_spreads(self, metrics: Iterable[str]) -> dict[str, float]:
        """`StudyFile.floor_spreads`, by names of distances of as many samples as the ladder's."""
        return {
            name: spread
            for name, known in self._known(metrics)
            if (spread := known.floor_spread)
            and self.ladder
            and parse_metric(name).samples == self.ladder.samples
        }

    def _known(self, metrics: Iterable[str]) -> Iterator[tuple[str, Passes]]:
        """Names of metrics that the ladder knows."""
        rows = self.ladder.metrics if self.ladder else ()
        known = {(one.kind, one.extractor): one for one in rows}
        for name in metrics:
            metric = parse_metric(name)
            if found := known.get((metric.kind, metric.extractor)):
                yield name, found


def instrument_of(
    config: StudyConfig, resolved: Resolved, setting: Callable[[], Setting]
) -> Instrument:
    """The tables of a study's setting; `UserError` where one that the flags name cannot be read or
    is of another.

    Args:
        setting: asked for only where there is a table of the data set: it may have to hash a
            tokenizer of hundreds of megabytes.
    """
    wanted, of = config.evaluation, (resolved.dataset.digest, setting)
    ladder = _table("ladder", LadderTable, wanted.ladder, *of)
    noise = _table("noise", NoiseTable, wanted.noise, *of)
    if noise is not None and (differs := _differs(noise, config, resolved)):
        if wanted.noise is not None:
            raise UserError(f"--noise {wanted.noise}: {differs}; run studies.noise on it")
        noise = None
    return Instrument(ladder=ladder, noise=noise)


def _differs(noise: NoiseTable, config: StudyConfig, resolved: Resolved) -> str:
    """What a table was measured on that these flags have not, as far as it says; empty for none.

    Budget and rate of the trainings may differ: the dry run says the table's.
    """
    geometry, sampling = resolved.geometry, noise.sampling
    if (noise.depth, noise.width) != (geometry.depth, geometry.width):
        own = f"{geometry.depth} of {geometry.width}"
        return f"of a network of {noise.depth} layers of width {noise.width}, not {own}"
    if noise.base_images != resolved.training_images:
        said = f"of base networks of {noise.base_images} training images"
        return f"{said}, not {resolved.training_images}"
    switch = config.trained_for
    if switch is not None and noise.train_switch not in (None, switch):
        return f"of networks trained for switch {noise.train_switch}, not {switch}"
    if sampling is not None:
        theirs = {name: getattr(sampling, name) for name in vars(config.sampling)}
        if theirs != vars(config.sampling):
            return f"of samples drawn otherwise ({theirs})"
    return ""


def _table(
    study: str,
    kind: type[AnyTable],
    given: Path | None,
    dataset: str,
    setting: Callable[[], Setting],
) -> AnyTable | None:
    if given is not None:
        try:
            table = kind.read(given)
        except FrameError as error:
            raise UserError(f"--{study} {error}") from None
        if differs := table.setting.difference(setting()):
            raise UserError(
                f"--{study} {given}: of another {differs} than this study's; run studies.{study} "
                "with these data"
            )
        return table
    packaged = (kind.read(path) for path in sorted(TABLES.glob(f"{study}-*.json")))
    near = (table for table in packaged if table.setting.dataset == dataset)
    return next((table for table in near if table.setting == setting()), None)


def samples_of(
    config: StudyConfig, instrument: Instrument, extractor: str, *, held_out: int
) -> int:
    """Samples of a cell: the flag's, or as many as the power asks for.

    That is as many as leave measuring a quarter of what units differ by else, at least as many as
    the ladder was climbed with, and at most what the study's kind allows. Where no power can be
    planned, the ladder's. Never more than the `held_out` real images of a unit, which are scored as
    samples are: a distance has its floor at its own count.
    """
    if config.evaluation.samples is not None:
        return config.evaluation.samples
    least = DEFAULT_SAMPLES if instrument.ladder is None else instrument.ladder.samples
    if instrument.noise is None or config.powered is None:
        return min(config.most_samples, held_out, least)
    from analysis.claims.planned import samples_wanted

    seeds = config.training_seeds
    wanted = samples_wanted(instrument.noise, config.powered, extractor, seeds=seeds)
    return min(config.most_samples, held_out, max(least, wanted or least))
