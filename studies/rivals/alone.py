"""Networks of each depth trained alone: what sharing one network costs its subnets.

Every depth is trained for its plan only, all steps of it, from the base's layers: at the switch
point that the study's own models are trained for, so that inherited and stand-alone qualities of
one plan are held against each other (their rank correlation is what weight-sharing search rests
on: K. Yu et al., ICLR 2020, arXiv 1902.08142), and at switch 0, where it is a small network of its
own. A network's bytes are those of the layers that its plan uses.
"""

from collections.abc import Iterator

from analysis.study_file import STAND_ALONE
from studies.grid.point import Point
from studies.rivals.rival import Ground, Rival
from studies.supernets import Arm
from varant.training.schedule import Schedule


def points(ground: Ground) -> Iterator[Point]:
    for switch in dict.fromkeys((ground.switch, 0)):
        for depth in ground.depths:
            plan = ground.two_zone(depth, switch)
            label = f"{ground.name} {plan.name}"
            arm = Arm(label=label, schedule=Schedule.fixed(1.0), switch=switch)
            training = ground.training(arm, depths=(depth,))
            yield ground.trained(arm, training)
            zones = {"subnet_depth": depth, "switch": switch}
            yield ground.measured(arm, plan, training, weights=ground.weights(plan), **zones)


ALONE = Rival(
    name=STAND_ALONE,
    rule="a network for each depth, trained for its plan only, from the base's layers",
    source="stand-alone training, arXiv 1902.08142",
    points=points,
)
