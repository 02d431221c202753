"""Sandwich with distillation: in every step the full network teaches its subnets.

BigNAS's sandwich rule (arXiv 2003.11142): a step trains the largest, the smallest and one other
depth. In-place distillation as in once-for-all (arXiv 1908.09791) and US-Nets (arXiv 1903.05134):
the full network learns from the tokens, the subnets from its predictions of the same step, through
which no gradient flows. A step takes three passes an image, so the budget buys a third of the
steps.
"""

from collections.abc import Iterator

from studies.grid.point import Point
from studies.rivals.rival import Ground, Rival
from studies.supernets import Arm
from varant.training.schedule import Schedule


def points(ground: Ground) -> Iterator[Point]:
    arm = Arm(label=ground.name, schedule=Schedule.sandwich_rule(), switch=ground.switch)
    yield from ground.supernet(arm, ground.training(arm, distill=True))


DISTIL = Rival(
    name="distil",
    rule="sandwich steps in which the full network teaches its subnets",
    source="BigNAS, arXiv 2003.11142; US-Nets, arXiv 1903.05134",
    points=points,
)
