"""What a metric's name says: unit, direction of better, and the claims that it may decide.

A direction of better is read from the name by `parse_metric` alone, and never guessed.
"""

import functools
import re
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric name says: words for people, unit, direction, and the claims it may decide."""

    name: str
    kind: str  # the first part of the name, but for `select/`
    label: str  # as a sentence names it
    short: str  # as a table's column or an axis names it
    damage: str  # what "worse than the full network" is called
    unit: str
    better: Literal["lower", "higher"]
    decides: bool = False  # may decide a claim; teacher-forced NLL never does
    exact: bool = False  # counted, not sampled: has no interval
    distance: bool = False  # of two sets of features: a square, with a floor that real images score
    scale: int | None = None  # from 1, for the NLL of one scale
    extractor: str | None = None
    samples: int | None = None  # that it is of, where its name says so

    @property
    def damage_sign(self) -> float:
        """Factor that turns (value - full network's value) into damage, positive being worse."""
        return 1.0 if self.better == "lower" else -1.0

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


_SAMPLES = r"(?P<extractor>[^/]+)/n(?P<samples>\d+)"
_OF = r"(?P<of>\w+)"
_NLL = "teacher-forced NLL"
# A name's pattern, to label, short, damage and unit.
_KNOWN = {
    r"nll/mean": (_NLL, "NLL", "NLL increase", "nats/token"),
    r"select/nll/mean": (f"{_NLL} on the select split", "select NLL", "NLL increase", "nats/token"),
    r"nll/scale_(?P<scale>\d+)": (
        f"{_NLL} of scale {{scale}}",
        "NLL of scale {scale}",
        "NLL increase at scale {scale}",
        "nats/token",
    ),
    rf"fd/{_SAMPLES}": ("Fréchet distance", "FD", "FD increase", ""),
    rf"kid/{_SAMPLES}": ("class-conditional KID", "KID", "KID increase", ""),
    rf"fid/{_SAMPLES}": ("FID (Inception features)", "FID", "FID increase", ""),
    rf"sfid/{_SAMPLES}": ("sFID (spatial features)", "sFID", "sFID increase", ""),
    rf"mind/{_SAMPLES}": ("MIND (sliced Wasserstein)", "MIND", "MIND increase", ""),
    rf"inception_score/{_SAMPLES}": ("Inception score", "IS", "IS lost", ""),
    rf"(?P<kind>precision|recall|density|coverage)/{_SAMPLES}": (
        "{kind}",
        "{kind}",
        "{kind} lost",
        "",
    ),
    rf"memorised/{_SAMPLES}": ("samples near a training image", "memorised", "memorised more", ""),
    r"class_accuracy": ("class accuracy", "accuracy", "accuracy lost", ""),
    rf"kv_bytes/{_OF}": ("KV cache, {of}", "KV {of}", "KV added", "bytes"),
    rf"flops/{_OF}": ("FLOPs, {of}", "FLOPs", "FLOPs added", "FLOP"),
    rf"latency_ms/{_OF}": ("latency, {of}", "latency", "latency added", "ms"),
    rf"images_per_second/{_OF}": ("throughput, {of}", "images/s", "throughput lost", "images/s"),
}
_HIGHER_IS_BETTER = {"class_accuracy", "images_per_second", "precision", "recall"}
_HIGHER_IS_BETTER |= {"density", "coverage", "inception_score"}


@functools.cache
def parse_metric(name: str) -> Metric:
    """The meaning of a metric name of DESIGN.md's list.

    Raises `ValueError` for a name that is not on it: a direction of better is never guessed.
    """
    for pattern, texts in _KNOWN.items():
        if match := re.fullmatch(pattern, name):
            said, kind = match.groupdict(), name.removeprefix("select/").partition("/")[0]
            label, short, damage, unit = (text.format(**said) for text in texts)
            return Metric(
                name=name,
                kind=kind,
                label=label,
                short=short,
                damage=damage,
                unit=unit,
                better="higher" if kind in _HIGHER_IS_BETTER else "lower",
                decides=kind in ("fd", "kid", "fid", "class_accuracy"),
                exact=kind in ("kv_bytes", "flops"),
                distance=kind in ("fd", "fid", "sfid", "kid", "mind"),
                scale=int(said["scale"]) if "scale" in said else None,
                extractor=said.get("extractor"),
                samples=int(said["samples"]) if "samples" in said else None,
            )
    raise ValueError(f"metric {name!r} is not one that this code knows")


NLL = parse_metric("nll/mean")
SELECT = parse_metric("select/nll/mean")  # of the images that choose
