"""From a name in a report to all that its numbers were made of, by digests.

Of the study's folder alone: no tracker is asked, and the cells need not be there any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.efficiency_file import UNITS, EfficiencyFile, load_measured
from analysis.errors import FrameError
from analysis.frame import FINISHED, load_frame
from analysis.study_file import (
    FILE,
    FRAME_FILE,
    REAL,
    StudyFile,
    StudyHead,
    SupernetFile,
    with_selector,
)
from reports.parts.protocol import versions
from reports.parts.sources import CELLS

MOST = 10  # cells, or names in a message
FORMS = {"unit": "u{:.0f}", "schedule": "{}", "seed": "s{:.0f}", "plan": "{}"}
NAMING = (*FORMS, "selector", "anchor")


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A cell, or of a cell of costs what one subject took.

    Attributes:
        names: what it is called in the study's places, in words that a query may pick from.
        rows: of the frame.
    """

    digest: str
    names: tuple[str, ...]
    rows: pd.DataFrame

    @property
    def label(self) -> str:
        return " = ".join(self.names)

    def fits(self, query: str) -> bool:
        """Whether one of its names has all words of a query, or its digest begins so."""
        if len(query) >= 6 and self.digest.startswith(query):
            return True
        return any(set(query.split()) <= set(name.split()) for name in self.names)


def trace(folder: Path, study: StudyHead, name: str) -> str:
    """The chain of every cell that `name` fits, as text.

    Args:
        name: words of a report's label, such as `progressive s0 d4@4` or `u3 d8 on early`, of the
            efficiency study `ours d8@6 batch 4`, or the first digits of a cell's digest.

    Raises:
        FrameError: no cell has these words, or more than ten have.
    """
    if isinstance(study, EfficiencyFile):
        chains, follow = list(_chains_of_costs(folder)), partial(_lines_of_costs, folder, study)
    else:
        assert isinstance(study, StudyFile), "a study measures costs, or has units"
        chains, follow = list(_chains(folder)), partial(_lines, folder, study)
    found = [chain for chain in chains if chain.fits(name)]
    if not 1 <= len(found) <= MOST:
        some = ", ".join(chain.label for chain in (found or chains)[:MOST])
        what = f"{len(found)} cells" if found else "no cell"
        raise FrameError(f"--trace {name!r}: fits {what} of {folder}; there are {some}")
    return "\n\n".join("\n".join([chain.label, *follow(chain.rows)]) for chain in found)


def _chains(folder: Path) -> Iterator[Chain]:
    frame = load_frame(folder / FRAME_FILE, full=False)
    for digest, rows in frame[frame["group"].isna()].groupby("cell_digest", observed=True):
        yield Chain(digest=str(digest), names=names_of(rows), rows=rows)


def _chains_of_costs(folder: Path) -> Iterator[Chain]:
    frame = load_measured(folder / FRAME_FILE)
    subjects = ["cell_digest", "part", "style", "subject", "batch"]
    for of, rows in frame[frame["stage"].isna()].groupby(subjects, sort=False, dropna=False):
        digest, *words, batch = of
        name = [str(word) for word in words if pd.notna(word)]
        name += [] if pd.isna(batch) else [f"batch {batch}"]
        yield Chain(digest=str(digest), names=(" ".join(name),), rows=rows)


def _lines_of_costs(folder: Path, study: EfficiencyFile, rows: pd.DataFrame) -> Iterator[str]:
    """The chain of one subject in one cell: medians, and what they follow from."""
    first = rows.iloc[0]
    for metric, mine in rows[rows["scale"].isna()].groupby("metric", sort=False):
        of = f"median of {len(mine)}" if len(mine) > 1 else "counted once"
        unit = f" {UNITS[str(metric)]}".rstrip()
        yield f"  value       {metric} {mine['value'].median():.6g}{unit} ({of})"
    yield _place(folder, str(first["cell_digest"]))
    if first["subject"] in study.plans:
        yield _plan(study.plans[first["subject"]].layers)
    network = ", ".join(f"{name} {value}" for name, value in study.geometry)
    yield f"  network     {study.name}, random weights: {network}"
    yield f"  machine     {study.measured_on}"
    yield from _made_by(study, str(first["cell_digest"]))


def names_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """What a cell is called in the study's places, in words that a query may pick from."""
    names = []
    for _, place in rows.reindex(columns=NAMING).drop_duplicates().iterrows():
        of = place.dropna()
        words = [form.format(of[name]) for name, form in FORMS.items() if name in of]
        words += [REAL] if of.get("anchor") == REAL else []
        names.append(with_selector(" ".join(words), of.get("selector")))
    return tuple(dict.fromkeys(names))


def _lines(folder: Path, study: StudyFile, rows: pd.DataFrame) -> Iterator[str]:
    """The chain of one cell: what was measured, and each thing that it follows from."""
    first = rows.iloc[0]
    digest = str(first["cell_digest"])
    yield from values(rows)
    yield _place(folder, digest)
    if digest in study.plans:
        yield _plan(study.plans[digest])
    if isinstance(study, SupernetFile):
        yield from trained(study, first)
    for base in study.bases:
        if base.unit == first["unit"]:
            yield f"  network     {study.model}, unit {base.unit}, SHA-256 {base.digest}"
    yield f"  tokenizer   {study.tokenizer.description}, digest {study.tokenizer.digest}"
    yield f"  data        {study.dataset.name}, digest {study.dataset.digest}"
    for extractor in study.extractors:
        yield f"  extractor   {extractor.name}, SHA-256 {extractor.digest}"
    drawn = ", ".join(f"{name} {value:g}" for name, value in study.sampling)
    yield f"  sampling    {drawn}; uniforms of unit and image"
    yield from _made_by(study, digest)


def _place(folder: Path, digest: str) -> str:
    place = f"{CELLS}/{digest[:16]}"
    there = (folder.resolve().parent / place / "result.json").exists()
    return f"  cell        {digest}, {place} ({'there' if there else 'not there any more'})"


def _plan(layers: Sequence[Sequence[int]]) -> str:
    return f"  plan        layers {' | '.join(','.join(map(str, at)) for at in layers)}"


def _made_by(study: StudyHead, digest: str) -> Iterator[str]:
    yield f"  code        varant {study.code_version} ({versions(study)})"
    yield f"  command     {study.command}"
    yield f"  config      digest {study.config_digest}, in {FILE}"
    yield f"  frame       SHA-256 {study.frame_sha256}"
    yield f"  MLflow      the run with the tag cell_digest = {digest}"


def values(rows: pd.DataFrame) -> Iterator[str]:
    """Each metric, with the number of samples or images that it is of."""
    if rows.iloc[0]["status"] != FINISHED:
        yield f"  status      {rows.iloc[0]['status']}"
        return
    for _, row in rows.drop_duplicates("metric").iterrows():
        of = f"of {row['count']:,.0f}" if row["count"] else "exact"
        yield f"  value       {row['metric']} {row['value']:.6g} ({of})"


def trained(study: SupernetFile, row: pd.Series[Any]) -> Iterator[str]:
    """The training of a cell's network, or all of a rival's; none of the base's own cells."""
    for model in study.models:
        if (model.rival or model.schedule, model.unit) == (row.get("schedule"), row["unit"]) and (
            pd.isna(row.get("seed")) or model.seed == row["seed"]
        ):
            weights = f"weights SHA-256 {model.sha256}" if model.sha256 else model.status
            yield f"  training    {model.schedule}, seed {model.seed}: {model.digest}, {weights}"
