"""What is known of the instrument that a study measures with: the tables of ladder and noise.

Tables of some settings are packaged, `tables/ladder-*.json` and `tables/noise-*.json`: copies of
the `table.json` that `studies.ladder` and `studies.noise` wrote. A study uses those of its own
setting, or the files that its flags name, which must be of its setting.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from analysis.errors import FrameError
from analysis.instrument_file import LadderTable, NoiseTable, Setting, Table
from analysis.metrics import parse_metric
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
        """`StudyFile.ladder` and `floor_spreads`, by names of metrics.

        A metric that sees damage in some samples sees it in more, since spread and floor only fall:
        the ladder speaks of at least its own samples (else None), a floor of exactly as many.
        """
        if self.ladder is None:
            return {"ladder": None, "floor_spreads": {}}
        least, zones, spreads = self.ladder.samples, {}, {}
        known = {(one.kind, one.extractor): one for one in self.ladder.metrics}
        for name, metric in ((name, parse_metric(name)) for name in metrics):
            passes = known.get((metric.kind, metric.extractor))
            if passes is not None and (metric.samples or samples) >= least:
                zones[name] = dict(passes.zones)
            if passes is not None and passes.floor_spread and metric.samples == least:
                spreads[name] = passes.floor_spread
        return {"ladder": zones if samples >= least else None, "floor_spreads": spreads}


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
