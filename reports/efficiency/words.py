"""Words that the sections of the efficiency report share."""

from typing import Any

from analysis import numbers
from analysis.maps.generation import Sampling, Training
from reports.parts import words


def on(measured: Sampling | Training) -> str:
    return f"{measured.study.measured_on}, batch {measured.batch}"


def short(one: Sampling) -> str:
    """For a panel, whose figure's caption names the machine in full."""
    device = one.study.hardware.device
    return f"{one.study.name}, {one.study.precision}, {device}, batch {one.batch}"


def set_by(row: Any) -> str:
    """The stage that sets a peak; decoding is of no scale."""
    return "decode" if row.stage == "decode" else f"{row.stage}, scale {row.scale}"


def milliseconds(row: Any) -> str:
    ends = (1e3 * end for end in (row.seconds, row.low, row.high))
    return words.unbroken(numbers.estimate(*ends, signed=False))


def ratio(row: Any, name: str) -> str:
    ends = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    return words.unbroken(numbers.estimate(*ends, signed=False))
