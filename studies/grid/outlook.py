"""Power before cost, as a study says it before it runs and its file keeps it."""

import math
import sys
from collections.abc import Iterable, Mapping

from analysis.claims.planned import Lines, Outlook, Size, outlooks
from analysis.statistics.units import LEAST_UNITS
from studies.grid.bench import Planned
from studies.grid.flags import StudyConfig
from varant.values import show_number


def outlooks_of(
    bench: Planned, config: StudyConfig, lines: Lines, *, units: int, draws: bool
) -> tuple[Outlook, ...]:
    """Of every line by every metric, of likelihood alone where nothing is drawn; none without a
    noise table of this setting."""
    if bench.instrument.noise is None:
        return ()
    evaluation, seeds = bench.evaluation, config.training_seeds
    size = Size(units=units, seeds=seeds, samples=evaluation.samples, images=evaluation.nll_images)
    found = outlooks(bench.instrument.noise, lines, size)
    return tuple(one for one in found if draws or one.kind == "nll")


def outlook_lines(
    bench: Planned, lines: Lines, found: Iterable[Outlook], unit_seconds: float | None
) -> list[str]:
    """What the study could show, by the deciding distance and by likelihood, a line each; and which
    of its lines have no plan, with the reason.

    Args:
        unit_seconds: CPU-seconds that a unit takes here; None where that was not timed.
    """
    table = bench.instrument.noise
    if table is None:
        keys = ", ".join(lines)
        return [f"power: not planned ({keys}), since studies.noise was not run for this setting"]
    decides = bench.extractors[0].name
    base = f"bases of {table.base_images:,} images, " if table.base_images else ""
    said = [
        f"power, by variance components of {table.units} units ({base}trainings of "
        f"{table.budget_images:,}; units needed: at their estimates, and at their upper 95 % "
        "limits):"
    ]
    for one in found:
        if one.kind == "nll" or (one.kind in ("fd", "fid") and one.extractor == decides):
            said.append(f"  {one.key}, {one.kind}: {_said(one, unit_seconds)}")
    known = {quantity.quantity for quantity in table.quantities}
    for key, rests in lines.items():
        if lacking := [name for name in rests.quantities if name not in known]:
            said.append(f"  {key}: not planned, since the noise table has no {', '.join(lacking)}")
    return said


def _said(one: Outlook, unit_seconds: float | None) -> str:
    what = "difference" if one.margin is None else "loss"
    least = f"smallest detectable {what} {one.least:.3g}"
    if math.isinf(one.least):
        least = f"no {what} detectable with one unit"
    if one.margin is None or one.power is None:
        return least
    needed = [
        "over 10,000" if units is None else show_number(max(LEAST_UNITS, units))
        for units in (one.units, one.units_at_most)
    ]
    cost = ""
    if one.units is not None and unit_seconds is not None:
        cost = f", about {max(LEAST_UNITS, one.units) * unit_seconds:,.0f} CPU-s here"
    gain = "" if one.gain is None else f"; smallest detectable gain, asked too, {one.gain:.3g}"
    return (
        f"margin {one.margin:.3g}, {least}, power {one.power:.0%} if nothing is lost; 80 % takes "
        f"{needed[0]} units{cost} (at most {needed[1]}){gain}"
    )


def warn_of_little(bench: Planned, units: int, drawn: Mapping[str, int]) -> None:
    """What keeps a verdict from being reached, before it is paid for.

    Args:
        units: that verdicts rest on; 0 where there are none.
        drawn: flags that say of how many samples a distance is taken, with what they say.
    """
    features = bench.extractors[0].features
    if 0 < units < LEAST_UNITS:
        print(f"warning: --units {units}: no verdict below {LEAST_UNITS}", file=sys.stderr)
    for flag, samples in drawn.items():
        if samples < 2 * features:
            said = (
                f"cannot resolve: their covariance of {features} features has rank "
                f"{min(samples - 1, features)}; no verdict by a distance below {2 * features}, "
                "twice the features"
            )
            print(f"warning: {flag} {samples}: {said}", file=sys.stderr)
    real = bench.dataset.of_unit(bench.units[0]).sizes["real"]
    if (samples := drawn.get("--samples", 0)) > real:
        print(
            f"warning: --samples {samples}: {bench.dataset.name} has {real:,} held-out images a "
            f"unit to score as samples are: no floor at {samples}; give {real} or fewer",
            file=sys.stderr,
        )
