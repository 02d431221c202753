"""What a metric's name says: unit, direction of better, and the claims that it may decide.

It is read from the name by `parse_metric` and nowhere else: a direction of better is never guessed.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass, replace


class Better(enum.Enum):
    """Which direction of a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric name says: words for people, unit, direction, and the claims it may decide."""

    name: str
    kind: str  # nll, fd, kid, fid, class_accuracy, kv_bytes, flops, latency_ms, images_per_second
    label: str  # as a sentence names it
    short: str  # as a table's column or an axis names it
    damage: str  # what "worse than the full network" is called
    unit: str
    better: Better
    decides: bool = False  # may decide a claim; teacher-forced NLL never does
    exact: bool = False  # counted, not sampled: has no interval
    scale: int | None = None  # from 1, for the NLL of one scale
    extractor: str | None = None
    samples: int | None = None  # samples behind one value, as the name states
    split: str = "test"  # whose images; what is measured on `select` chooses, and is no result

    @property
    def damage_sign(self) -> float:
        """Factor that turns (value - full network's value) into damage, positive being worse."""
        return 1.0 if self.better is Better.LOWER else -1.0

    @property
    def heading(self) -> str:
        """`short` with its unit, as a column or an axis shows it."""
        return self._with_unit(self.short)

    @property
    def damage_heading(self) -> str:
        """`damage` with its unit."""
        return self._with_unit(self.damage)

    def _with_unit(self, name: str) -> str:
        return f"{name} [{self.unit}]" if self.unit else name


_DISTANCES = {
    "fd": ("Fréchet distance", "FD", "FD increase"),
    "kid": ("class-conditional KID", "KID", "KID increase"),
    "fid": ("FID (Inception features)", "FID", "FID increase"),
}


@functools.cache
def parse_metric(name: str) -> Metric:
    """The meaning of a metric name of DESIGN.md's list.

    Raises `ValueError` for a name that is not on it: a direction of better is never guessed.
    """
    if name == "nll/mean":
        return Metric(
            name=name,
            kind="nll",
            label="teacher-forced NLL",
            short="NLL",
            damage="NLL increase",
            unit="nats/token",
            better=Better.LOWER,
        )
    if name == "select/nll/mean":
        return replace(
            parse_metric("nll/mean"),
            name=name,
            label="teacher-forced NLL on the select split",
            short="select NLL",
            split="select",
        )
    if match := re.fullmatch(r"nll/scale_(\d+)", name):
        scale = int(match[1])
        return Metric(
            name=name,
            kind="nll",
            label=f"teacher-forced NLL of scale {scale}",
            short=f"NLL of scale {scale}",
            damage=f"NLL increase at scale {scale}",
            unit="nats/token",
            better=Better.LOWER,
            scale=scale,
        )
    if match := re.fullmatch(r"(fd|kid|fid)/([^/]+)/n(\d+)", name):
        label, short, damage = _DISTANCES[match[1]]
        return Metric(
            name=name,
            kind=match[1],
            label=label,
            short=short,
            damage=damage,
            unit="",
            better=Better.LOWER,
            decides=True,
            extractor=match[2],
            samples=int(match[3]),
        )
    if name == "class_accuracy":
        return Metric(
            name=name,
            kind=name,
            label="class accuracy",
            short="accuracy",
            damage="accuracy lost",
            unit="",
            better=Better.HIGHER,
            decides=True,
        )
    if match := re.fullmatch(r"kv_bytes/(\w+)", name):
        return Metric(
            name=name,
            kind="kv_bytes",
            label=f"KV cache, {match[1]}",
            short=f"KV {match[1]}",
            damage="KV added",
            unit="bytes",
            better=Better.LOWER,
            exact=True,
        )
    if match := re.fullmatch(r"flops/(\w+)", name):
        return Metric(
            name=name,
            kind="flops",
            label=f"FLOPs, {match[1]}",
            short="FLOPs",
            damage="FLOPs added",
            unit="FLOP",
            better=Better.LOWER,
            exact=True,
        )
    if match := re.fullmatch(r"latency_ms/(\w+)", name):
        return Metric(
            name=name,
            kind="latency_ms",
            label=f"latency, {match[1]}",
            short="latency",
            damage="latency added",
            unit="ms",
            better=Better.LOWER,
        )
    if match := re.fullmatch(r"images_per_second/(\w+)", name):
        return Metric(
            name=name,
            kind="images_per_second",
            label=f"throughput, {match[1]}",
            short="images/s",
            damage="throughput lost",
            unit="images/s",
            better=Better.HIGHER,
        )
    raise ValueError(f"metric {name!r} is not one that this code knows")
