"""What docs/results.md says of the results that are committed."""

from pathlib import Path

from analysis.frame import load_frame
from analysis.statistics.intervals import Verdict
from analysis.study_file import SensitivityFile
from reports.sensitivity.findings import analyse

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_the_committed_results_say_what_is_written_of_them():
    folder = RESULTS / "sensitivity"
    study = SensitivityFile.load(folder / "study.json")
    found = analyse(study, load_frame(folder / "frame.parquet"))
    assert len(found.damages.units) == 5
    assert found.main.claim.verdict is Verdict.CONTRADICTED
    results = RESULTS.with_suffix(".md").read_text().replace("\u2212", "-")
    decided = [test for line in found.main.claim.lines for test in line.tests if test.outcome]
    shown = [test.interval for test in decided if not test.metric.name.startswith("fd/patches")]
    assert len(shown) == 2
    for i in shown:
        digits = 3 if abs(i.estimate) < 1 else 2
        said = [f"{value:.{digits}f}" for value in (i.estimate, i.low, i.high)]
        assert f"{said[0]} [{said[1]}, {said[2]}]" in results


def test_the_committed_results_of_small_say_what_is_written_of_them():
    folder = RESULTS / "sensitivity-small"
    study = SensitivityFile.load(folder / "study.json")
    found = analyse(study, load_frame(folder / "frame.parquet"))
    assert found.main.claim.verdict is Verdict.UNRESOLVED
    results = RESULTS.with_suffix(".md").read_text()
    levels = {
        place.window: [f"{value:.1f}" for value in one.by_unit.values()]
        for place, one in found.damages.values.items()
        if place.family == "window" and place.metric.startswith("fd/shapes-32")
    }
    assert f"FD {' and '.join(levels['early'])}," in results
    assert f"{' and '.join(levels['late'])});" in results
