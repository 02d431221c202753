"""Variance components of the differences that claims test, from frames of known truth."""

import numpy as np
import pandas as pd
import pytest
from instrument_frames import BASE_SD, DRAW_SD, TRAINING_SD, noise_frame, noise_table

from analysis.claims import c8
from analysis.errors import FrameError
from analysis.instrument_file import NoiseTable
from analysis.statistics.noise import Noise, Quantity, standardised
from analysis.study_file import COMMON_BLOCK

DESIGN = {"depth": 8, "switch": 3}


def quantities(**sizes: int) -> dict[tuple[str, str], Quantity]:
    found = Noise(noise_frame(**sizes), **DESIGN).quantities
    return {(one.metric.kind, one.quantity): one for one in found}


def test_components_are_those_that_the_values_were_drawn_with() -> None:
    found = quantities(units=60, seeds=3, draws=4)["fd", "loss half"]
    truth = {"base": BASE_SD**2, "training": TRAINING_SD**2, "evaluation": 1000 * DRAW_SD**2}
    for name, variance in truth.items():
        assert found.components[name].low < variance < found.components[name].high
    assert found.untrained == 2 and found.margin == 0.05
    assert found.mean == pytest.approx(2 - 1 - 0.05 * 2, abs=0.15)


def test_two_trainings_differ_by_twice_the_training_and_no_base() -> None:
    found = quantities(units=60, draws=4)["fd", "retrained half"].components["base"]
    assert found.low < 2 * TRAINING_SD**2 < found.high
    assert found.high < 2 * (BASE_SD**2 + TRAINING_SD**2)


def test_the_later_switch_and_the_fewest_layers_have_quantities_of_their_own() -> None:
    frame = noise_frame(units=20)
    assert not {"loss later", "loss d1"} & {q.quantity for q in Noise(frame, **DESIGN).quantities}
    half = (frame["subnet_depth"] == 4).fillna(False)
    fewest = frame[half].assign(subnet_depth=1)
    both = pd.concat([frame, fewest.astype(frame.dtypes.to_dict())], ignore_index=True)
    measured = Noise(both, **DESIGN, default_switch=2).quantities
    found = {q.quantity: q for q in measured if q.metric.kind == "fd"}
    assert found["loss later"].margin == found["loss d1"].margin == 0.1 == c8.MARGIN
    for name in ("loss later", "loss d1"):  # 1 more than the base, of whose 2 a tenth is allowed
        assert found[name].untrained == 2
        assert found[name].mean == pytest.approx(found["loss half"].mean - 0.05 * 2)


def test_one_by_n_holds_where_it_does_and_is_refused_where_not() -> None:
    found = quantities(units=30, draws=4)["fd", "loss half"]
    assert set(found.by_count) == {1000, 250} and found.inverse
    frame = noise_frame(units=30, draws=4)
    few = (frame["count"] == 250) & (frame["metric"].str.startswith("fd"))
    frame.loc[few & (frame["kind"] == "fixed"), "value"] *= 3
    wrong = {(q.metric.kind, q.quantity): q for q in Noise(frame, **DESIGN).quantities}
    assert wrong["fd", "loss half"].inverse is False


def test_what_so_many_samples_can_tell() -> None:
    frame = noise_frame(units=40, draws=3)
    rng = np.random.default_rng(4)
    fd = frame["metric"].str.startswith("fd") & (frame["kind"] == "fixed")
    half = fd & (frame["subnet_depth"] == 4)
    frame.loc[fd, "value"] += 100 / frame.loc[fd, "count"]
    moved = rng.normal(0, DRAW_SD * np.sqrt(1000 / frame.loc[half, "count"]))
    frame.loc[half, "value"] += 5 * DRAW_SD + moved
    found = {(one.metric.kind, one.samples): one for one in Noise(frame, **DESIGN).resolutions}
    assert list(found) == [("fd", 1000), ("fd", 250)]  # likelihood was not drawn anew
    for count, deviations in ((1000, 5), (250, 2.5)):
        assert found["fd", count].low < deviations < found["fd", count].high
        assert found["fd", count].half - found["fd", count].full == pytest.approx(
            5 * DRAW_SD, abs=0.2 * DRAW_SD
        )
    assert found["fd", 1000].bias == pytest.approx(0.1 / 2, abs=0.01)
    table = noise_table().model_copy(update={"resolutions": tuple(found.values())})
    assert '"bias": null' in table.json_text() and "metric" not in table.json_text()
    _, fewer = NoiseTable.model_validate_json(table.json_text()).resolutions
    assert (fewer.kind, fewer.samples) == ("fd", 250) and np.isnan(fewer.bias)
    assert fewer.deviations == found["fd", 250].deviations


@pytest.mark.parametrize("true", [1.0, 5.0, 14.0])
def test_intervals_of_deviations_cover(true: float) -> None:
    """Five units, two trainings each, that differ; each evaluated twice, with a deviation of 1."""
    rng, covered = np.random.default_rng(6), 0
    for _ in range(500):
        networks = rng.normal(0, 0.7, (5, 2, 1))
        values = true + networks - networks.mean() + rng.normal(0, 1, (5, 2, 2))
        deviation = float(np.sqrt(values.var(axis=2, ddof=1).mean()))
        ratio, low, high = standardised(float(values.mean()), deviation, values.size, 10)
        covered += low < true < high
        assert low < ratio < high
    assert 0.93 < covered / 500 < 0.97


def test_likelihood_has_its_evaluation_from_the_jackknife() -> None:
    found = quantities(units=10)["nll", "loss half"]
    assert found.from_jackknife and not found.by_count
    assert np.isnan(found.p_inverse) and found.inverse is None


def shared_images(frame: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Test images that all units share shift what trained networks of half the layers score: blocks
    in every cell, NLL's own replicates the same, and the variance of the shift."""
    shifts = np.random.default_rng(8).normal(0, 0.1, 20)
    whole = frame[frame["group"].isna()]
    half = (frame["kind"] != "base") & (frame["subnet_depth"] == 4).fillna(False)
    own = half & frame["metric"].str.startswith("nll") & frame["group"].notna()
    moved = frame["value"].where(
        ~own, frame["value"] + shifts[frame["group"].fillna(0).astype(int)]
    )
    blocks = [
        whole.assign(value=whole["value"] + shift * half[whole.index], group=COMMON_BLOCK + block)
        for block, shift in enumerate(shifts)
    ]
    rows = pd.concat([frame.assign(value=moved), *blocks], ignore_index=True)
    return rows.astype(frame.dtypes.to_dict()), 19 * float(shifts.var())


def test_what_units_share_is_apart() -> None:
    frame, variance = shared_images(noise_frame(units=6))
    found = {(q.metric.kind, q.quantity): q for q in Noise(frame, **DESIGN).quantities}
    half, nll = found["fd", "loss half"], found["nll", "loss half"]
    assert half.common.estimate == pytest.approx(variance)
    assert half.common.low < variance < half.common.high
    assert found["fd", "level full"].common.estimate == pytest.approx(0)
    alone = quantities(units=6)
    assert half.components == alone["fd", "loss half"].components
    assert half.common.degrees_of_freedom == 19
    assert nll.common.estimate == pytest.approx(variance * nll.samples)
    assert nll.components["evaluation"].estimate == pytest.approx(0), "it is no unit's own"
    base = alone["nll", "loss half"].components["base"]
    assert nll.components["base"].estimate == pytest.approx(base.estimate)
    assert alone["fd", "loss half"].common is None


def test_a_table_reads_back_as_it_was_written() -> None:
    found = Noise(noise_frame(units=6, draws=3), **DESIGN)
    table = noise_table().model_copy(update={"quantities": found.quantities})
    read = NoiseTable.model_validate_json(table.json_text())
    assert read.json_text() == table.json_text()
    for mine, theirs in zip(found.quantities, read.quantities, strict=True):
        assert (mine.quantity, mine.mean, mine.base) == (theirs.quantity, theirs.mean, theirs.base)


def test_blocks_that_some_cells_lack_say_nothing() -> None:
    frame, _ = shared_images(noise_frame(units=4))
    lacking = (frame["group"] >= COMMON_BLOCK).fillna(False) & (frame["unit"] == 0)
    assert all(q.common is None for q in Noise(frame[~lacking], **DESIGN).quantities)


def test_a_unit_that_lacks_a_cell_is_left_out_and_a_frame_that_lacks_draws_is_refused() -> None:
    frame = noise_frame(units=4)
    broken = frame.assign(status=frame["status"].astype(str).where(frame["unit"] != 3, "failed"))
    assert len(Noise(broken, **DESIGN).quantities) == len(Noise(frame, **DESIGN).quantities)
    gone = (frame["unit"] == 1) & (frame["draw"] == 1) & (frame["kind"] == "base")
    with pytest.raises(FrameError, match="lacks draws"):
        _ = Noise(frame[~gone], **DESIGN).quantities


def test_a_metric_that_some_cells_lack_is_left_out() -> None:
    frame = noise_frame(units=4)
    later = frame[frame["metric"].str.startswith("fd/")]
    later = later.assign(metric=later["metric"].str.replace("fd/", "mind/"))
    both = pd.concat([frame, later], ignore_index=True)
    kinds = {q.metric.kind for q in Noise(both, **DESIGN).quantities}
    assert kinds == {"fd", "nll", "mind"}
    partly = pd.concat([frame, later[later["unit"] > 0]], ignore_index=True)
    assert {q.metric.kind for q in Noise(partly, **DESIGN).quantities} == kinds - {"mind"}
