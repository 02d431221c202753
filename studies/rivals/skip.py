"""The training-free subnet: the base's own layers, skipped at late scales without any training.

What SkipVAR and FastVAR need no training for (blocks or tokens that late scales go without), by
the study's plans of the base network, whose cells they are.
"""

from collections.abc import Iterator
from dataclasses import replace

from analysis.study_file import BASE, EQUIDISTANT
from studies.grid.point import Point
from studies.rivals.rival import Ground, Rival
from studies.supernets import control


def points(ground: Ground) -> Iterator[Point]:
    arm = replace(control(ground.switch), selector=EQUIDISTANT)
    weights = ground.weights(ground.full())
    for switch in ground.study.switches(ground.geometry):
        for depth in ground.depths:
            zones = {"subnet_depth": depth, "switch": switch, "kind": BASE, "share": None}
            plan = ground.two_zone(depth, switch)
            yield ground.measured(arm, plan, None, weights=weights, **zones)


SKIP = Rival(
    name="skip",
    rule="the base's layers skipped at late scales, no training",
    source="as SkipVAR and FastVAR, training-free",
    points=points,
)
