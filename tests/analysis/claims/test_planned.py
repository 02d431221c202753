"""Power before cost, against closed forms."""

import math

import pytest
from instrument_frames import noise_table

from analysis.claims.planned import (
    ASYMMETRY,
    LATER,
    LOSSES,
    TRADE,
    Size,
    common_of,
    fewest_lines,
    outlooks,
    planned_power,
    planned_spreads,
    power_at,
    samples_wanted,
    schedules_lines,
)
from analysis.instrument_file import Component
from analysis.metrics import parse_metric
from analysis.statistics.power import detectable, power_of, units_needed
from analysis.study_file import SpreadFacts

SIZE = Size(units=6, seeds=2, samples=2000, images=500)
HALF = "C4 half the layers"
FD = parse_metric("fd/shapes-1a2b3c/n2000")
KID, SCALE = parse_metric("kid/shapes-1a2b3c/n2000"), parse_metric("nll/scale_01")


def test_a_line_s_outlook_follows_from_the_components() -> None:
    (found,) = outlooks(noise_table(), LOSSES, SIZE)
    deviation = math.sqrt(0.01 + 0.02 / 2 + 30 / 2000)
    assert found.key == HALF and found.margin == pytest.approx(0.05 * 4)
    assert found.power == pytest.approx(power_of(0.2, deviation, 6))
    assert found.least == pytest.approx(detectable(deviation, 6))
    assert found.units == units_needed(0.2, deviation)
    assert found.units_at_most == units_needed(0.2, 2 * deviation)
    spreads = planned_spreads([found], [FD, KID, SCALE])
    assert planned_power(spreads, 6) == {HALF: {FD.name: found.power}}
    assert planned_power(spreads, 20)[HALF][FD.name] == pytest.approx(power_of(0.2, deviation, 20))


@pytest.mark.parametrize(
    ("lines", "quantity", "key"),
    [(fewest_lines(1), "loss d1", "C4 the fewest layers"), (LATER, "loss later", "C8")],
)
def test_what_another_plan_moves_by_stands_in_for_none(lines, quantity, key) -> None:
    (found,) = outlooks(noise_table(quantity=quantity, margin=0.1), lines, SIZE)
    assert found.key == key and found.margin == pytest.approx(0.1 * 4) and found.power
    for other in ("loss half", "loss quarter", "loss d2"):
        assert not outlooks(noise_table(quantity=other), lines, SIZE)


def test_of_several_tests_the_weakest_counts() -> None:
    strong, weak = (SpreadFacts(margin=0.2, deviation=spread) for spread in (0.1, 0.3))
    nothing = SpreadFacts(margin=-0.1, deviation=0.1)
    assert power_at([strong, weak], 6) == power_of(0.2, 0.3, 6) < power_of(0.2, 0.1, 6)
    assert power_at([strong, nothing], 6) == 0.0


def test_a_claim_that_asks_for_a_gain_says_which_would_show() -> None:
    tables = [noise_table(quantity=f"retrained {plan}") for plan in ("full", "half")]
    both = tuple(q for table in tables for q in table.quantities)
    table = tables[0].model_copy(update={"quantities": both})
    (found,) = outlooks(table, schedules_lines("cosine"), SIZE)
    assert found.key == "C3 cosine rate" and found.power is not None
    deviation = math.sqrt(0.01 + 0.02 / 2 + 30 / 2000)
    holm = detectable(deviation, 6, level=0.05 / 2 / 2)
    assert found.gain == pytest.approx(holm) and holm > detectable(deviation, 6, level=0.025)
    (without,) = outlooks(noise_table(), LOSSES, SIZE)
    assert without.gain is None


def test_a_direction_has_no_margin_and_no_power() -> None:
    table = noise_table(margin=None, quantity="asymmetry")
    (found,) = outlooks(table, ASYMMETRY, SIZE)
    assert (found.key, found.margin, found.power, found.units) == ("C1", None, None, None)
    deviation = math.sqrt(0.01 + 0.02 / 2 + 30 / 2000)
    assert found.least == pytest.approx(detectable(deviation, 6, level=0.025)), "two-sided"
    assert found.least > detectable(deviation, 6)
    assert planned_spreads([found], [FD]) is None and planned_power(None, 6) is None


def test_a_direction_asks_no_margin_of_what_has_one() -> None:
    """C2 compares trainings, whose spread the table has for tests of no loss."""
    tables = [noise_table(quantity=f"retrained {plan}") for plan in ("full", "half")]
    both = tuple(quantity for table in tables for quantity in table.quantities)
    (found,) = outlooks(tables[0].model_copy(update={"quantities": both}), TRADE, SIZE)
    assert (found.key, found.margin, found.power, found.spreads) == ("C2", None, None, ())
    deviation = math.sqrt(0.01 + 0.02 / 2 + 30 / 2000)
    assert found.least == pytest.approx(detectable(deviation, 6, level=0.025))


def test_what_units_share_no_number_of_them_lessens() -> None:
    (quantity,) = noise_table().quantities
    common = Component(estimate=0.5, low=0.3, high=1.0, degrees_of_freedom=19)
    shared = quantity.model_copy(update={"common": common})
    for kind, variance in (("fd", 0.5), ("nll", 0.5 / SIZE.images)):
        of_kind = shared.model_copy(update={"kind": kind})
        assert common_of(of_kind, SIZE).variance == variance
        assert common_of(of_kind, SIZE, upper=True).variance == 2 * variance
    table = noise_table().model_copy(update={"quantities": (shared,)})
    (found,) = outlooks(table, LOSSES, SIZE)
    (alone,) = outlooks(noise_table(), LOSSES, SIZE)
    assert found.power < alone.power and found.least > alone.least
    assert found.units is None, "its error alone is above the margin"


def test_samples_leave_measuring_a_quarter_of_the_rest() -> None:
    wanted = samples_wanted(noise_table(), "loss half", "shapes-1a2b3c", seeds=1)
    assert wanted == 4000  # 30 / 4000 = (0.01 + 0.02) / 4
    assert samples_wanted(noise_table(), "loss half", "another", seeds=1) is None
