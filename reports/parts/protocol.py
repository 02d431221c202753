"""The protocol table: what was measured, on what, with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.claims.ledger import deciding_metrics
from analysis.figures.theme import scale_range
from analysis.frame import headline_metrics
from analysis.statistics.damage import base_seeds
from reports.parts import words
from reports.parts.blocks import Text, code, table
from reports.parts.record import (
    ParetoRecord,
    SearchRecord,
    SensitivityRecord,
    StudyRecord,
    SupernetRecord,
)


def protocol_table(record: StudyRecord, frame: pd.DataFrame) -> dict[str, Any]:
    """One row a fact; what the study did not note is left out, never guessed."""
    rows: list[tuple[str, Text | None]] = [
        ("Data", _data(record)),
        ("Model", _model(record)),
        ("Tokenizer", _tokenizer(record)),
        ("Base networks", _bases(record, frame)),
        ("Training", _training(record)),
        ("Plans", _plans(record)),
        ("Samples", _sampling(record)),
        ("NLL", _nll(record)),
        ("Extractor", _extractor(record)),
        ("Metrics", _metrics(frame, trained=_trained(record))),
        ("Hardware", _hardware(record)),
        ("Wall time", _time(record)),
        ("Versions", _versions(record)),
        ("Command", [code(record.command)]),
        ("Identity", _identity(record)),
    ]
    return table(
        caption="Protocol. Everything that the numbers of this report depend on.",
        columns=["What", "How"],
        rows=[(what, how) for what, how in rows if how],
        widths=[0.19, 0.81],
        numeric_from=9,
    )


def _trained(record: StudyRecord) -> bool:
    """Whether plans are of supernets, where NLL decides too: it is what they were trained for."""
    return isinstance(record, SupernetRecord | SearchRecord)


def _digest(value: Any) -> str:
    """The first twelve digits, enough to tell artifacts apart."""
    return str(value)[:12]


def _joined(*parts: str | None) -> str | None:
    kept = [part for part in parts if part]
    return "; ".join(kept) if kept else None


def _data(record: StudyRecord) -> str | None:
    d = record.fact("dataset")
    if not isinstance(d, Mapping):
        return None
    splits = [
        f"{d[f'{split}_images']:,} {split}"
        for split in ("train", "select", "test")
        if isinstance(d.get(f"{split}_images"), int)
    ]
    side, classes = d.get("image_side"), d.get("num_classes")
    return _joined(
        f"{d.get('name')}, digest {_digest(d.get('digest'))}",
        f"{side} x {side} pixels" if side else None,
        f"{classes} classes" if classes else None,
        f"{words.listed(splits)} images" if splits else None,
        "reported numbers use test images only",
    )


def _model(record: StudyRecord) -> str | None:
    g = record.facts["geometry"]
    sides = ", ".join(map(str, record.patch_nums))
    parts = [
        f"{name.replace('_', ' ')} {g[name]}"
        for name in ("depth", "width", "heads", "vocab_size")
        if name in g
    ]
    return _joined(
        str(record.fact("model")) if record.fact("model") else None,
        ", ".join(parts),
        f"{len(record.patch_nums)} scales with sides {sides} "
        f"({sum(p * p for p in record.patch_nums)} tokens)",
    )


def _tokenizer(record: StudyRecord) -> str | None:
    t = record.fact("tokenizer")
    if not isinstance(t, Mapping):
        return None
    psnr = t.get("psnr_db")
    return _joined(
        str(t["description"]) if t.get("description") else None,
        f"PSNR {psnr:.1f} dB" if isinstance(psnr, int | float) else None,
        f"digest {_digest(t.get('digest'))}",
    )


def _bases(record: StudyRecord, frame: pd.DataFrame) -> str:
    bases = record.fact("bases")
    if not isinstance(bases, list) or not bases:
        return "seeds " + ", ".join(map(str, base_seeds(frame)))
    said = []
    for base in bases:
        parts = [f"seed {base.get('base_seed')}: digest {_digest(base.get('digest'))}"]
        if isinstance(base.get("parameters"), int):
            parts.append(f"{base['parameters']:,} parameters")
        if isinstance(base.get("training_images"), int):
            parts.append(f"trained on {base['training_images']:,} images")
        if isinstance(base.get("nll_mean"), int | float):
            parts.append(f"NLL {base['nll_mean']:.3f} nats/token")
        if isinstance(base.get("class_accuracy"), int | float):
            parts.append(f"class accuracy {base['class_accuracy']:.3f}")
        said.append(", ".join(parts))
    trained = isinstance(record, SupernetRecord)
    after = "; every model starts from it" if trained else "; no training after the base"
    return "; ".join(said) + after


def _training(record: StudyRecord) -> str | None:
    if not isinstance(record, SupernetRecord):
        return None
    rate, batch = record.fact("learning_rate"), record.fact("batch")
    return _joined(
        f"{record.budget_images:,} image passes a model (a sandwich step takes three an image)",
        f"batches of {batch}" if batch else None,
        f"learning rate {rate:g}, {record.fact('lr_schedule')}" if rate else None,
        f"seeds {', '.join(map(str, record.seeds))}",
        "subnet steps drawn stratified: shares hold over every short window",
    )


def _plans(record: StudyRecord) -> str | None:
    depths, selectors = record.fact("depths"), record.fact("selectors")
    shared = _joined(
        f"depths {', '.join(map(str, depths))} of {record.depth}" if depths else None,
        f"selectors {', '.join(selectors)}" if selectors else None,
    )
    if isinstance(record, ParetoRecord):
        return _joined(shared, f"every switch point; trained for {record.train_switch}")
    if not isinstance(record, SensitivityRecord):
        return shared
    windows = ", ".join(f"{name} {scale_range(s)}" for name, s in record.windows.items())
    return _joined(shared, f"windows (scales) {windows} at half depth {record.half_depth}")


def _sampling(record: StudyRecord) -> str | None:
    s = record.fact("sampling")
    if not isinstance(s, Mapping):
        return None
    samples, sets = s.get("samples"), s.get("sets")
    count = None
    if isinstance(samples, int):
        count = f"{samples:,} a cell" + (f" in {sets} disjoint sets" if sets else "")
    return _joined(
        count,
        ", ".join(
            f"{said} {s[name]:g}" if s[name] else f"no {said}"
            for name, said in (("cfg", "guidance"), ("top_k", "top-k"), ("top_p", "top-p"))
            if isinstance(s.get(name), int | float)
        ),
        f"seed {s['seed']}" if "seed" in s else None,
        "every cell draws with the same uniforms, so differences are paired",
    )


def _nll(record: StudyRecord) -> str | None:
    images, sets = record.fact("nll_images"), record.fact("nll_sets")
    if not isinstance(images, int):
        return None
    chosen = record.fact("select_images")
    return (
        f"{images:,} test images"
        + (f" in {sets} disjoint sets" if sets else "")
        + ", teacher-forced, paired with the full network image by image"
        + (f"; {chosen:,} select images, which choose plans and report nothing" if chosen else "")
    )


def _extractor(record: StudyRecord) -> str | None:
    e = record.fact("extractor")
    if not isinstance(e, Mapping):
        return None
    return _joined(
        f"{e.get('name')}, {e.get('features')} features, digest {_digest(e.get('digest'))}",
        "distances on its features are not FID and compare only with themselves at equal counts",
    )


def _metrics(frame: pd.DataFrame, *, trained: bool) -> list[Any]:
    parts: list[Any] = []
    deciding = set(deciding_metrics(frame)) if trained else None
    for m in headline_metrics(frame):
        yes = m.decides if deciding is None else m in deciding
        decides = "decides" if yes else "reported, never decides"
        if parts:
            parts.append("; ")
        parts += [code(m.name), f" ({m.label}, {m.better.value} is better, {decides})"]
    return parts


def _hardware(record: StudyRecord) -> str | None:
    h = record.fact("hardware")
    if not isinstance(h, Mapping):
        return None
    workers, threads = h.get("workers"), h.get("threads_per_process")
    return _joined(
        f"{h.get('cpu')}, {words.counted(h['cores'], 'core')}"
        if isinstance(h.get("cores"), int)
        else str(h.get("cpu")),
        f"device {h.get('device')}",
        f"{words.counted(workers, 'worker')} of {words.counted(threads, 'thread')}"
        if isinstance(workers, int) and isinstance(threads, int)
        else None,
        str(h["platform"]) if h.get("platform") else None,
    )


def _time(record: StudyRecord) -> str | None:
    wall, preparation = record.fact("wall_seconds"), record.fact("preparation_seconds")
    if not isinstance(wall, int | float):
        return None
    text = f"last invocation {words.seconds(wall)}"
    if isinstance(preparation, int | float):
        text += f", of which preparation (data, tokenizer, base) {words.seconds(preparation)}"
    cells = record.fact("cell_seconds")
    if isinstance(cells, int | float):
        text += f"; process time of all cells, earlier invocations' too, {words.seconds(cells)}"
    return text


def _versions(record: StudyRecord) -> str | None:
    versions = record.fact("versions")
    if not isinstance(versions, Mapping):
        return None
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _identity(record: StudyRecord) -> str | None:
    return _joined(
        f"config digest {_digest(record.fact('config_digest'))}",
        f"code version {record.fact('code_version')}",
        f"created {record.fact('created')}",
    )
