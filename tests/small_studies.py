"""Small synthetic studies whose truth is known: frames and study files, and their folders."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.frame import checked_frame
from varant.files import sha256_file
from varant.manifest import record

FD, KID = "fd/shapes-1a2b3c/n1000", "kid/shapes-1a2b3c/n1000"
BLIND_FD = "fd/patches-4d5e6f/n1000"
NLL, SELECT = "nll/mean", "select/nll/mean"
KV, FLOPS = "kv_bytes/peak", "flops/transformer"
GROUPS = 20  # blocks of the jackknife
DEPTH = 8
SWITCHES = (1, 2, 3)
FULL_KV = 1000.0
REFERENCE, WINNER = "the reference", "the winner"
BASE = {"kind": "base", "share": None}
UNTRAINED = 1.0  # what a subnet loses on the base
MARKED = [
    (5, {}, {"FD", "NLL"}),
    (4, {}, set()),
    (5, {"quick": True}, set()),
    (5, {"ladder": None}, {"NLL"}),
]
"""Units, facts of a study file, and metrics whose differences may have a star."""


def cell_rows(labels: Mapping[str, Any], scores: Mapping[str, Sequence[float]], **exact: float):
    """Rows of a finished cell: `scores` by metric, the one on all samples first, then replicates;
    `kv`, `flops` are exact."""
    shared = {"unit": 0, "scale": None, "window": None, "selector": "equidistant"}
    shared |= {"study": "small", "switch": None, "subnet_depth": None, "status": "finished"}
    shared |= {"anchor": None} | labels
    names = {"kv": KV, "flops": FLOPS}
    measured = [
        (metric, g - 1 if g else None, value, 1000)
        for metric, values in scores.items()
        for g, value in enumerate(values)
    ]
    measured += [(names[name], None, value, 0) for name, value in exact.items()]
    keys = ("metric", "group", "value", "count")
    return [shared | dict(zip(keys, found, strict=True)) for found in measured]


def real_rows(levels: Mapping[str, float], **labels: Any) -> list[dict[str, Any]]:
    """Rows of real images scored as samples are, with replicates close to each level."""
    rng = np.random.default_rng(labels.get("unit", 0))
    factors = 1 + 0.02 * rng.standard_normal() + np.linspace(-0.01, 0.01, GROUPS + 1)
    scores = {m: level * np.roll(factors, -(GROUPS // 2)) for m, level in levels.items()}
    columns = {"family": "real", "plan": "real", "anchor": "real", "selector": None}
    return cell_rows(columns | {"cell_digest": "real"} | labels, scores)


def failed(frame: pd.DataFrame, lost: pd.Series) -> pd.DataFrame:
    """The frame of a study in which the cells of these rows failed."""
    bad = frame[lost].drop_duplicates(["cell_digest", "family", "selector"])
    bad = bad.assign(status="failed", metric="", value=float("nan"), group=pd.NA, count=0)
    return pd.concat([frame[~lost], bad], ignore_index=True)


def search_frame(*, gain: float) -> pd.DataFrame:
    """Fronts of one plan each at half the full network's KV, the found one better by `gain`; it
    holds the two-zone plan too. And selectors: nested keeps the equidistant layers at depth 4."""
    rows: list[dict[str, Any]] = []

    def add(digest: str, level: float, family: str, plan: str, **labels: Any) -> None:
        # Replicates that move with the level, so that differences of two plans have a spread.
        near = level * (1 + 0.001 * np.linspace(-1, 1, GROUPS))
        scores = {m: [level, *near] for m in (NLL, FD)}
        labels |= {"family": family, "plan": plan, "cell_digest": digest}
        rows.extend(cell_rows(labels, scores, kv=FULL_KV if family == "full" else FULL_KV / 2))

    add("full", 2.0, "full", "full")
    add("zones", 3.0, "two-zone", "d2@3")
    add("zones", 3.0, "found", "d2@3")
    add("own", 3.0 - gain, "found", "8,8,2,2,2")
    for depth in (4, 2):
        for selector in ("ranked", "equidistant", "nested"):
            same = selector == "nested" and depth == 4
            digest = f"{'equidistant' if same else selector}-{depth}"
            level = 4.0 if selector == "ranked" else 3.0
            labels = {"switch": 3, "subnet_depth": depth, "selector": selector}
            add(digest, level, "selector", f"d{depth}@3", **labels)
    rows += real_rows({FD: 0.1})
    return checked_frame(pd.DataFrame(rows))


def layers(*depths: int) -> list[list[int]]:
    return [list(range(depth)) for depth in depths]


def search_facts(**other: Any) -> dict[str, Any]:
    """Beside a `search_frame`."""
    zones = {"plan": "d2@3", "layers": layers(8, 8, 8, 2, 2), "select_nll": 3.0}
    zones |= {"kv": 400, "flops": 10}
    own = zones | {"plan": "8,8,2,2,2", "layers": layers(8, 8, 2, 2, 2), "select_nll": 2.5}
    plans = {"full": layers(*[8] * 5), "zones": zones["layers"], "own": own["layers"]}
    facts = {"selectors": ["ranked", "equidistant", "nested"], "switch": 3, "trained_switch": 3}
    facts |= {"kv_limit_bytes": 600.0, "kv_full_bytes": FULL_KV}
    facts |= {"sampler": "nsga2", "weighed": "kv", "score_images": 100}
    facts |= {"scored": [zones, own], "fronts": {"two-zone": [zones], "found": [zones, own]}}
    facts |= {"ranked": {"4": [0, 1, 4, 7], "2": [0, 7]}, "plans": plans}
    return study_facts("search") | facts | other


def trained_frame(
    ways: Mapping[str, Mapping[str, Any]],
    level: Callable[[str, int | None, int | None], float],
    *,
    units: Sequence[int],
    switches: Sequence[int],
    depths: Sequence[int] = (4,),
) -> pd.DataFrame:
    """Every way to train (its columns by name) with the full network and all two-zone plans, at
    `level(way, depth, switch)` in all metrics; and real images. Units and what is left add small
    amounts, and so do blocks of samples."""
    rng, rows = np.random.default_rng(0), []
    anchors = {"base": "base", "full": "control"}
    plans = [(None, None), *((depth, switch) for depth in depths for switch in switches)]
    for unit in units:
        of_unit = 0.05 * rng.standard_normal()
        of_block = 0.01 * rng.standard_normal(GROUPS)
        rows += real_rows({FD: 0.1}, unit=unit)
        for name, way in ways.items():
            for depth, switch in plans:
                label = "full" if depth is None else f"d{depth}@{switch}"
                labels = {"schedule": name, "unit": unit, "seed": unit, "plan": label, **way}
                labels |= {"family": "full" if depth is None else "switch", "switch": switch}
                labels |= {"subnet_depth": depth, "cell_digest": f"{name}-{unit}-{label}"}
                labels |= {"anchor": anchors.get(way["kind"])}
                at = level(name, depth, switch) + of_unit + 0.002 * rng.standard_normal()
                near = at + of_block + 0.001 * rng.standard_normal(GROUPS)
                scores = {m: [at, *near] for m in (NLL, SELECT, FD)}
                kv = FULL_KV if switch is None else FULL_KV / 2 + 100 * switch
                rows += cell_rows(labels, scores, kv=kv, flops=kv)
    return checked_frame(pd.DataFrame(rows), training=True)


def switch_ways() -> dict[str, dict[str, Any]]:
    anchors = {"base": BASE, "a control": {"kind": "full", "share": 0.0}}
    anchors = {name: way | {"train_switch": SWITCHES[0]} for name, way in anchors.items()}
    trained = {"kind": "fixed", "share": 0.67}
    return anchors | {f"for {n}": trained | {"train_switch": n} for n in SWITCHES}


def switch_frame(
    *,
    mismatch: float = 0.1,
    loss: Callable[[int], float] = lambda switch: 0.3 - 0.1 * switch,
    units: Sequence[int] = (0, 1, 2, 3, 4),
) -> pd.DataFrame:
    """Models of each switch point; used elsewhere they lose `mismatch` nats for each scale."""
    ways = switch_ways()

    def level(way: str, _: int | None, used: int | None) -> float:
        if used is None:
            return 3.0
        if way == "base":
            return 3.0 + UNTRAINED
        return 3.0 + loss(used) + mismatch * abs(ways[way]["train_switch"] - used)

    return trained_frame(ways, level, units=units, switches=SWITCHES)


def schedule_ways() -> dict[str, dict[str, Any]]:
    return {
        "base": BASE | {"train_switch": 3},
        "control": {"kind": "full", "share": 0.0, "train_switch": 3},
        REFERENCE: {"kind": "progressive", "share": None, "train_switch": 3},
        WINNER: {"kind": "fixed", "share": 0.5, "train_switch": 3},
    }


def schedule_frame(
    *, full: float, subnets: float, units: Sequence[int] = (1, 2, 3)
) -> pd.DataFrame:
    """The winner differs from the reference by `full` and, on average, `subnets`."""

    def level(way: str, depth: int | None, _: int | None) -> float:
        if way in ("base", "control"):
            return 3.0 + UNTRAINED * (depth is not None)
        damage = full if depth is None else subnets + 0.05 * (depth - 3)
        return 3.0 + damage * (way == WINNER)

    return trained_frame(schedule_ways(), level, units=units, switches=(3,), depths=(2, 4))


def trial(number: int, full: float | None, subnets: float | None, **other: Any) -> dict[str, Any]:
    """A trial of a schedule search; without objectives it failed."""
    parameters = {"start share": 0.1 * number, "end share": 0.8, "first phase": 0.25}
    parameters |= {"ramp of the rest": 0.5, "ramp shape": "cosine" if number % 2 else "linear"}
    facts = {"number": number, "label": None, "parameters": parameters}
    facts |= {"phases": [0.25, 0.375, 0.375], "mean_share": 0.5, "curve": [0.1, 0.5, 0.8]}
    facts |= {"digest": f"trial {number}", "full": full, "subnets": subnets}
    return facts | {"status": "failed" if full is None else "finished"} | other


def schedule_facts(**other: Any) -> dict[str, Any]:
    """Beside a `schedule_frame`."""
    names = list(trial(0, None, None)["parameters"])
    shares = {name: {"mean": 0.1 + 0.1 * i, "sd": 0.02} for i, name in enumerate(names)}
    trials = [trial(0, 2.0, 3.0, label=REFERENCE), trial(1, 1.9, 2.9), trial(2, 2.2, 2.95)]
    facts = {"train_switch": 3, "reference": REFERENCE, "search_seed": 0, "score_images": 500}
    facts |= {"trials": [*trials, trial(3, None, None)], "winners": {WINNER: 1}}
    facts |= {"importances": {"full": shares, "subnets": shares}, "sampler": "TPE"}
    facts |= {"importance_evaluator": "fANOVA", "storage": "trials.db"}
    trained = trained_facts("schedule", schedule_ways(), units=(1, 2, 3), depths=[2, 4])
    return trained | facts | other


def switch_facts(*, units: Sequence[int] = (0, 1, 2, 3, 4), **other: Any) -> dict[str, Any]:
    """Beside a `switch_frame`."""
    return trained_facts("switch", switch_ways(), units=units, depths=[4]) | other


def trained_facts(
    study: str, ways: Mapping[str, Mapping[str, Any]], *, units: Sequence[int], depths: list[int]
) -> dict[str, Any]:
    ways = {name: way for name, way in ways.items() if way["kind"] != "base"}
    blank = dict.fromkeys(("mean_share", "start_share", "end_share", "phases", "ramp"))
    schedules = [
        blank
        | {"label": name, "kind": way["kind"], "share": way["share"], "passes": 1}
        | {"selector": "equidistant", "switch": way["train_switch"]}
        for name, way in ways.items()
    ]
    model = {"status": "finished", "folder": "cells/x", "full_passes": 10}
    models = [
        model | {"schedule": name, "unit": unit, "seed": unit, "digest": f"{name}-{unit}"}
        for name in ways
        for unit in units
    ]
    facts = {"depths": depths, "selectors": ["equidistant"], "schedules": schedules}
    facts |= {"units": list(units), "models": models, "budget_images": 3200, "batch": 64}
    facts |= {"lr": 1e-3, "lr_schedule": "cosine", "kv_full_bytes": FULL_KV, "train_switch": 3}
    return study_facts(study) | facts


COUNTS = (250, 1000, 2000)  # of samples, with which the ladder was climbed


def study_facts(study: str, **other: Any) -> dict[str, Any]:
    """What any study that measures plans says of itself."""
    hardware = {"cpu": "a processor", "cores": 2, "threads_per_process": 1, "workers": 2}
    dataset = {"name": "shapes", "digest": "d" * 64, "image_side": 24, "num_classes": 10}
    dataset |= {f"{split}_images": 2000 for split in ("train", "select", "test")}
    geometry = {"depth": DEPTH, "width": 48, "heads": 3, "patch_nums": [1, 2, 3, 4, 6]}
    geometry |= {"vocab_size": 128, "code_channels": 8, "num_classes": 10, "mlp_ratio": 4}
    facts = {"study": study, "quick": False, "command": f"python -m studies.{study}"}
    facts |= {"code_version": "0.1.0", "created": "2026-01-02T03:04:05Z", "plans": {}}
    facts |= {"versions": {"python": "3.12"}, "question": "Which one?", "title": None}
    facts |= {"config": {}, "config_digest": "c0ffee", "model": "a network"}
    facts |= {"frame_sha256": "f" * 64}
    facts |= {"hardware": hardware | {"device": "cpu", "platform": "Linux"}}
    facts |= {"seconds": {"wall": 60.0, "preparation": 10.0, "cells": 90.0}, "dataset": dataset}
    facts |= {"tokenizer": {"digest": "t", "description": "a tokenizer", "psnr_db": 26.5}}
    spaces = {"shapes-1a2b3c": 64, "patches-4d5e6f": 128}
    facts |= {
        "extractors": [{"name": n, "digest": n[-6:], "features": f} for n, f in spaces.items()]
    }
    facts |= {"bases": [{"unit": 0, "digest": "b", "parameters": 9}]}
    facts |= {"geometry": geometry | {"shared_adaln": False}}
    zones = dict.fromkeys(("early", "middle", "late"), True)
    facts |= {"ladder": {f"fd/{name}/n{count}": zones for name in spaces for count in COUNTS}}
    facts |= {"sampling": {"samples": 1000, "cfg": 0.0, "top_k": 0, "top_p": 0.0}}
    return facts | {"likelihood": {"nll_images": 1000, "select_images": 0}} | other


def make_folder(
    folder: Path, frame: pd.DataFrame, facts: Mapping[str, Any], *, samples: bool = True
) -> Path:
    """A study's folder as studies/ writes it."""
    folder.mkdir(parents=True)
    frame.to_parquet(folder / "frame.parquet")
    (folder / "study.json").write_text(json.dumps(facts))
    if samples:
        images = np.zeros((2, 3, 8, 8, 3), dtype=np.uint8)
        np.savez(folder / "samples.npz", images=images, rows=["a", "b"], columns=["x", "y", "z"])
    return sealed(folder)


def sealed(folder: Path) -> Path:
    """A study's folder whose files pass for what the study wrote, whatever was done to them."""
    study, frame = folder / "study.json", folder / "frame.parquet"
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(study.read_text()) | {"frame_sha256": sha256_file(frame)}
        study.write_text(json.dumps(facts))
    record(*(path for path in folder.iterdir() if path.is_file()), fresh=True)
    return folder


def edited(folder: Path, **facts: Any) -> Path:
    """A study's folder whose study file says this."""
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return sealed(folder)


def rewritten(
    folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "frame.parquet"
) -> Path:
    """A study's folder with a table changed."""
    change(pd.read_parquet(folder / name)).to_parquet(folder / name)
    return sealed(folder)


def unanchored(folder: Path, anchor: str) -> Path:
    """A study's folder without the rows of an anchor."""
    return rewritten(folder, lambda frame: frame[frame["anchor"] != anchor])


def words_of(content: Mapping[str, Any]) -> str:
    """All texts of a report's content: a line a block, or a row of a table."""

    def said(runs: Sequence[Mapping[str, str]]) -> str:
        return "".join(run["text"] for run in runs).replace("\u00a0", " ")

    lines = [content["title"], content["subtitle"]]
    for block in content["blocks"]:
        match block["kind"]:
            case "heading":
                lines.append(f"# {block['text']}")
            case "answer":
                lines += [f"Verdict: {block['verdict']}", said(block["runs"])]
            case "bullets":
                lines += [f"- {said(item)}" for item in block["items"]]
            case "table":
                lines += [said(block["caption"]), " | ".join(block["columns"])]
                lines += [" | ".join(map(said, row)) for row in block["rows"]]
            case "figure":
                lines.append(f"{block['path']}: {said(block['caption'])}")
            case _:
                lines.append(said(block["runs"]))
    return "\n".join(lines)


def marked_in(content: Mapping[str, Any], caption: str) -> set[str]:
    """First words of the columns that have a star, in the tables whose caption says this."""
    found = set()
    for block in content["blocks"]:
        if block["kind"] == "table" and caption in str(block["caption"]):
            for row in block["rows"]:
                cells = zip(block["columns"], row, strict=True)
                found |= {name.split()[0] for name, cell in cells if "*" in str(cell)}
    return found
