"""Maps and losses over switch points, on numbers whose truth is known."""

import numpy as np
import pytest
from small_studies import NLL, SWITCHES, failed, switch_frame

from analysis.maps.switch_depth import earliest, switch_losses, trained_at, transfer_map
from analysis.metrics import parse_metric
from analysis.statistics.levels import Levels, PlanKey

METRIC = parse_metric(NLL)


def test_maps_and_losses_find_what_was_planted():
    levels = Levels(switch_frame())
    assert trained_at(levels) == {n: f"for {n}" for n in SWITCHES}
    found = transfer_map(levels, METRIC, 4)
    wanted = [[0.1 * abs(n - m) for m in SWITCHES] for n in SWITCHES]
    np.testing.assert_allclose(found.values, wanted, atol=0.01)
    off = ~np.eye(3, dtype=bool)
    assert found.significant[off].all() and not found.significant[~off].any()
    assert found.tests == 6
    losses = switch_losses(levels, METRIC, (4,), PlanKey(4, 3), decides=True)
    assert losses["switch"].tolist() == list(SWITCHES)
    np.testing.assert_allclose(losses["damage"], [0.2, 0.1, 0.0], atol=0.01)
    np.testing.assert_allclose(losses["kv_share"], [0.6, 0.7, 0.8])
    assert losses["acceptable"].tolist() == [False, False, True]
    assert earliest(losses, 4)["switch"] == 3
    assert earliest(losses, 2) is None
    mute = switch_losses(levels, METRIC, (4,), PlanKey(4, 3), decides=False)
    assert mute["acceptable"].tolist() == [None] * 3 and earliest(mute, 4) is None


def test_no_mismatch_is_no_finding_and_an_early_dip_is_not_the_earliest_switch():
    levels = Levels(switch_frame(mismatch=0.0, loss=lambda n: {1: 0.0, 2: 0.2, 3: 0.0}[n]))
    assert not transfer_map(levels, METRIC, 4).significant.any()
    assert (
        earliest(switch_losses(levels, METRIC, (4,), PlanKey(4, 3), decides=True), 4)["switch"] == 3
    )


def test_models_that_did_not_finish_are_marked():
    frame = switch_frame()
    bad = (frame["schedule"] == "for 2") & (frame["switch"] == 3).fillna(False)
    found = transfer_map(Levels(failed(frame, bad)), METRIC, 4)
    assert found.failed[1, 2] and found.failed.sum() == 1
    assert np.isnan(found.values[1, 2])


@pytest.mark.parametrize("lost", ["base", "way"])
def test_without_a_base_or_model_there_is_no_loss(lost):
    frame = switch_frame()
    gone = frame["kind"] == "base" if lost == "base" else frame["schedule"] == "for 1"
    losses = switch_losses(Levels(frame[~gone]), METRIC, (4,), None, decides=True)
    assert losses["acceptable"].tolist() == [None] * len(losses)
    assert losses["switch"].tolist() == ([] if lost == "base" else [2, 3])
