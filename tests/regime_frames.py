"""Small synthetic studies of regimes whose truth is known: frames, study files and conflicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from small_studies import BASE, DEPTH, NLL, UNTRAINED, trained_facts, trained_frame

from analysis.statistics.conflict import conflict_table

AGES, RATES = (8_000, 32_000), (1e-4, 1e-3)
Differences = Mapping[tuple[int, float], float]


def regime_ways() -> dict[str, dict[str, Any]]:
    ways: dict[str, dict[str, Any]] = {}
    kinds = {"control": ("full", 0.0), "fixed": ("fixed", 2 / 3)}
    kinds |= {kind: (kind, None) for kind in ("progressive", "reversed")}
    for age in AGES:
        ways[f"base, {age}"] = BASE | {"train_switch": 3, "base_images": age, "lr": None}
        for rate in RATES:
            for name, (kind, share) in kinds.items():
                way = {"kind": kind, "share": share, "train_switch": 3}
                ways[f"{name}, {age}, {rate}"] = way | {"base_images": age, "lr": rate}
    return ways


def regime_frame(
    full: Differences, subnets: Differences, *, units: Sequence[int] = (0, 1, 2, 3, 4)
) -> pd.DataFrame:
    """Progressive differs from fixed by these; subnets of two depths by 0.02 less and more."""
    ways = regime_ways()

    def level(name: str, depth: int | None, _: int | None) -> float:
        way = ways[name]
        at = 3.0 + UNTRAINED * (way["kind"] == "base" and depth is not None)
        if way["kind"] != "progressive":
            return at
        place = (way["base_images"], way["lr"])
        return at + (full[place] if depth is None else subnets[place] + 0.02 * (depth - 3))

    frame = trained_frame(ways, level, units=units, switches=(3,), depths=(2, 4))
    return frame[(frame["family"] != "real") & frame["metric"].isin([NLL])].reset_index(drop=True)


def regime_facts(*, units: Sequence[int] = (0, 1, 2, 3, 4), **other: Any) -> dict[str, Any]:
    """Beside a `regime_frame`."""
    facts = trained_facts("regime", regime_ways(), units=units, depths=[2, 4])
    facts |= {"ages": AGES, "rates": RATES, "train_switch": 3, "gradient_images": 100}
    return facts | {"sampling": facts["sampling"] | {"samples": 0}} | other


def conflict_rows(cosine: Differences, *, units: Sequence[int] = (0, 1, 2, 3, 4)) -> pd.DataFrame:
    """Cosines of gradients of all layers, and of all parameters, halfway and at both ends."""
    rows = []
    for name, way in regime_ways().items():
        if way["kind"] not in ("fixed", "progressive"):
            continue
        for unit in units:
            for progress in (0.0, 0.5, 1.0):
                for depth in (2, 4):
                    for layer in range(DEPTH + 1):
                        at = {"schedule": name, "unit": unit, "seed": unit, "layer": layer}
                        at |= {n: way[n] for n in ("kind", "base_images", "lr")}
                        at |= {"images_seen": int(3200 * progress), "progress": progress}
                        value = cosine[way["base_images"], way["lr"]] - 0.01 * layer
                        rows.append(at | {"subnet_depth": depth, "cosine": value})
    return conflict_table(rows)
