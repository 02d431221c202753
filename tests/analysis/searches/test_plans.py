"""Fronts of a plan search, on numbers whose truth is known."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from small_studies import FULL_KV, KV, NLL, SETS, failed, search_facts, search_frame

from analysis.metrics import parse_metric
from analysis.search_file import SearchFile
from analysis.searches.plans import PlanValues, plan_values

STUDY = SearchFile.model_validate(search_facts())


def values_of(frame: pd.DataFrame) -> PlanValues:
    return plan_values(STUDY, frame, parse_metric(NLL))


def test_plans_are_told_by_their_cells():
    plans = values_of(search_frame(gain=0.5))
    assert plans.groups["found"] == ("zones", "own")
    assert plans.groups["two-zone"] == ("zones",)
    assert plans.values.shape == (8, SETS)  # nine plans, of which two have the same layers
    np.testing.assert_allclose(plans.points("two-zone"), [[0.5, 3.15 + 0.045]])
    assert plans.values.loc["own"].mean() == pytest.approx(2.5 + 0.15 + 0.0375)
    assert plans.difference("own", "zones").estimate == pytest.approx(-0.5 * 1.015)
    assert plans.best_difference == plans.difference("own", "zones")
    assert plans.difference("own", None) is None


@pytest.mark.parametrize("gain", [0.5, -0.5])
def test_hypervolumes_of_known_fronts(gain):
    plans = replace(values_of(search_frame(gain=gain)), corner=(1.0, 5.0))
    # A point at (x, y) covers (1 - x)(5 - y) of a rectangle of area 5; what is found holds the
    # two-zone plan too, so that it is never worse.
    assert plans.gain is not None
    assert plans.gain.estimate == pytest.approx(max(gain, 0) * 1.015 * 0.5 / 5.0)
    assert replace(plans, groups={"found": plans.groups["found"]}).gain is None


def test_a_plan_that_lacks_a_set_is_in_no_front():
    frame = search_frame(gain=0.5)
    gone = (frame["cell_digest"] == "own") & (frame["set"] == 2).fillna(False)
    assert values_of(frame[~gone]).groups["found"] == ("zones",)
    plans = values_of(failed(frame, frame["cell_digest"] == "own"))
    assert plans.groups["found"] == ("zones",)


def test_costs_are_measured():
    frame = search_frame(gain=0.5)
    assert set(values_of(frame).kv_share) == {0.5, 1.0}
    frame.loc[(frame["cell_digest"] == "own") & (frame["metric"] == KV), "value"] = FULL_KV / 4
    assert values_of(frame).points("found")[1, 0] == 0.25
