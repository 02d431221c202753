"""What makes a frame valid, and what metric names mean."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import FrameError
from analysis.frame import (
    COLUMNS,
    DRAW_COLUMN,
    TRAINING_COLUMNS,
    checked_frame,
    headline_metrics,
    load_frame,
    write_parquet,
)
from analysis.metrics import parse_metric
from varant.manifest import record

sys.path.insert(0, str(Path(__file__).parents[1]))

from sensitivity_frames import FD, make_frame


@pytest.fixture(scope="module")
def frame():
    return make_frame(depths=(4,), groups=2)


def test_round_trip_keeps_dtypes(frame, tmp_path):
    frame.to_parquet(tmp_path / "frame.parquet")
    with pytest.raises(FrameError, match=r"frame\.parquet: not in manifest\.json; run the study"):
        load_frame(tmp_path / "frame.parquet")
    record(tmp_path / "frame.parquet")
    back = load_frame(tmp_path / "frame.parquet")
    assert {n: str(d) for n, d in back.dtypes.items()} == COLUMNS | TRAINING_COLUMNS | DRAW_COLUMN
    assert len(back) == len(frame)


def test_a_written_table_is_smaller_and_the_same_to_the_bit(tmp_path):
    values = np.random.default_rng(0).normal(size=5_000)
    values[:2] = math.nan, -0.0
    table = pd.DataFrame({"value": values, "text": pd.Categorical(["a", "b"] * 2_500)})
    write_parquet(tmp_path / "small.parquet", table)
    table.to_parquet(tmp_path / "usual.parquet", index=False)
    read = pd.read_parquet(tmp_path / "small.parquet")
    assert read["value"].to_numpy().tobytes() == values.tobytes()
    assert read["text"].tolist() == table["text"].tolist()
    sizes = [(tmp_path / f"{name}.parquet").stat().st_size for name in ("small", "usual")]
    assert sizes[0] < 0.95 * sizes[1]


def test_direction_of_better():
    lower = (
        "nll/mean",
        "nll/scale_07",
        "fd/shapes-1a2b3c/n250",
        "kid/x-0/n1",
        "kv_bytes/peak",
        "flops/transformer",
        "latency_ms/batch_8",
        "fid/inception/n50000",
        "sfid/inception/n50000",
        "mind/shapes-1a2b3c/n250",
    )
    higher = ("class_accuracy", "images_per_second/train", "inception_score/inception/n50000")
    assert all(parse_metric(name).better == "lower" for name in lower)
    assert all(parse_metric(name).better == "higher" for name in higher)
    assert parse_metric("class_accuracy").damage_sign == -1
    assert parse_metric(FD).damage_sign == 1


def test_metric_facts():
    fd = parse_metric("fd/shapes-1a2b3c/n250")
    assert (fd.extractor, fd.decides) == ("shapes-1a2b3c", True)
    beside = ("sfid/inception/n50000", "mind/shapes-1a2b3c/n250", "inception_score/inception/n9")
    assert not any(parse_metric(name).decides for name in beside)
    assert "FID" not in fd.label + fd.short + fd.damage
    assert parse_metric("nll/scale_07").scale == 7
    assert not parse_metric("nll/mean").decides
    with pytest.raises(ValueError, match="psnr"):
        parse_metric("psnr")


def test_headline_order(frame):
    kinds = [m.kind for m in headline_metrics(frame)]
    assert kinds == ["fd", "fd", "kid", "class_accuracy", "nll"]  # of two feature spaces


def refused(frame: pd.DataFrame) -> str:
    with pytest.raises(FrameError) as caught:
        checked_frame(frame, source="frame.parquet")
    message = str(caught.value)
    assert message.startswith("frame.parquet: ") and "\n" not in message
    return message


def test_missing_columns_are_named(frame):
    message = refused(frame.drop(columns=["group", "value"]))
    assert "missing columns group, value" in message


@pytest.mark.parametrize(("version", "column"), [(1, "cell"), (2, "base_seed")])
def test_a_frame_of_an_earlier_version_is_refused_as_such(frame, version, column):
    message = refused(frame.assign(**{column: 0}))
    assert f"a frame of version {version} (column {column}); run the study again" in message


def test_wrong_dtype_is_named(frame):
    assert "value" in refused(frame.assign(value="much"))


def test_strange_values_are_named(frame):
    assert "'sideways'" in refused(frame.assign(family="sideways"))
    assert "'lost'" in refused(frame.assign(status="lost"))
    assert "anchor 'floor' is not one of real, base, control" in refused(
        frame.assign(anchor="floor")
    )
    assert "'psnr'" in refused(frame.assign(metric="psnr"))


def test_nan_of_a_finished_cell_is_refused(frame):
    broken = frame.copy()
    broken.loc[3, "value"] = np.nan
    assert "is nan" in refused(broken)


def test_two_values_for_one_unit_are_refused(frame):
    double = pd.concat([frame, frame.iloc[[5]].assign(value=1e6)])
    assert "two values" in refused(double)
    checked_frame(double.assign(draw=range(len(double))))  # of two draws
    checked_frame(pd.concat([frame, frame.iloc[[5]]]))  # a repeated row says nothing new
    whole = frame[frame["group"].isna()].iloc[[0]]
    assert "two values" in refused(pd.concat([frame, whole.assign(value=1e6)]))


def test_no_full_network_is_refused(frame):
    assert "full network" in refused(frame[frame["family"] != "full"])
    assert "no rows" in refused(frame.iloc[:0])
