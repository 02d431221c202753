"""Which features a study measures with, as a cell carries it to a worker process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from varant.errors import UserError
from varant.evaluation.features import Extractor, packaged_extractor
from varant.evaluation.inception import Resize, inception_digest, inception_extractor
from varant.evaluation.patches import PatchExtractor
from varant.evaluation.torchscript import script_digest, script_extractor


@dataclass(frozen=True, kw_only=True)
class ExtractorSpec:
    """An extractor by the digest of its weights: small, hashable and picklable.

    The digest is the identity; two specs of one file in two places are equal.

    Attributes:
        network: name of a packaged network, such as `shapes-24`.
        path: of a file of the user's, absolute.
        resize: of Inception.
    """

    kind: Literal["packaged", "patches", "torchscript", "inception"]
    digest: str
    network: str | None = None
    path: Path | None = field(default=None, compare=False)
    resize: Resize = "legacy"

    @classmethod
    def packaged(cls, network: str) -> ExtractorSpec:
        """Of a packaged network; `UserError` where there is none."""
        digest = packaged_extractor(network).digest
        return cls(kind="packaged", digest=digest, network=network)

    @classmethod
    def patches(cls) -> ExtractorSpec:
        """Of the statistics that know no classes, for images of any data set."""
        return cls(kind="patches", digest=PatchExtractor().digest)

    @classmethod
    def torchscript(cls, path: Path) -> ExtractorSpec:
        """Of a TorchScript file, hashed and not yet loaded; `UserError` where there is none."""
        return cls(kind="torchscript", digest=script_digest(path), path=path.absolute())

    @classmethod
    def inception(cls, path: Path, resize: Resize = "legacy") -> ExtractorSpec:
        """Of a TorchScript Inception file, hashed and not yet loaded; `UserError` if it is none."""
        digest = inception_digest(path)
        return cls(kind="inception", digest=digest, path=path.absolute(), resize=resize)

    @property
    def identity(self) -> str:
        """All that features depend on beside the images."""
        return self.digest if self.resize == "legacy" else f"{self.digest} {self.resize}"

    @property
    def notice(self) -> str | None:
        """What a study says before it first loads a file that is a program; None for our own."""
        if self.path is None:
            return None
        return f"{self.path}: TorchScript, a program that runs with your rights ({self.digest[:6]})"

    def load(self, device: str = "cpu") -> Extractor:
        """The extractor; a file's on `device`, our own on the CPU.

        `UserError` for weights that are not those of the digest, and as `script_extractor` and
        `inception_extractor`.
        """
        if self.path is not None:
            how = {"device": device, "digest": self.digest}
            if self.kind == "inception":
                return inception_extractor(self.path, **how, resize=self.resize)
            return script_extractor(self.path, **how)
        own: Extractor = packaged_extractor(self.network) if self.network else PatchExtractor()
        if own.digest != self.digest:
            raise UserError(
                f"--dataset: the packaged features are {own.name}, not {self.digest[:6]} as where "
                "the study began; use one version of varant"
            )
        return own


def extractor_specs(
    key: str,
    *,
    torchscript: Path | None = None,
    inception: Path | None = None,
    resize: Resize = "legacy",
) -> tuple[ExtractorSpec, ExtractorSpec]:
    """The two spaces of a study: the first decides, the second knows nothing of the classes.

    Args:
        key: data set and image side, such as `shapes-24`, whose packaged classifier is the first
            unless a file is given.
        torchscript, inception: the first instead, from a file of the user's; one at most.
        resize: of Inception.

    Raises:
        UserError: no network is packaged for the key, or no such file.
    """
    assert torchscript is None or inception is None, "one at most"
    if torchscript is not None:
        first = ExtractorSpec.torchscript(torchscript)
    elif inception is not None:
        first = ExtractorSpec.inception(inception, resize)
    else:
        first = ExtractorSpec.packaged(key)
    return first, ExtractorSpec.patches()
