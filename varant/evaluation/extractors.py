"""Which features a study measures with, as a cell carries it to a worker process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from varant.errors import UserError
from varant.evaluation.features import Extractor, packaged_extractor
from varant.evaluation.inception import inception_digest, inception_extractor


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """An extractor by the digest of its weights: small, hashable and picklable.

    The digest is the identity; two specs of one file in two places are equal.

    Attributes:
        dataset: embedded data set of a packaged network; None for Inception.
        path: file of an Inception network, absolute; None for a packaged one.
    """

    digest: str
    dataset: str | None = None
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        assert (self.dataset is None) != (self.path is None), "packaged, or a file"

    @classmethod
    def packaged(cls, dataset: str) -> ExtractorSpec:
        """Of the packaged network of a data set; `UserError` where there is none."""
        return cls(digest=packaged_extractor(dataset).digest, dataset=dataset)

    @classmethod
    def inception(cls, path: Path) -> ExtractorSpec:
        """Of a TorchScript Inception file, hashed and not yet loaded; `UserError` if it is none."""
        return cls(digest=inception_digest(path), path=path.absolute())

    def load(self, device: str = "cpu") -> Extractor:
        """The extractor; Inception on `device`, a packaged network on the CPU.

        `UserError` for weights that are not those of the digest, and as `inception_extractor`.
        """
        if self.path is not None:
            return inception_extractor(self.path, device=device, digest=self.digest)
        extractor = packaged_extractor(self.dataset)
        if extractor.digest != self.digest:
            raise UserError(
                f"--dataset {self.dataset}: the packaged feature network is {extractor.name}, not "
                f"{self.digest[:6]} as where the study began; use one version of varant"
            )
        return extractor
