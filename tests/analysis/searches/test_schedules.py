"""Winners and retrained models of a schedule search, on numbers whose truth is known."""

import pytest
from small_studies import FD, NLL, REFERENCE, WINNER, failed, schedule_frame, trial

from analysis.metrics import parse_metric
from analysis.search_file import TrialFacts
from analysis.searches.schedules import (
    COMPROMISE,
    PARAMETERS,
    SUBNETS,
    retrained,
    trial_table,
    winners,
)
from analysis.statistics.levels import Levels, PlanKey

DEPTHS = [PlanKey(subnet_depth=4, switch=3), PlanKey(subnet_depth=2, switch=3)]


def trials(*found: tuple[float | None, float | None]) -> list[TrialFacts]:
    """Trials by their objectives, the first of them the reference."""
    facts = [trial(number, *objectives) for number, objectives in enumerate(found)]
    return [
        TrialFacts.model_validate(f | {"label": None if i else "first"})
        for i, f in enumerate(facts)
    ]


def won(*found: tuple[float | None, float | None]) -> dict[str, int]:
    return winners(trial_table(trials(*found), reference="first"))


def test_winners_of_known_trials():
    known = trials(
        (2.0, 3.0),
        (1.0, 3.5),  # the least mean, with that of 2
        (3.0, 1.5),
        (1.9, 2.9),  # the best subnets at a full network no worse than the first's
        (None, None),
    )
    table = trial_table(known, reference="first")
    assert list(table["number"]) == [1, 2, 3, 0]  # of equal means the earlier first
    assert list(table["rank"]) == [1, 2, 3, 4]
    assert set(table.loc[table["front"], "number"]) == {1, 2, 3}
    assert set(PARAMETERS) <= set(table)
    assert winners(table) == {COMPROMISE: 1, SUBNETS: 3}


def test_the_reference_is_no_winner_and_one_trial_wins_once():
    assert won((1.0, 1.0), (2.0, 2.0)) == {}
    assert won((2.0, 2.0), (1.0, 1.0)) == {COMPROMISE: 1}
    assert won((None, None), (1.0, 3.5), (3.0, 1.0)) == {COMPROMISE: 2}
    assert won() == {}


def compared(frame, *metrics):
    levels = Levels(frame)
    return retrained(
        levels, [parse_metric(name) for name in metrics], reference=REFERENCE, subnets=DEPTHS
    )


def test_retrained_differences_of_known_models():
    found = compared(schedule_frame(full=0.0, subnets=-0.3), NLL, FD)
    by_place = {(parse_metric(r.metric).kind, r.zone): r for r in found.itertuples()}
    assert set(by_place) == {("nll", "full"), ("nll", "subnets"), ("fd", "full"), ("fd", "subnets")}
    assert by_place["nll", "subnets"].damage == pytest.approx(-0.3, abs=0.01)
    assert by_place["nll", "subnets"].sign == -1
    assert by_place["nll", "full"].sign == 0
    assert set(zip(found["schedule"], found["units"], strict=True)) == {(WINNER, 3)}


def test_a_lost_model_leaves_no_number_that_is_half_a_mean():
    frame = schedule_frame(full=0.0, subnets=-0.3)
    winner = frame["schedule"] == WINNER
    lost = winner & (frame["subnet_depth"] == 2).fillna(False) & (frame["seed"] == 2)
    assert set(compared(failed(frame, lost), NLL)["zone"]) == {"full"}
    assert compared(failed(frame, winner), NLL).empty
