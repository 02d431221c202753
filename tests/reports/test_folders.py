"""Joining and comparing study folders."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from nights import night
from scipy import stats
from small_studies import NLL, make_folder, sealed, study_facts, switch_frame

from analysis.frame import load_frame
from analysis.statistics.power import power_of
from analysis.study_file import ParetoFile
from reports.__main__ import main
from reports.compare import compare
from reports.pool import pool


def test_nights_are_pooled_and_reported(tmp_path, capsys):
    spread = {"margin": 0.1, "deviation": 0.1}
    planned = {"spreads": {"C7a": {"nll/mean": [spread]}}}
    one = night(tmp_path / "one", (0, 1, 2), power={"C7a": {"nll/mean": 0.3}}, **planned)
    two = night(tmp_path / "two", (3, 4), power={"C7a": {"nll/mean": 0.1}}, **planned)
    out = tmp_path / "all"
    assert main(["--pool", str(two), str(one), str(out)]) == 0
    assert "C2 reproduced" in capsys.readouterr().out
    frame = load_frame(out / "frame.parquet", training=True)
    assert sorted(frame["unit"].unique()) == [0, 1, 2, 3, 4]
    study = ParetoFile.load(out / "study.json")
    assert study.units == (0, 1, 2, 3, 4) and study.config["units"] == 5
    assert study.config["seed"] == 0 and study.seconds.cells == 180.0
    assert [base.unit for base in study.bases] == [0, 1, 2, 3, 4]
    assert len(study.models) == 4 * 5
    assert study.power == {"C7a": {"nll/mean": power_of(0.1, 0.1, 5)}}, "of all units"
    assert sorted(pd.read_parquet(out / "curves.parquet")["unit"]) == [0, 1, 2, 3, 4]
    assert (out / "report.pdf").exists()
    assert main(["--pool", str(one), str(two), str(out)]) == 0  # an earlier pool is replaced
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_units_that_no_flag_named_are_counted(tmp_path):
    """`--units` is its default, which differs by study."""
    config = {"seed": 0, "units": None, "budget": "40k"}
    one = night(tmp_path / "one", (0, 1, 2), config=config)
    two = night(tmp_path / "two", (3, 4), spreads={"C7a": {}})
    study = ParetoFile.load(pool([two, one], tmp_path / "all") / "study.json")
    assert (study.config["seed"], study.config["units"]) == (0, 5)
    assert study.power is None, "one planned otherwise"


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"config": {"seed": 3, "units": 2, "budget": "80k"}}, "--budget differs: "),
        ({"dataset": study_facts("x")["dataset"] | {"digest": "e"}}, "dataset.digest differs: "),
        ({"train_switch": 2}, "train_switch differs: "),
    ],
)
def test_folders_that_differ_are_not_pooled(tmp_path, capsys, facts, named):
    one, two = night(tmp_path / "one", (0, 1)), night(tmp_path / "two", (3, 4), **facts)
    assert main(["--pool", str(one), str(two), str(tmp_path / "all")]) == 2
    said = capsys.readouterr().err
    assert named in said and said.count("\n") == 1
    assert not (tmp_path / "all").exists()


def test_units_are_pooled_once_and_nothing_is_overwritten(tmp_path, capsys):
    one, two = night(tmp_path / "one", (0, 1)), night(tmp_path / "two", (1, 2))
    three = night(tmp_path / "three", (3,))
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    for folders, named in (
        ((one, two, tmp_path / "all"), "unit 1 is in both"),
        ((one, three, full), "not empty and no study folder"),
        ((one, three, two), "holds a study of its own"),
        ((one, three, one), "one of the folders to pool"),
        ((one, tmp_path / "none", tmp_path / "all"), "no such folder"),
    ):
        before = sorted(tmp_path.rglob("*"))
        assert main(["--pool", *map(str, folders)]) == 2
        assert named in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before


def test_two_folders_are_compared_by_welchs_t(tmp_path, capsys):
    one, two = night(tmp_path / "one", (0, 1, 2, 3, 4)), night(tmp_path / "two", (5, 6, 7))
    found = compare(one, two)
    [level] = [
        q for q in found.quantities if (q.what, q.metric) == ("full network, progressive", NLL)
    ]
    values = [
        frame.loc[
            (frame["schedule"] == "progressive")
            & (frame["plan"] == "full")
            & (frame["metric"] == NLL)
            & frame["group"].isna(),
            "value",
        ]
        for frame in (pd.read_parquet(folder / "frame.parquet") for folder in (two, one))
    ]
    by_hand = stats.ttest_ind(*values, equal_var=False)
    interval = by_hand.confidence_interval()
    assert level.difference.p_value == pytest.approx(by_hand.pvalue)
    assert level.difference.low == pytest.approx(interval.low)
    assert level.difference.high == pytest.approx(interval.high)
    changed = {v.claim: (v.one, v.other) for v in found.verdicts if v.changed}
    assert changed["C2"] == ("reproduced", "cannot resolve")
    assert any(q.what.startswith("C4 ") for q in found.quantities)
    before = sorted(tmp_path.rglob("*"))
    assert main(["--compare", str(one), str(two)]) == 0
    said = capsys.readouterr().out
    assert "C2: reproduced -> cannot resolve" in said
    assert sorted(tmp_path.rglob("*")) == before  # it changes neither folder
    assert main(["--compare", str(one), str(two), str(tmp_path / "out")]) == 0
    answer = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert len(answer["quantities"]) == len(found.quantities)
    assert (tmp_path / "out" / "compare.pdf").read_bytes().startswith(b"%PDF")


def test_the_same_units_are_compared_in_pairs(tmp_path):
    """A shift that units share is far smaller than what they differ by, and shows."""
    units = (0, 1, 2, 3, 4)
    one, two = night(tmp_path / "one", units), night(tmp_path / "two", units)
    frame = pd.read_parquet(two / "frame.parquet")
    shift = 0.01 + 0.001 * frame["unit"]
    moved = (frame["metric"] == NLL) & (frame["plan"] == "full")
    frame["value"] = frame["value"].where(~moved, frame["value"] + shift)
    frame.to_parquet(two / "frame.parquet")
    sealed(two)
    place = ("full network, progressive", NLL)
    (level,) = (q for q in compare(one, two).quantities if (q.what, q.metric) == place)
    assert level.differs and level.difference.estimate == pytest.approx(0.012)
    assert level.difference.high - level.difference.low < 0.005
    other = [{"unit": unit, "digest": f"c{unit}", "parameters": 9} for unit in units]
    facts = json.loads((two / "study.json").read_text()) | {"bases": other}
    (two / "study.json").write_text(json.dumps(facts))
    sealed(two)
    (level,) = (q for q in compare(one, two).quantities if (q.what, q.metric) == place)
    assert not level.paired and not level.differs, "of other networks"


def test_numbers_without_a_spread_are_compared_without_a_test(tmp_path):
    one, two = night(tmp_path / "one", (0,)), night(tmp_path / "two", (1,))
    frame = pd.read_parquet(one / "frame.parquet")
    frame[frame["group"].isna()].to_parquet(one / "frame.parquet")
    sealed(one)
    assert main(["--compare", str(one), str(two), str(tmp_path / "out")]) == 0
    answer = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert None in {q["difference"]["p_value"] for q in answer["quantities"]}


def test_a_folder_does_not_differ_from_itself_nor_from_another_study(tmp_path, capsys):
    one = night(tmp_path / "one", (0, 1, 2))
    assert not any(q.differs for q in compare(one, one).quantities)
    other = make_folder(tmp_path / "other", switch_frame(units=(0,)), study_facts("layers"))
    assert main(["--compare", str(one), str(other)]) == 2
    assert "pareto and layers; compare two of one study" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--pool", "a", "b", "c"], ["--pool", "a", "b"], ["--compare", "a"]]
)
def test_the_command_line_says_what_it_wants(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_pooling_leaves_no_half_made_folder(tmp_path, monkeypatch):
    one, two = night(tmp_path / "one", (0,)), night(tmp_path / "two", (1,))

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("reports.pool.write_atomically", broken)
    with pytest.raises(OSError, match="disk full"):
        pool([one, two], tmp_path / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
