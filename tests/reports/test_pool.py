"""Joining study folders."""

from __future__ import annotations

import pandas as pd
import pytest
from nights import night
from small_studies import study_facts, unanchored

from analysis.frame import load_frame
from analysis.statistics.power import power_of
from analysis.study_file import ParetoFile
from reports.__main__ import main
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
def test_folders_that_differ_are_not_pooled(tmp_path, refused, facts, named):
    one, two = night(tmp_path / "one", (0, 1)), night(tmp_path / "two", (3, 4), **facts)
    assert named in refused("--pool", one, two, tmp_path / "all")


def test_units_are_pooled_once_and_nothing_is_overwritten(tmp_path, refused):
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
        assert named in refused("--pool", *folders)


def test_one_network_under_several_numbers_is_one_unit(tmp_path, refused):
    """What `--model X --seed 0`, `--model X --seed 1` leave: there is one network to speak of."""
    folders = [
        night(tmp_path / str(u), (u,), bases=[{"unit": u, "digest": "b" * 64, "parameters": 9}])
        for u in (0, 1)
    ]
    said = refused("--pool", *folders, tmp_path / "all")
    assert "base network bbbbbbbb is unit 0 of " in said and "and unit 1 of " in said


def test_folders_of_two_versions_are_pooled_with_a_warning(tmp_path, capsys):
    one = night(tmp_path / "one", (0,))
    two = night(tmp_path / "two", (1,), code_version="0.2.0")
    assert main(["--pool", str(one), str(two), str(tmp_path / "all")]) == 0
    said = capsys.readouterr().err
    assert said.startswith("warning: folders of versions 0.1.0 and 0.2.0,")
    assert said.count("\n") == 1


@pytest.mark.parametrize("anchor", ["real", "base", "control"])
def test_units_without_anchors_are_refused_before_anything_is_written(tmp_path, refused, anchor):
    one, two = night(tmp_path / "one", (0,)), unanchored(night(tmp_path / "two", (1,)), anchor)
    said = f"{two / 'frame.parquet'}: unit 1 has no anchor rows ({anchor})"
    assert said in refused("--pool", one, two, tmp_path / "all")
    if anchor != "control":
        assert said in refused("--compare", one, two, tmp_path / "out")
        assert said in refused("--ablation", two, tmp_path / "out")


def test_pooling_leaves_no_half_made_folder(tmp_path, monkeypatch):
    one, two = night(tmp_path / "one", (0,)), night(tmp_path / "two", (1,))

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("reports.pool.write_atomically", broken)
    with pytest.raises(OSError, match="disk full"):
        pool([one, two], tmp_path / "all")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]
