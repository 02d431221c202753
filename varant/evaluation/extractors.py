"""Which features a study measures with, as a cell carries it to a worker process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from varant.errors import UserError
from varant.evaluation.features import Extractor, packaged_extractor
from varant.evaluation.inception import inception_digest, inception_extractor

BLIND = "blind"  # the packaged network that knows no classes


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """An extractor by the digest of its weights: small, hashable and picklable.

    The digest is the identity; two specs of one file in two places are equal.

    Attributes:
        network: name of a packaged network, such as `shapes-24`; None for Inception.
        path: file of an Inception network, absolute; None for a packaged one.
    """

    digest: str
    network: str | None = None
    path: Path | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        assert (self.network is None) != (self.path is None), "packaged, or a file"

    @classmethod
    def packaged(cls, network: str) -> ExtractorSpec:
        """Of a packaged network; `UserError` where there is none."""
        return cls(digest=packaged_extractor(network).digest, network=network)

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
        extractor = packaged_extractor(self.network)
        if extractor.digest != self.digest:
            raise UserError(
                f"--dataset: the packaged feature network is {extractor.name}, not "
                f"{self.digest[:6]} as where the study began; use one version of varant"
            )
        return extractor


def extractor_specs(key: str) -> tuple[ExtractorSpec, ExtractorSpec]:
    """The packaged spaces of a data set and image side, such as `shapes-24`.

    The first decides: a classifier's. The second knows nothing of the classes. `UserError` where
    no network is packaged for the key.
    """
    return ExtractorSpec.packaged(key), ExtractorSpec.packaged(BLIND)
