"""What cells are bound to: networks, data and the place where they run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from varant.store.workspace import Workspace

if TYPE_CHECKING:
    from varant.evaluation.extractors import ExtractorSpec


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and the data it is measured on, by files and by what identifies their content.

    Attributes:
        model: SHA-256 of the weights, or `cell DIGEST` of the training cell that makes them.
        trained_by: that cell's digest.
        reference_path, reference_digest: what samples are compared with; without a digest it
            follows from tokens, tokenizer and extractor.
    """

    model_folder: Path
    model: str
    tokenizer_sha256: str
    base_seed: int
    tokens_folder: Path
    tokens_digest: str
    extractor: ExtractorSpec
    reference_path: Path
    reference_digest: str | None = None
    trained_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a study's cells are.

    Attributes:
        networks: that were there before the study trained any, by base seed.
        sample_batch: images generated at once.
    """

    networks: dict[int, Network]
    workspace: Workspace
    device: str
    sample_batch: int

    def network(self, base_seed: int, trained: str | None) -> Network:
        """A base network, or the one that the training cell of digest `trained` makes of it."""
        base = self.networks[base_seed]
        if trained is None:
            return base
        folder = self.workspace.cell(trained)
        return replace(base, model_folder=folder, model=f"cell {trained}", trained_by=trained)
