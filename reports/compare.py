"""Two study folders of one study side by side: two machines, two versions, two data sets.

Levels of the full network and what the claims rest on, with the difference between the folders,
positive where the second has more: paired where both are of the same units (numbers, base networks
and data), which share uniforms and images, and of a finite data set the blocks of images that all
units share; else Welch's t between the units of one and of the other, which must exceed both
spreads. Numbers are compared only where the metric is the same, feature space and sample count
included; verdicts are compared in any case.
"""

import datetime
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.claims.rows import LedgerRow
from analysis.errors import FrameError
from analysis.frame import headline_metrics
from analysis.metrics import parse_metric
from analysis.statistics.intervals import SIGNIFICANCE, Interval, welch_t
from analysis.statistics.units import Observations, observed
from analysis.study_file import REAL, StudyFile, SupernetFile
from reports.build import judge, load_study
from reports.parts import words
from reports.parts.metrics import headings
from reports.parts.page import Page
from reports.parts.report import picked, set_pdf, study_frame, write_atomically, write_json

STEM = "compare"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number of both folders, unit by unit. `paired`: whether their units are the same."""

    what: str
    metric: str
    one: Observations
    other: Observations
    paired: bool

    @cached_property
    def difference(self) -> Interval:
        """Of the second and the first, with its 95 % interval; NaN where one has no spread."""
        one, other = self.one, self.other
        if self.paired and set(one.units) == set(other.units) and len(one.units) > 1:
            return other.minus(one).interval()
        return welch_t(other.interval(), one.interval())

    @property
    def differs(self) -> bool:
        return self.difference.p_value < SIGNIFICANCE


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two folders.

    Attributes:
        paired: whether both measured the same units.
        verdicts: what both say of each claim, and of its parts by one kind of evidence.
        apart: metrics that only one of them has, which are not compared.
    """

    folders: tuple[Path, Path]
    studies: tuple[StudyFile, StudyFile]
    paired: bool
    quantities: tuple[Quantity, ...]
    verdicts: Mapping[str, tuple[str, str]]
    apart: tuple[str, ...]

    @property
    def changed(self) -> dict[str, tuple[str, str]]:
        """The verdicts that both do not share."""
        return {claim: both for claim, both in self.verdicts.items() if both[0] != both[1]}

    @property
    def summary(self) -> str:
        known = [q for q in self.quantities if not math.isnan(q.difference.p_value)]
        return (
            f"{sum(q.differs for q in known)} of {words.counted(len(known), 'number')} differ at "
            f"p < 0.05, unadjusted; {len(self.changed)} of "
            f"{words.counted(len(self.verdicts), 'verdict')} changed"
        )

    def rows(self) -> pd.DataFrame:
        """As texts: a row a quantity."""
        metrics = [parse_metric(name) for name in dict.fromkeys(q.metric for q in self.quantities)]
        named = headings(metrics, "short")
        rows = [
            (
                q.what,
                named[q.metric],
                *(numbers.interval(one.interval(), signed=False) for one in (q.one, q.other)),
                numbers.interval(q.difference) + words.STAR * q.differs,
            )
            for q in self.quantities
        ]
        return pd.DataFrame(rows, columns=["What", "Metric", "A", "B", f"B {numbers.MINUS} A"])

    def text(self) -> str:
        """For a terminal: a line a quantity, then the verdicts that changed."""
        lines = [f"A {self.folders[0]}", f"B {self.folders[1]}", self.summary]
        rows = self.rows().to_numpy().tolist()
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines += ["  ".join(map(str.ljust, row, wide)).rstrip() for row in rows]
        lines += [f"{claim}: {one} -> {other}" for claim, (one, other) in self.changed.items()]
        if self.apart:
            lines.append(f"not compared, since one folder lacks them: {', '.join(self.apart)}")
        return "\n".join(lines)

    def write(self, out: Path) -> Path:
        """Write `compare.pdf` and `compare.json` into a folder; returns the former."""
        first, second = self.studies
        marked = first.model_copy(update={"quick": any(study.quick for study in self.studies)})
        page = Page(marked, "Two studies side by side", "A and B")
        text = f"A: {self.folders[0]}. B: {self.folders[1]}. "
        if first.dataset.digest != second.dataset.digest:
            text += "They are of two data sets, whose levels differ by themselves. "
        question = "Where do two studies differ by more than their units do, and which verdicts do?"
        page.answer(question, self.summary, text)
        how = "paired, since both are of the same units" if self.paired else "by Welch's t"
        page.table(
            self.rows(),
            "Levels of full networks and of real images, and what claims rest on: over the units "
            f"of each, and B {numbers.MINUS} A with 95 % interval, {how}; "
            f"{words.STAR} marks p < 0.05, unadjusted.",
        )
        verdicts = [
            (claim, *both, "changed" if claim in self.changed else "")
            for claim, both in self.verdicts.items()
        ]
        table = pd.DataFrame(verdicts, columns=["Claim", "A", "B", ""])
        page.table(table, "Verdicts.", widths=[0.4, 0.2, 0.2, 0.2])
        if self.apart:
            page.paragraph(f"Not compared, since one lacks them: {', '.join(self.apart)}.")
        said = page.report(answer={}, summary=pd.DataFrame())
        created: datetime.datetime = max(study.created for study in self.studies)
        write_json(out / f"{STEM}.json", self._json())
        return write_atomically(out / f"{STEM}.pdf", set_pdf(said.content, out, created))

    def _json(self) -> dict[str, Any]:
        ends = ("estimate", "low", "high", "p_value")
        return {
            "folders": [str(folder) for folder in self.folders],
            "summary": self.summary,
            "quantities": [
                picked(q, "what", "metric", "differs")
                | {"a": q.one.mean, "b": q.other.mean}
                | {"difference": picked(q.difference, *ends)}
                for q in self.quantities
            ],
            "verdicts": [
                {"claim": claim, "one": one, "other": other, "changed": claim in self.changed}
                for claim, (one, other) in self.verdicts.items()
            ],
            "not_compared": self.apart,
        }


def compare(one: Path, other: Path) -> Comparison:
    """Both folders' numbers and verdicts; `FrameError` for a folder that cannot be used, or two of
    different studies."""
    folders = (Path(one), Path(other))
    studies = tuple(load_study(folder) for folder in folders)
    if studies[0].study != studies[1].study:
        names = " and ".join(study.study for study in studies)
        raise FrameError(f"{one}, {other}: are of the studies {names}; compare two of one study")
    training = isinstance(studies[0], SupernetFile)
    frames = [
        study_frame(folder, study, training=training)
        for folder, study in zip(folders, studies, strict=True)
    ]
    metrics = [[metric.name for metric in headline_metrics(frame)] for frame in frames]
    levels = [_levels(frame, names) for frame, names in zip(frames, metrics, strict=True)]
    ledgers = [judge(study, frame) for study, frame in zip(studies, frames, strict=True)]
    verdicts = [_verdicts(rows) for rows in ledgers]
    seen = [one | _tests(rows) for one, rows in zip(levels, ledgers, strict=True)]
    paired = _same_units(*studies)
    return Comparison(
        folders=folders,
        studies=(studies[0], studies[1]),
        paired=paired,
        quantities=tuple(
            Quantity(what=what, metric=metric, one=one, other=seen[1][what, metric], paired=paired)
            for (what, metric), one in seen[0].items()
            if (what, metric) in seen[1]
        ),
        verdicts={
            claim: (mine, verdicts[1][claim])
            for claim, mine in verdicts[0].items()
            if claim in verdicts[1]
        },
        apart=tuple(sorted(set(metrics[0]) ^ set(metrics[1]))),
    )


def _same_units(one: StudyFile, other: StudyFile) -> bool:
    """Whether both measured the same networks on the same images with the same uniforms."""
    bases = [{base.unit: base.digest for base in study.bases} for study in (one, other)]
    same = ("sampling", "likelihood", "tokenizer")
    facts = all(getattr(one, name) == getattr(other, name) for name in same)
    return bases[0] == bases[1] and one.dataset.digest == other.dataset.digest and facts


def _levels(frame: pd.DataFrame, metrics: Sequence[str]) -> dict[tuple[str, str], Observations]:
    """Of full networks and of real images, by what they are called and metric."""
    mine = frame[frame["family"].isin(("full", REAL)) & frame["metric"].isin(metrics)]
    found = observed(mine, ["schedule", "family", "metric"])
    named = {REAL: "real images", "full": "full network"}
    return {
        (named[family] + (f", {way}" if way and family == "full" else ""), metric): one
        for (way, family, metric), one in found.items()
    }


def _tests(ledger: Sequence[LedgerRow]) -> dict[tuple[str, str], Observations]:
    """What claims rest on, by its name and metric; arithmetic is the same for all."""
    return {
        (f"{row.claim.id} {test.label}", test.metric.name): test.observed
        for row in ledger
        for line in row.lines
        for test in line.tests
        if test.metric is not None
    }


def _verdicts(ledger: Sequence[LedgerRow]) -> dict[str, str]:
    """Of claims, and of their lines by part and kind of evidence."""
    found = {}
    for row in ledger:
        found[row.claim.id] = row.verdict.value
        for line in row.lines:
            name = ", ".join(filter(None, (row.claim.id, line.part, line.kind.value)))
            found[name] = line.verdict.value
    return found
