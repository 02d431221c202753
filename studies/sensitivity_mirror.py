"""The sensitivity study in MLflow: a parent run with the verdict, a child run a cell."""

from __future__ import annotations

import json
from statistics import fmean
from typing import TYPE_CHECKING

from analysis.frame import parse_metric
from analysis.intervals import paired_t
from reports import ReportPaths
from studies.cell import CellResult
from studies.folder import FRAME_FILE, STUDY_FILE
from studies.mirroring import mirroring
from studies.sensitivity_grid import Entry
from studies.sensitivity_outcome import Outcome

if TYPE_CHECKING:
    from studies.records import LoggedDataset, StudyRecord


def open_record(outcome: Outcome) -> StudyRecord | None:
    """Find or begin the study's parent run; None, said aloud, where MLflow cannot be used."""
    with mirroring():
        return _open_record(outcome)
    return None


def _open_record(outcome: Outcome) -> StudyRecord:
    from studies.records import open_study

    bench = outcome.bench
    geometry, samples = bench.geometry, outcome.flags["samples"]
    seeds = ",".join(str(network.base_seed) for network in bench.networks)
    name = f"{bench.dataset.name} d{geometry.depth} w{geometry.width}, {samples} samples, s{seeds}"
    return open_study(
        outcome.workspace.folder,
        study=outcome.study,
        run_name=f"QUICK {name}" if outcome.quick else name,
        config_digest=outcome.config_digest,
        params=outcome.flags,
        tags=_tags(outcome) | {"mlflow.source.name": "studies.sensitivity"},
        dataset=_logged_dataset(outcome),
    )


def _tags(outcome: Outcome) -> dict[str, str]:
    geometry = outcome.bench.geometry
    return {
        "study": outcome.study,
        "dataset": outcome.bench.dataset.name,
        "geometry": f"d{geometry.depth} w{geometry.width} {len(geometry.patch_nums)} scales",
        "quick": str(outcome.quick).lower(),
        "mlflow.source.type": "LOCAL",
    }


def _logged_dataset(outcome: Outcome) -> LoggedDataset:
    from studies.records import LoggedDataset

    dataset = outcome.bench.dataset
    return LoggedDataset(
        name=dataset.name,
        digest=dataset.digest,
        source=f"varant.datasets.load_dataset({dataset.name!r})",
        images=dataset.sizes["test"],
    )


def record_interrupt(record: StudyRecord | None) -> None:
    """Leave no run marked as running behind."""
    if record is not None:
        with mirroring():
            record.interrupt()


def record_results(
    record: StudyRecord | None,
    outcome: Outcome,
    results: dict[str, CellResult],
    paths: ReportPaths,
) -> None:
    """Mirror every cell into MLflow as a child run, and attach what the report made."""
    if record is not None:
        with mirroring():
            _record_cells(record, outcome, results)
            _finish(record, outcome, results, paths)


def _record_cells(record: StudyRecord, outcome: Outcome, results: dict[str, CellResult]) -> None:
    """A run a cell, the full network's and the windows' last: the page lists newest first."""
    several = len(outcome.bench.networks) > 1
    for index, network in enumerate(outcome.bench.networks):
        full = results[outcome.cells[network.base_seed, "full"].digest]
        for digest, entries in reversed(_names_of_cells(outcome, network.base_seed).items()):
            result, entry = results[digest], entries[0]
            tags = _tags(outcome)
            if len(entries) > 1:
                tags["also"] = ", ".join(other.name for other in entries[1:])
            if result.error:
                tags["error"] = result.error
            places = {
                key: getattr(other, key)
                for other in reversed(entries)
                for key in ("scale", "window", "switch")
                if getattr(other, key) is not None
            }
            record.record_cell(
                digest=digest,
                name=f"{entry.name} s{network.base_seed}" if several else entry.name,
                status=result.status,
                params={
                    "family": entry.family,
                    "subnet_depth": entry.subnet_depth or outcome.bench.geometry.depth,
                    "selector": entry.selector,
                    "seed": network.base_seed,
                    "schedule": "full",
                    "budget_images": outcome.bench.training_images[index],
                }
                | places,
                metrics=_metrics(result, full),
                images_seen=outcome.bench.training_images[index] or 0,
                tags=tags,
                dataset=_logged_dataset(outcome),
                seconds=result.seconds,
            )


def _names_of_cells(outcome: Outcome, base_seed: int) -> dict[str, list[Entry]]:
    """The entries of each cell of a network: full and windows first, then switches and scales."""
    order = ("full", "window", "switch", "scale")
    names: dict[str, list[Entry]] = {}
    for entry in sorted(outcome.entries, key=lambda entry: order.index(entry.family)):
        names.setdefault(outcome.cells[base_seed, entry.name].digest, []).append(entry)
    return names


def _metrics(result: CellResult, full: CellResult) -> dict[str, float]:
    """Means over the sets; against the full network the paired damage with its standard error."""
    metrics = {name: fmean(found.values) for name, found in result.metrics.items()}
    metrics["seconds/cell"] = result.seconds
    if not (result.metrics and full.metrics) or result is full:
        return metrics
    for name, found in result.metrics.items():
        sign = parse_metric(name).damage_sign
        pairs = zip(found.values, full.metrics[name].values, strict=True)
        difference = paired_t([sign * (one - other) for one, other in pairs])
        if found.count:
            metrics[f"damage/{_flat(name)}"] = difference.estimate
            metrics[f"damage_standard_error/{_flat(name)}"] = difference.standard_error
        else:
            share = 1 - found.values[0] / full.metrics[name].values[0]
            metrics[f"saved_share/{_flat(name)}"] = share
    return metrics


def _flat(metric: str) -> str:
    """A metric's name without slashes: the page makes a section of everything before the last."""
    return metric.replace("/", "-")


def _finish(
    record: StudyRecord, outcome: Outcome, results: dict[str, CellResult], paths: ReportPaths
) -> None:
    """Verdict, its evidence and the artifacts on the parent run."""
    answer = json.loads(paths.answer.read_text())
    full = results[outcome.cells[outcome.bench.networks[0].base_seed, "full"].digest]
    metrics = {name: fmean(found.values) for name, found in full.metrics.items()}
    for row in answer["asymmetry"]:
        if row["asymmetry"] is not None:
            name = f"{row['selector']} {row['normalisation']} {_flat(row['metric'])}"
            metrics[f"study/asymmetry {name}"] = row["asymmetry"]
    facts = json.loads((outcome.folder / STUDY_FILE).read_text())
    metrics["study/seconds wall"] = facts["wall_seconds"]
    metrics["study/seconds preparation"] = facts["preparation_seconds"]
    tags = {f"verdict {name}": verdict for name, verdict in _verdicts(answer).items()}
    quick = "QUICK RUN: not a result. " if outcome.quick else ""
    record.finish(
        note="\n\n".join(
            [
                "Which scales of this network need depth? Layers are removed without training.",
                f"{quick}C1 (early scales need depth, late ones do not): **{paths.verdict}**. "
                f"{answer['answer']}",
                f"{len(results)} cells on {outcome.bench.dataset.name}; report.pdf and the figures "
                "are in the Artifacts tab.",
            ]
        ),
        metrics=metrics,
        tags=tags | {"verdict": paths.verdict},
        artifacts={
            "": [paths.pdf, paths.answer, outcome.folder / FRAME_FILE, outcome.folder / STUDY_FILE],
            "figures": sorted(path for path in paths.figures if path.suffix == ".png"),
            "figures_svg": sorted(path for path in paths.figures if path.suffix == ".svg"),
        },
        failed=any(result.status == "failed" for result in results.values()),
    )


def _verdicts(answer: dict) -> dict[str, str]:
    """The verdict of the first selector under each normalisation."""
    return next(iter(answer["verdicts"].values()), {})
