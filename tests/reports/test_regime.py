"""The report of the regime study, on a study whose truth is known."""

from small_studies import (
    AGES,
    RATES,
    conflict_rows,
    make_folder,
    regime_facts,
    regime_frame,
    sealed,
    words_of,
)

from analysis.study_file import RegimeFile
from reports.regime import make_report

PLACES = [(age, rate) for age in AGES for rate in RATES]
FULL_BY = dict(zip(PLACES, (-0.2, 0.1, 0.1, 0.2), strict=True))
SUBNETS_BY = dict(zip(PLACES, (-0.2, -0.1, 0.1, 0.3), strict=True))


def report_of(tmp_path, units=(0, 1, 2, 3, 4)):
    frame = regime_frame(FULL_BY, SUBNETS_BY, units=units)
    folder = make_folder(tmp_path / "study", frame, regime_facts(units=units), samples=False)
    conflict_rows(SUBNETS_BY, units=units).to_parquet(folder / "conflict.parquet")
    sealed(folder)
    return make_report(folder, RegimeFile.load(folder / "study.json"))


def test_which_regimes_favour_progressive_training(tmp_path):
    report = report_of(tmp_path)
    assert report.verdict == (
        "progressive against fixed at its mean share: full network better in 1 and worse in 3 of 4 "
        "regimes; subnets better in 2 and worse in 2 of 4 regimes"
    )
    assert set(report.plates) == {"regimes", "conflict"}
    text = words_of(report.content)
    assert "* (base of 8,000 images, rate 0.0001), to +0.2" in text
    assert "which" not in text.split("Conflict: ")[1].split("\n")[0]
    (row,) = report.answer["ledger"]
    assert (row["claim"], row["verdict"]) == ("C3", "untested")
    verdicts = {line["part"]: line["verdict"] for line in row["lines"] if line["part"]}
    assert verdicts == {
        "8,000 images, rate 0.0001": "reproduced",
        "8,000 images, rate 0.001": "contradicted",
        "32,000 images, rate 0.0001": "contradicted",
        "32,000 images, rate 0.001": "contradicted",
    }
    assert len(report.summary) == 2 * 2 * 4  # schedules, zones, regimes


def test_fewer_than_five_units_cannot_resolve(tmp_path):
    report = report_of(tmp_path, units=(0, 1, 2))
    assert report.verdict.startswith("cannot resolve: 3 units, a verdict needs 5 (")
    lines = report.answer["ledger"][0]["lines"]
    assert {line["verdict"] for line in lines[1:]} == {"cannot resolve"}
