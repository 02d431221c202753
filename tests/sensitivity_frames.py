"""Frames of sensitivity studies whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.frame import COLUMNS

FD, KID = "fd/shapes-1a2b3c/n250", "kid/shapes-1a2b3c/n250"
FIVE = (1, 2, 3, 4, 6)
TEN = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
WINDOWS = {
    5: {"early": [1, 2], "middle": [3], "late": [4, 5]},
    10: {"early": [1, 2, 3], "middle": [4, 5, 6], "late": [7, 8, 9, 10]},
}
# What a whole window costs at half depth, per scale: (early, late), by metric.
REPRODUCED = {FD: (3.0, 1.0), KID: (0.03, 0.01), "class_accuracy": (0.10, 0.03)}


def make_frame(
    *,
    patch_nums=FIVE,
    depth=8,
    depths=(6, 4, 2),
    base_seeds=(0,),
    selectors=("equidistant",),
    effects=REPRODUCED,
    nll_effects=(0.1, 0.3),
    noise=0.02,
    seed_noise=0.1,
    fail=(),
    sample_sets=8,
    nll_sets=10,
    seed=0,
):
    """A frame in which window damage per scale is `effects`, up to relative noise.

    `fail` names cells that fail, as (cell, base_seed); a base seed of None fails under all.
    """
    rng = np.random.default_rng(seed)
    scales = len(patch_nums)
    windows = WINDOWS[scales]
    tokens = np.square(patch_nums)
    half = depth // 2
    rows = []

    def add_base(base_seed):
        moved = {
            m: 1 + seed_noise * rng.standard_normal() * (len(base_seeds) > 1)
            for m in (*effects, "nll")
        }
        bases = {
            FD: (2 + 0.2 * rng.standard_normal(sample_sets)),
            KID: (0.05 + 0.004 * rng.standard_normal(sample_sets)),
            "class_accuracy": (0.97 + 0.01 * rng.standard_normal(sample_sets)),
        }
        nll_base = 3 + 0.1 * rng.standard_normal((nll_sets, scales))

        def add(family, cell, selector, lost, cell_depth, kv=None, **where):
            """`lost`: the scales (from 1) that run at `cell_depth`."""
            common = {
                "study": "sensitivity",
                "base_seed": base_seed,
                "family": family,
                "cell": cell,
                "selector": selector,
                "cell_digest": f"{cell}-{selector}",
                "subnet_depth": cell_depth,
                **where,
            }
            if (cell, base_seed) in fail or (cell, None) in fail:
                rows.append(
                    common
                    | {"status": "failed", "metric": "", "value": np.nan, "count": 0, "set": pd.NA}
                )
                return
            loss = 0 if cell_depth is None else (depth - cell_depth) / (depth - half)
            early = sum(1 for s in lost if s in windows["early"])
            late = sum(1 for s in lost if s in windows["late"])
            middle = len(lost) - early - late
            for metric, (at_early, at_late) in effects.items():
                size = (
                    moved[metric]
                    * loss
                    * (early * at_early + late * at_late + middle * (at_early + at_late) / 2)
                )
                jitter = noise * max(map(abs, effects[metric])) * rng.standard_normal(sample_sets)
                sign = -1 if metric == "class_accuracy" else 1
                values = bases[metric] + sign * (size + (jitter if lost else 0))
                rows.extend(
                    common
                    | {
                        "status": "finished",
                        "metric": metric,
                        "set": i,
                        "value": float(v),
                        "count": 250,
                    }
                    for i, v in enumerate(values)
                )
            added = np.zeros((nll_sets, scales))
            for s in lost:
                per = nll_effects[0] if s in windows["early"] else nll_effects[1]
                for later in range(s - 1, scales):
                    fade = 0.3 ** (later - s + 1)
                    added[:, later] += (
                        moved["nll"] * loss * per * fade * (1 + 0.1 * rng.standard_normal(nll_sets))
                    )
            nll = nll_base + added
            mean = nll @ tokens / tokens.sum()
            for i in range(nll_sets):
                rows.append(
                    common
                    | {
                        "status": "finished",
                        "metric": "nll/mean",
                        "set": i,
                        "value": float(mean[i]),
                        "count": 50,
                    }
                )
                rows.extend(
                    common
                    | {
                        "status": "finished",
                        "metric": f"nll/scale_{k + 1:02d}",
                        "set": i,
                        "value": float(nll[i, k]),
                        "count": 50,
                    }
                    for k in range(scales)
                )
            depth_at = [cell_depth if s in lost else depth for s in range(1, scales + 1)]
            cost = float(np.dot(depth_at, tokens))
            for metric, value in (
                ("kv_bytes/peak", cost * 768),
                ("kv_bytes/analytic", cost * 768),
                ("flops/transformer", cost * 5e6),
            ):
                rows.append(
                    common
                    | {
                        "status": "finished",
                        "metric": metric,
                        "set": pd.NA,
                        "value": value,
                        "count": 0,
                    }
                )

        add("full", "full", selectors[0], [], None)
        for selector in selectors:
            for d in depths:
                for s in range(1, scales + 1):
                    add("scale", f"d{d} on scale {s}", selector, [s], d, scale=s)
                for n in range(scales):
                    add(
                        "switch", f"d{d}@{n}", selector, list(range(n + 1, scales + 1)), d, switch=n
                    )
            for name, lost in windows.items():
                add("window", f"d{half} on {name}", selector, lost, half, window=name)

    for base_seed in base_seeds:
        add_base(base_seed)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
