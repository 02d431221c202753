"""When a run has ended worse than it began."""

import math

import pytest

from varant.training.ending import worse_ending

CODES = 128
GUESS = math.log(CODES)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"full": 3.0}, {"full": 2.9}),
        ({"full": 3.0}, {"full": 3.04}),  # a control, by a hair
        ({"full": 3.0, "d4@3": 6.0}, {"full": 3.5, "d4@3": 3.4}),  # subnets at the full one's cost
        ({"full": GUESS + 0.01}, {"full": GUESS + 0.04}),  # from scratch, hardly trained
        ({}, {}),  # nothing is known
        ({"full": 3.0}, {"full": 2.9, "untrained": 9.0}),
    ],
)
def test_a_run_that_did_no_harm(before, after):
    assert worse_ending(before, after, CODES) is None


@pytest.mark.parametrize(
    ("before", "after", "than"),
    [
        ({"full": 3.0}, {"full": 3.06}, "it began"),
        ({"full": 3.0, "d4@3": 6.0}, {"full": 16.0, "d4@3": 5.0}, "it began"),
        ({"full": 3.0}, {"full": math.nan}, "it began"),
        ({"full": 9.0}, {"full": 5.0}, r"a uniform guess \(4\.852\)"),
    ],
)
def test_a_run_that_ended_worse(before, after, than):
    said = worse_ending(before, after, CODES)
    assert said is not None
    assert said.startswith("ended worse than " + than.replace("\\", ""))
    for plan in before:
        assert f"{plan} {before[plan]:.3f} -> {after[plan]:.3f}" in said
