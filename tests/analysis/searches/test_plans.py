"""Found plans against two zones, on numbers whose truth is known."""

import numpy as np
import pandas as pd
import pytest
from small_studies import FD, FULL_KV, GROUPS, KV, NLL, failed, layers, search_facts, search_frame

from analysis.metrics import parse_metric
from analysis.search_file import SearchFile
from analysis.searches.plans import PlanValues, difference, matched, plan_values
from analysis.statistics.intervals import jackknife_t

STUDY = SearchFile.model_validate(search_facts())


def values_of(frame: pd.DataFrame, metric: str = NLL) -> PlanValues:
    [found] = plan_values(STUDY, frame, [parse_metric(metric)])
    return found


def test_plans_are_told_by_their_cells():
    plans = values_of(search_frame(gain=0.5))
    assert {"zones", "own"} < set(plans.values) and len(plans.points["found"]) == 2
    replicates = [r for one in plans.values.values() for r in one.replicates]
    assert list(map(len, replicates)) == [GROUPS] * 8  # nine plans, two have the same layers
    [[kv, value, low, high]] = plans.points["two-zone"]
    assert (kv, value) == (FULL_KV / 2, 3.0) and low < 3.0 < high
    assert difference(plans.values, "own", "zones").estimate == pytest.approx(-0.5)
    assert difference(plans.values, "own", None) is None


@pytest.mark.parametrize(("gain", "sign"), [(0.5, -1), (-0.5, 1), (0.0, 0)])
def test_a_found_plan_is_held_against_its_match(gain, sign):
    frame = search_frame(gain=gain)
    [match] = values_of(frame).matches
    assert (match.found.plan, match.zones.plan) == ("8,8,2,2,2", "d2@3")
    assert match.sign == sign
    own, zones = (
        frame[(frame["cell_digest"] == d) & (frame["metric"] == NLL)].drop_duplicates("group")
        for d in ("own", "zones")
    )
    replicates = own["value"].to_numpy()[1:] - zones["value"].to_numpy()[1:]
    by_hand = jackknife_t(-gain, replicates)
    assert match.difference.estimate == pytest.approx(-gain)
    assert match.difference.high == pytest.approx(by_hand.high)


def test_select_images_choose_the_match_within_the_memory():
    def scored(plan, depth, kv, nll):
        made = {"plan": plan, "layers": layers(*[depth] * 5), "kv": kv, "select_nll": nll}
        return made | {"flops": 1}

    zones = [scored("a", 2, 100, 3.0), scored("b", 3, 200, 3.5), scored("c", 4, 300, 2.0)]
    found = [scored("x", 5, 90, 3.0), scored("y", 6, 250, 2.5), scored("z", 7, 300, 2.5), zones[0]]
    study = SearchFile.model_validate(search_facts(fronts={"two-zone": zones, "found": found}))
    # x needs less than any; y may have a or b, of which a is better; a is two-zone itself.
    assert [(m.found.plan, m.zones.plan) for m in matched(study)] == [("y", "a"), ("z", "c")]


def test_holm_runs_over_the_pairs_of_a_metric():
    one = SearchFile.model_validate(search_facts()).fronts
    zones, own = one["two-zone"][0], one["found"][1]
    twin = own.model_copy(update={"plan": "twin", "select_nll": 2.6})
    study = STUDY.model_copy(update={"fronts": {"two-zone": (zones,), "found": (own, twin)}})
    frame = search_frame(gain=0.5)
    [found] = plan_values(study, frame, [parse_metric(NLL)])
    both = found.matches
    [alone] = values_of(frame).matches
    assert [match.p_holm for match in both] == pytest.approx([2 * alone.p_holm] * 2)


def test_the_floor_is_what_real_images_score():
    frame = search_frame(gain=0.5)
    real = frame[(frame["family"] == "real") & frame["group"].isna()]["value"]
    assert values_of(frame, FD).floor.estimate == pytest.approx(real.mean())
    assert values_of(frame).floor is None


def test_a_plan_that_lacks_a_replicate_has_no_value():
    frame = search_frame(gain=0.5)
    gone = (frame["cell_digest"] == "own") & (frame["group"] == 2).fillna(False)
    plans = values_of(frame[~gone])
    assert "own" not in plans.values and len(plans.points["found"]) == 1
    assert plans.matches[0].difference is None and np.isnan(plans.matches[0].p_holm)
    plans = values_of(failed(frame, frame["cell_digest"] == "own"))
    assert "own" not in plans.values and len(plans.points["found"]) == 1


def test_costs_are_measured():
    frame = search_frame(gain=0.5)
    assert values_of(frame).points["found"][:, 0].tolist() == [FULL_KV / 2] * 2
    assert values_of(frame).points["full"][0, 0] == FULL_KV
    frame.loc[(frame["cell_digest"] == "own") & (frame["metric"] == KV), "value"] = FULL_KV / 4
    assert values_of(frame).points["found"][0, 0] == FULL_KV / 4
