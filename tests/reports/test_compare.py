"""Comparing study folders."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from nights import night
from scipy import stats
from small_studies import NLL, edited, make_folder, rewritten, study_facts, switch_frame

from analysis.study_file import COMMON_BLOCK
from reports.__main__ import main
from reports.compare import Comparison, Quantity, compare


def level_of(found: Comparison) -> Quantity:
    place = ("full network, progressive", NLL)
    (level,) = (q for q in found.quantities if (q.what, q.metric) == place)
    return level


def test_two_folders_are_compared_by_welchs_t(tmp_path, capsys):
    one, two = night(tmp_path / "one", (0, 1, 2, 3, 4)), night(tmp_path / "two", (5, 6, 7))
    found = compare(one, two)
    level = level_of(found)
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
    assert found.changed["C2"] == ("reproduced", "cannot resolve")
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

    def moved(frame: pd.DataFrame) -> pd.DataFrame:
        full = (frame["metric"] == NLL) & (frame["plan"] == "full")
        return frame.assign(value=frame["value"] + full * (0.01 + 0.001 * frame["unit"]))

    level = level_of(compare(one, rewritten(two, moved)))
    assert level.differs and level.difference.estimate == pytest.approx(0.012)
    assert level.difference.high - level.difference.low < 0.005
    other = [{"unit": unit, "digest": f"c{unit}", "parameters": 9} for unit in units]
    found = compare(one, edited(two, bases=other))
    assert not found.paired and not level_of(found).differs, "of other networks"


def test_images_that_units_share_are_in_a_paired_difference(tmp_path):
    """Of levels, and of what a claim rests on: these shift the full network of one schedule."""
    units = (0, 1, 2, 3, 4)
    one, two = night(tmp_path / "one", units), night(tmp_path / "two", units)

    def in_blocks(shift: float, frame: pd.DataFrame) -> pd.DataFrame:
        whole = frame[(frame["metric"] == NLL) & frame["group"].isna()]
        moved = shift * ((whole["schedule"] == "progressive") & (whole["plan"] == "full"))
        blocks = [
            whole.assign(group=COMMON_BLOCK + i, value=whole["value"] + moved * (i - 4.5))
            for i in range(10)
        ]
        return pd.concat([frame, *blocks], ignore_index=True)

    rewritten(one, partial(in_blocks, 0.0))
    compared = compare(one, rewritten(two, partial(in_blocks, 0.1)))
    found = {(q.what, q.metric): q for q in compared.quantities}
    claimed = "C7a progressive, full: no worse than the base's full network"
    common = 9 * np.var(0.1 * (np.arange(10) - 4.5))
    for what in ("full network, progressive", claimed):
        number = found[what, NLL]
        assert number.paired and number.difference.estimate == pytest.approx(0.0)
        assert number.difference.standard_error == pytest.approx(np.sqrt(common))


def test_numbers_without_a_spread_are_compared_without_a_test(tmp_path):
    one, two = night(tmp_path / "one", (0,)), night(tmp_path / "two", (1,))
    rewritten(one, lambda frame: frame[frame["group"].isna()])
    assert main(["--compare", str(one), str(two), str(tmp_path / "out")]) == 0
    answer = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert None in {q["difference"]["p_value"] for q in answer["quantities"]}


def test_a_folder_does_not_differ_from_itself_nor_from_another_study(tmp_path, refused):
    one = night(tmp_path / "one", (0, 1, 2))
    assert not any(q.differs for q in compare(one, one).quantities)
    other = make_folder(tmp_path / "other", switch_frame(units=(0,)), study_facts("layers"))
    assert "pareto and layers; compare two of one study" in refused("--compare", one, other)


@pytest.mark.parametrize(
    "arguments", [[], ["a", "--pool", "a", "b", "c"], ["--pool", "a", "b"], ["--compare", "a"]]
)
def test_the_command_line_says_what_it_wants(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
