"""What docs/results.md says of the results that are committed."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import numbers
from analysis.claims.costs import Costs
from analysis.claims.ledger import judge_costs
from analysis.claims.rows import Kind, LedgerRow
from analysis.efficiency_file import OURS, REFERENCE, EfficiencyFile, load_measured
from analysis.frame import headline_metrics, load_frame
from analysis.instrument_file import NoiseTable
from analysis.maps.regimes import regimes_of
from analysis.maps.switch_depth import transfer_map
from analysis.search_file import ScheduleFile, SearchFile
from analysis.searches.plans import plan_values
from analysis.searches.schedules import END, START
from analysis.statistics.asymmetry import Split
from analysis.statistics.conflict import load_conflict
from analysis.statistics.damage import Damages
from analysis.statistics.intervals import Interval, Verdict
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.units import mean_of
from analysis.study_file import ParetoFile, RegimeFile, SensitivityFile
from reports.pareto.report import judge
from reports.regime.findings import RegimeFindings
from reports.sensitivity.findings import Findings
from studies.grid.instrument import TABLES

RESULTS = Path(__file__).parents[2] / "docs" / "results"
PAGE, README = RESULTS.with_suffix(".md"), RESULTS.parents[1] / "README.md"


def test_the_committed_results_are_small():
    assert sum(path.stat().st_size for path in RESULTS.rglob("*") if path.is_file()) < 8_000_000


def page() -> str:
    """docs/results.md without line breaks."""
    return " ".join(PAGE.read_text().split())


def written(interval: Interval, digits: int, *, percent: bool = False) -> str:
    """As the pages write it."""
    ends = [(100 if percent else 1) * value for value in interval.ends]
    said = [f"{value:.{digits}f}".replace("-", "\u2212") for value in ends]
    return f"{said[0]}{' %' * percent} [{said[1]}, {said[2]}]"


def sensitivity_of(name: str) -> Findings:
    study = SensitivityFile.load(RESULTS / name / "study.json")
    return Findings(study, load_frame(RESULTS / name / "frame.parquet"))


def trained_frame(name: str) -> pd.DataFrame:
    return load_frame(RESULTS / name / "frame.parquet", training=True, full=False)


def trade_of(name: str) -> dict[str, LedgerRow]:
    """The ledger of a committed pareto study, by claim."""
    study = ParetoFile.load(RESULTS / name / "study.json")
    return {row.claim.id: row for row in judge(study, trained_frame(name))}


def test_the_committed_results_say_what_is_written_of_them():
    found = sensitivity_of("sensitivity")
    assert len(found.units) == 5
    assert found.main.claim.verdict is Verdict.CONTRADICTED
    decided = [test for line in found.main.claim.lines for test in line.tests if test.outcome]
    shown = [test.interval for test in decided if not test.metric.name.startswith("fd/patches")]
    assert len(shown) == 2
    for i in shown:
        assert written(i, 3 if abs(i.estimate) < 1 else 2) in page()


def test_the_committed_results_of_small_say_what_is_written_of_them():
    found = sensitivity_of("sensitivity-small").main
    assert found.claim.verdict is Verdict.INCONCLUSIVE
    ((deciding, *_), (likelihood, *_)) = (line.tests for line in found.claim.lines)
    assert written(deciding.interval, 1) in page() and written(likelihood.interval, 2) in page()
    splits = found.asymmetry.triangle[deciding.metric.name]
    assert (len(splits), *signs_of(splits)) == (28, 12, 1)
    assert f"(+{written(splits[4, 5].interval, 1)} FD)" in page()


def test_the_committed_triangle_of_six_scales_says_what_is_written_of_it():
    found = sensitivity_of("sensitivity-six")
    name, blind = (f"fd/{extractor.name}/n1000" for extractor in found.study.extractors)
    signs = {metric: signs_of(of) for metric, of in found.main.asymmetry.triangle.items()}
    assert signs[name] == (12, 2)
    assert (signs[blind][1], signs["nll/mean"][1]) == (10, 15)
    assert f"(+{written(found.main.claim.lines[0].tests[0].interval, 1)} FD)" in page()


def signs_of(splits: Mapping[tuple[int, int], Split]) -> tuple[int, int]:
    """How many intervals lie above zero, and below."""
    intervals = [one.interval for one in splits.values()]
    return sum(i.low > 0 for i in intervals), sum(i.high < 0 for i in intervals)


def test_the_committed_trade_of_tiny_says_what_is_written_of_it():
    rows = trade_of("pareto")
    (half, *_), (worse, *_) = rows["C4"].lines[0].tests, rows["C7a"].lines[0].tests
    assert f"{written(half.share, 0, percent=True)} of the untrained damage remains" in page()
    assert written(worse.interval, 2) in page()
    verdicts = {claim: rows[claim].verdict for claim in ("C2", "C3", "C4", "C7a")}
    assert verdicts == {
        "C2": Verdict.DISAGREE,
        "C3": Verdict.UNRESOLVED,
        "C4": Verdict.CONTRADICTED,
        "C7a": Verdict.CONTRADICTED,
    }


def test_the_committed_trade_of_small_says_what_is_written_of_it():
    rows = trade_of("pareto-small")
    readme = README.read_text()
    table = {line.split()[1]: line for line in readme.splitlines() if line.startswith("| C")}
    for claim in ("C2", "C3", "C4", "C7a"):
        first, likelihood, *_ = rows[claim].lines
        assert len(first.tests[0].units) == 5
        said = table[claim].rsplit("|", 2)[1].replace("[", "").strip()
        assert said.split("]")[0] == first.verdict.value
        assert said.split("; ")[1] == likelihood.verdict.value
    worse, better, *_ = rows["C2"].lines[0].tests
    for test in (worse, better):
        assert written(test.interval, 2) in table["C2"] and written(test.interval, 2) in page()
    (half, *_), (full, *_) = rows["C4"].lines[0].tests, rows["C7a"].lines[0].tests
    for claim, test, digits in (("C4", half, 0), ("C7a", full, 1)):
        share = written(test.share, digits, percent=True)
        assert share in table[claim] and share in page()
    assert f"{written(full.interval, 2)} of FD in the full network" in " ".join(readme.split())


def test_the_committed_trade_at_a_constant_rate_says_what_is_written_of_it():
    rows = trade_of("pareto-small-constant")
    text = page().split("The same at a constant rate")[1].split("Rivals at equal bytes")[0]
    samples, likelihood, *_ = rows["C3"].lines
    assert samples.part == likelihood.part == "constant rate"
    assert (samples.verdict, likelihood.verdict) == (Verdict.INCONCLUSIVE, Verdict.CONTRADICTED)
    deciding = samples.tests[0].metric
    losses = [t for t in samples.tests if t.share and t.metric == deciding]
    (here,) = [line for line in README.read_text().splitlines() if line.startswith("| C3")]
    for loss in losses:
        share = written(loss.share, 1, percent=True)
        assert written(loss.interval, 2) in text and share in text and share in here
    worse, better = [t for t in likelihood.tests if t.share]
    assert written(worse.interval, 3) in text
    gain = better.interval
    assert f"{-gain.estimate:.3f} [{-gain.high:.3f}, {-gain.low:.3f}]" in text
    for claim in ("C4", "C7a"):
        assert rows[claim].verdict is Verdict.CONTRADICTED
    (half, *_), (full, *_) = rows["C4"].lines[0].tests, rows["C7a"].lines[0].tests
    assert f"{written(half.share, 0, percent=True)} remains at half the layers" in text
    assert written(full.interval, 2) in text and written(full.share, 1, percent=True) in text


def test_damage_of_natural_images_ranks_as_is_written():
    """Kendall's tau over plans between mean damages on shapes and on CIFAR-10."""
    found = []
    for name in ("sensitivity", "cifar10-sensitivity"):
        study = SensitivityFile.load(RESULTS / name / "study.json")
        damages = Damages(load_frame(RESULTS / name / "frame.parquet"))
        seeing, blind = (f"fd/{extractor.name}/n2000" for extractor in study.extractors)
        metrics = {"nll/mean": "nll", seeing: "fd", blind: "blind"}
        found.append(
            {
                (metrics[at.metric], at[:-1]): one.mean
                for at, one in damages.damage.items()
                if at.metric in metrics
            }
        )
    text = PAGE.read_text().split("(`cifar10-jpeg`)")[1].split("\n## ")[0]
    taus = {}
    for metric in ("nll", "fd", "blind"):
        both = [at for at in found[0] if at[0] == metric and at in found[1]]
        assert len(both) == 37
        taus[metric] = stats.kendalltau(*([one[at] for at in both] for one in found)).statistic
    said = "{nll:.2f} by NLL, {fd:.2f} by FD on the networks that know classes, {blind:.2f} by FD"
    assert said.format(**taus) in " ".join(text.split())


def test_schedules_rank_on_natural_images_as_is_written():
    """By NLL in the same order as on shapes; by FD on the networks that know classes nearly."""
    ways = ("control", "fixed 0.1", "fixed 0.5", "fixed 1", "progressive")
    plans, found = (FULL, PlanKey(4, 3), PlanKey(2, 3)), []
    for name in ("pareto", "cifar10-pareto"):
        study = ParetoFile.load(RESULTS / name / "study.json")
        levels = Levels(trained_frame(name))
        metrics = ("nll/mean", f"fd/{study.extractors[0].name}/n2000")
        found.append([[[levels.value((w, p), m) for w in ways] for p in plans] for m in metrics])
    taus = [
        [stats.kendalltau(*both).statistic for both in zip(*of, strict=True)]
        for of in zip(*found, strict=True)
    ]
    np.testing.assert_allclose(taus, [[1, 1, 1], [0.6, 1, 0.6]], atol=1e-9)


def test_the_committed_regimes_say_what_is_written_of_them():
    folder = RESULTS / "regime"
    study = RegimeFile.load(folder / "study.json")
    conflict = load_conflict(folder / "conflict.parquet")
    found = RegimeFindings(study, regimes_of(trained_frame("regime")), conflict)
    section = PAGE.read_text().split("(`studies.regime`)")[1].split("\n## ")[0]
    rows = [
        row.split("|")[2:-1] for row in section.splitlines() if row[:4] in ("| 8,", "| 32", "| 12")
    ]
    for zone, cells in (("full", slice(0, 3)), ("subnets", slice(3, 6))):
        data = found.deciding[zone]
        said = [
            [float(cell.strip(" *").replace("\u2212", "-")) for cell in row[cells]] for row in rows
        ]
        stars = [["*" in cell for cell in row[cells]] for row in rows]
        np.testing.assert_allclose(data.values, said, atol=6e-4)
        np.testing.assert_array_equal(data.significant, stars)
    assert written(found.because["subnets"].interval(), 2) in " ".join(section.split())
    verdicts = Counter(line.verdict for line in found.claim.of(Kind.LIKELIHOOD))
    assert verdicts == {Verdict.CONTRADICTED: 5, Verdict.INCONCLUSIVE: 4}
    assert (found.cosines.iloc[:, 3:] > 0).all(axis=None), "gradients nowhere conflict"


def test_the_committed_search_says_what_is_written_of_it():
    study = SearchFile.load(RESULTS / "search" / "study.json")
    found = {plan.plan for plan in study.fronts["found"]}
    assert study.image_passes is not None and f"{study.image_passes:,} image passes" in page()
    assert study.best["found"].plan == "5,7,8,3,4" and "8,6,8,1,2" in found
    assert (len(study.fronts["two-zone"]), len(found)) == (3, 11)
    assert len(study.scored) == 150


def test_the_committed_search_by_distance_says_what_is_written_of_it():
    folder = RESULTS / "search-distance"
    study, frame = SearchFile.load(folder / "study.json"), load_frame(folder / "frame.parquet")
    assert (study.objective, study.score_samples, len(study.scored)) == ("distance", 500, 150)
    deciding = {m.kind: m for m in headline_metrics(frame) if not m.name.startswith("fd/patches")}
    found = dict(zip(deciding, plan_values(study, frame, list(deciding.values())), strict=True))
    for kind, pair, digits in (
        ("fd", ("8,8,8,3,4", "d2@3"), 2),
        ("fd", ("7,6,8,1,2", "d1@2"), 1),
        ("nll", ("8,8,8,3,4", "d2@3"), 3),
    ):
        matches = {(one.found.plan, one.zones.plan): one for one in found[kind].matches}
        assert [one.sign for one in matches.values()] == [-1] * 5
        i = matches[pair].difference
        best, low, high = (f"{-x:.{digits}f}" for x in (i.estimate, i.high, i.low))
        assert f"{best} [{low}, {high}]" in page()


def test_the_committed_switch_points_say_what_is_written_of_them():
    levels, worse = Levels(trained_frame("switch")), {"later": 0, "earlier": 0}
    (metric,) = [one for one in levels.metrics if one.name.startswith("fd/shapes-24")]
    for depth in (2, 4):
        found = transfer_map(levels, metric, depth)
        worse["later"] += np.triu(found.worse).sum()
        worse["earlier"] += np.tril(found.worse, -1).sum()
    assert (len(levels.units), worse) == (5, {"later": 1, "earlier": 11})
    assert "trained there in 1 of 20 pairs" in page() and "in 11 of 20" in page()
    ends = (PlanKey(2, 4), 0, 4, "+0.27 [0.11, 0.43]"), (PlanKey(2, 0), 4, 0, "+12 [8, 16]")
    for plan, trained, used, said in ends:
        places = (f"switch {trained}", plan), (f"switch {used}", plan)
        assert numbers.interval(levels.paired(*places, metric.name).interval()) == said
        assert said in page()
    place = ("switch 4", PlanKey(subnet_depth=4, switch=4))
    assert f"+{written(levels.loss(place, metric.name).interval(), 2)}" in page()


def test_the_committed_schedules_say_what_is_written_of_them():
    study = ScheduleFile.load(RESULTS / "schedule" / "study.json")
    levels = Levels(trained_frame("schedule"))
    won = study.won["best compromise"].parameters
    assert (round(float(won[START]), 2), round(float(won[END]), 2)) == (0.99, 0.41)
    places = (("best compromise", FULL), (study.reference, FULL))
    assert written(levels.paired(*places, "nll/mean").interval(), 4) in page()
    assert len(study.trials) == 24
    levels = Levels(trained_frame("schedule-constant"))
    subnets = [PlanKey(depth, 3) for depth in (2, 4, 6)]
    for name in ("best subnets", "best compromise"):
        parts = [levels.paired((name, p), (study.reference, p), "nll/mean") for p in subnets]
        assert written(mean_of(parts).interval(), 4) in page()


def test_what_so_many_samples_tell_is_what_the_committed_table_says():
    """Of FD, MIND and KID, a line of docs/features.md each, below the name of metric and space."""
    table = NoiseTable.read(RESULTS / "noise" / "table.json")
    found = {(r.kind, str(r.extractor)[:6], r.samples): r for r in table.resolutions}
    text = (RESULTS.parent / "features.md").read_text()
    rows = text.split("half less full, in standard")[1].split("Bias: ")[0].splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[2:] if row]
    name = ""
    for head, n, full, half, bias, apart in cells:
        name = head or name
        kind, space = name.replace("`", "").split(", ")
        one = found[kind.lower(), space[:6], int(n.replace(",", ""))]
        digits = 4 if kind == "KID" else 2
        assert (full, half) == (f"{one.full:.{digits}f}", f"{one.half:.{digits}f}"), name
        assert bias == ("" if one.bias is None or not bias else f"{100 * one.bias:.0f} %"), name
        assert apart == f"{one.deviations:.1f} [{one.low:.1f}, {one.high:.1f}]", name
    assert len(cells) == 10


@pytest.mark.parametrize(("preset", "space"), [("tiny", "shapes-24"), ("small", "shapes-32")])
def test_the_packaged_noise_is_what_is_written_of_it(preset, space):
    """Standard deviations of one value, at the digits that are shown."""
    table = NoiseTable.read(TABLES / f"noise-{preset}.json")
    deciding = [one for one in table.quantities if (one.extractor or space).startswith(space)]
    found = {(one.kind, one.quantity): one for one in deciding}
    assert {kind for kind, _ in found} >= {"fd", "mind", "kid", "nll"}
    text = PAGE.read_text().split(f"Preset `{preset}`, ", 1)[1]
    rows = [line.split("|")[1:-1] for line in text.split("\n\n")[1].splitlines()[2:]]
    names = [("fd", "loss half"), ("fd", "loss full"), ("fd", "asymmetry"), ("nll", "loss half")]
    for (label, *cells), name in zip(rows, names, strict=True):
        one = found[name]
        assert name[1].split()[-1].removeprefix("loss ") in label and name[0].upper() in label
        beyond = float(label.split("(")[1].split()[0].rstrip(")"))
        assert beyond == pytest.approx(one.mean, abs=0.05 if "asymmetry" in label else 0.005)
        count = {"evaluation": one.samples}
        for part, cell in zip(("base", "training", "evaluation"), cells, strict=True):
            component = getattr(one, part)
            known = [component.estimate, component.low, component.high]
            for shown, value in zip(re.findall(r"[\d.]+", cell), known, strict=False):
                digits = len(shown.partition(".")[2])
                deviation = (value / count.get(part, 1)) ** 0.5
                assert float(shown) == pytest.approx(deviation, abs=0.5001 * 10**-digits)


def test_committed_costs_in_float32_say_what_is_written_of_them():
    folder = RESULTS / "efficiency-float32"
    study = EfficiencyFile.load(folder / "study.json")
    frame = load_measured(folder / "frame.parquet")
    text = PAGE.read_text().split("The same in float32")[1]
    rows = {
        row.split("|")[1].strip(): row.split("|") for row in text.splitlines() if "MiB |" in row
    }
    seconds = frame[(frame["metric"] == "seconds") & frame["stage"].isna()]
    peaks = frame[frame["metric"] == "bytes/peak"].groupby(["batch", "style", "subject"])["value"]
    for batch, place in ((1, 2), (4, 4)):
        turns = seconds[seconds["batch"] == batch].pivot_table(
            index="repeat", columns=["style", "subject"], values="value"
        )
        for plan in study.plans:
            ratio = turns[REFERENCE, "full"] / turns[OURS, plan]
            said = f"{ratio.median():.2f} [{ratio.min():.2f}, {ratio.max():.2f}]"
            assert rows[plan][place].strip() == said, plan
    for plan in study.plans:
        assert rows[plan][6].strip() == f"{peaks.max()[4, OURS, plan] / 2**20:.0f} MiB"
    (row,) = [row for row in judge_costs(Costs(study, frame)) if row.claim.id == "C7b"]
    assert row.verdict is Verdict.REPRODUCED
    for line in row.lines:
        (said,) = re.findall(r"^(.*?) (\[.*?\]) %", line.said)
        assert f"{said[0]} % {said[1]}" in README.read_text()
