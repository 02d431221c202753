"""Training a base network as a cell, for studies of how bases are made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Network
from studies.cells.training import Training
from varant.model.geometry import Geometry

if TYPE_CHECKING:
    from varant.store.checkpoint import LoadedModel


@dataclass(frozen=True, kw_only=True)
class BaseTraining(Training):
    """A base network: trained from random weights.

    Initialisation and order of the data follow from the seed, so that bases of one seed and
    different budgets begin alike.
    """

    geometry: Geometry

    def identity(self, network: Network) -> dict[str, object]:
        made = {"start": "random weights", "geometry": asdict(self.geometry)}
        return super().identity(network) | made

    def start(self, cell: Cell) -> LoadedModel:
        from varant.model.transformer import VAR
        from varant.randomness import torch_seed
        from varant.store.checkpoint import LoadedModel, load_tokenizer

        tokenizer = load_tokenizer(cell.network.held_out.tokenizer_folder)
        with torch_seed(self.config.seed):
            return LoadedModel(tokenizer=tokenizer, model=VAR(self.geometry))
