"""From a name in a report to all that its numbers were made of, by digests.

Of the study's folder alone: no tracker is asked, and the cells need not be there any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import FrameError
from analysis.frame import FINISHED, load_frame
from analysis.study_file import FILE, REAL, StudyFile, SupernetFile, with_selector
from reports.parts.sources import CELLS, FRAME

MOST = 10  # cells, or names in a message
NAMING = ("unit", "schedule", "seed", "plan", "selector", "anchor")


def trace(folder: Path, study: StudyFile, name: str) -> str:
    """The chain of every cell that `name` fits, as text.

    Args:
        name: words of a report's label, such as `progressive s0 d4@4` or `u3 d8 on early`, or the
            first digits of a cell's digest.

    Raises:
        FrameError: no cell has these words, or more than ten have.
    """
    frame = load_frame(folder / FRAME, full=False)
    whole = frame[frame["group"].isna()]
    cells = dict(iter(whole.groupby("cell_digest", observed=True)))
    names = {digest: names_of(rows) for digest, rows in cells.items()}
    labels = {digest: " = ".join(those) for digest, those in names.items()}
    found = [digest for digest in cells if fits(name, names[digest], str(digest))]
    if not 1 <= len(found) <= MOST:
        some = [labels[digest] for digest in (found or labels)][:MOST]
        what = f"{len(found)} cells" if found else "no cell"
        raise FrameError(f"--trace {name!r}: fits {what} of {folder}; there are {', '.join(some)}")
    return "\n\n".join(
        "\n".join([labels[digest], *lines(folder, study, cells[digest])]) for digest in found
    )


def names_of(rows: pd.DataFrame) -> tuple[str, ...]:
    """What a cell is called in the study's places, in words that a query may pick from."""
    places = rows.drop_duplicates([name for name in NAMING if name in rows])
    return tuple(dict.fromkeys(_name(row) for _, row in places.iterrows()))


def _name(row: pd.Series[Any]) -> str:
    of = {name: row[name] for name in NAMING if name in row and pd.notna(row[name])}
    forms = {"unit": "u{:.0f}", "schedule": "{}", "seed": "s{:.0f}", "plan": "{}"}
    words = [form.format(of[name]) for name, form in forms.items() if name in of]
    words += [REAL] if of.get("anchor") == REAL else []
    return with_selector(" ".join(words), of.get("selector"))


def fits(query: str, names: Sequence[str], digest: str) -> bool:
    """Whether one of a cell's names has all words of a query."""
    if len(query) >= 6 and digest.startswith(query):
        return True
    return any(set(query.split()) <= set(name.split()) for name in names)


def lines(folder: Path, study: StudyFile, rows: pd.DataFrame) -> Iterator[str]:
    """The chain of one cell: what was measured, and each thing that it follows from."""
    first = rows.iloc[0]
    digest = str(first["cell_digest"])
    yield from values(rows)
    place = folder.resolve().parent / CELLS / digest[:16]
    there = "there" if (place / "result.json").exists() else "not there any more"
    yield f"  cell        {digest}, {CELLS}/{digest[:16]} ({there})"
    if digest in study.plans:
        yield f"  plan        layers {' | '.join(shown(at) for at in study.plans[digest])}"
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
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    yield f"  code        varant {study.code_version} ({versions})"
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


def shown(layers: Sequence[int]) -> str:
    return ",".join(map(str, layers))


def trained(study: SupernetFile, row: pd.Series[Any]) -> Iterator[str]:
    """The training of a cell's network, or all of a rival's; none of the base's own cells."""
    for model in study.models:
        if (model.rival or model.schedule, model.unit) == (row.get("schedule"), row["unit"]) and (
            pd.isna(row.get("seed")) or model.seed == row["seed"]
        ):
            weights = f"weights SHA-256 {model.sha256}" if model.sha256 else model.status
            yield f"  training    {model.schedule}, seed {model.seed}: {model.digest}, {weights}"
