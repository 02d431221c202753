"""Early exit: at late scales tokens leave after layer d, in a network trained to let them.

FreqExit (NeurIPS 2025) trains a VAR with layer dropout and leaves early at late scales; the rules
are LayerSkip's (M. Elhoushi et al., ACL 2024, arXiv 2404.16710), since that paper states them:
layer l of L drops with probability p (exp(l ln 2 / (L - 1)) - 1), from none of the first to p of
the last, with p = 0.1 where a trained network is trained on; and exits learn by turns, one a step,
through the one head (its rotational curriculum). Here, in a share of the steps that is the
progressive schedule's mean, late tokens leave after a drawn depth; late tokens of any step meet the
dropout, tokens of the bridge zone none. Which layers drop is drawn once a step, not once an image:
a pass has one plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies.cells.cell import Network
from studies.cells.training import Training
from studies.grid.point import Point
from studies.rivals.rival import Ground, Rival
from studies.supernets import Arm
from varant.training.schedule import REFERENCE_SHARE, Schedule

if TYPE_CHECKING:
    from varant.data.batches import Batches
    from varant.model.tokenizer import Tokenizer
    from varant.model.transformer import VAR
    from varant.training.trainer import Trainer

RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class DroppingTraining(Training):
    """A training with layer dropout at late scales.

    Attributes:
        rate: of the last layer.
    """

    rate: float

    def identity(self, network: Network) -> dict[str, object]:
        return super().identity(network) | {"layer_dropout": self.rate}

    def trainer(self, model: VAR, tokenizer: Tokenizer, batches: Batches) -> Trainer:
        from studies.rivals.layer_dropout import DroppingTrainer

        return DroppingTrainer(model, tokenizer, batches, self.config, rate=self.rate)


def points(ground: Ground) -> Iterator[Point]:
    schedule = Schedule.fixed(REFERENCE_SHARE)
    arm = Arm(label=ground.name, schedule=schedule, switch=ground.switch, selector="first")
    yield from ground.supernet(arm, DroppingTraining(**vars(ground.training(arm)), rate=RATE))


EARLY_EXIT = Rival(
    name="early-exit",
    rule="tokens of late scales leave after layer d; trained with layer dropout, exits by turns",
    source="LayerSkip, arXiv 2404.16710; FreqExit, NeurIPS 2025",
    points=points,
)
