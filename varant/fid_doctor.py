"""Why is this FID not the published one?

    python -m varant.fid_doctor samples.npz --reference VIRTUAL_imagenet256_labeled.npz \
        --expected 1.95

Measures the Frechet distance of the images in `arr_0` (as `python -m varant.sample --out
samples.npz` and ADM's scripts write them) from the reference's statistics or images, and goes
through what is known to change it: range, resolution, class balance, guidance and filters, the
extractor, duplicates, the order of channels, resizing, the number of samples. Each gets a line, and
the distance without it where that can be measured. It is called FID with --inception, else FD.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from varant.devices import check_device
from varant.errors import UserError, exit_codes
from varant.flags import AboveZero, flags_of

if TYPE_CHECKING:
    from varant.evaluation.doctor import Finding
    from varant.evaluation.features import Extractor


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Which distance."""

    samples: Path = Path("samples.npz")
    """NPZ file with the images; may stand first, without the flag's name."""
    reference: Path | None = None
    """NPZ file with mu and sigma of the features of real images, or with images in arr_0."""
    expected: AboveZero | None = None
    """What the distance should be."""
    inception: Path | None = None
    """TorchScript file of Inception, such as inception-2015-12-05.pt; default: the one that
    clean-fid has in its cache, else the packaged features of images of this side."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""


def main(config: DoctorConfig) -> None:
    """Measure, check, and say which checks found a cause."""
    from varant.evaluation.doctor import diagnose, read_case
    from varant.store.image_set import StoredImages

    check_device(config.device)
    if config.reference is None:
        raise UserError("--reference: give an NPZ file with mu and sigma, or images in arr_0")
    side = StoredImages.of(config.samples, "samples").shape[1]
    extractor = extractor_of(config, side)
    case = read_case(config.samples, config.reference, extractor, config.expected)
    kind, found = extractor.kind.upper(), case.distance
    aim = "" if config.expected is None else f"; expected {config.expected:.4g}"
    print(
        f"{kind} {found.value:.4g} (standard error {found.standard_error:.2g}), "
        f"{case.samples.shape[0]:,} samples, {extractor.name}{aim}"
    )
    findings = []
    for finding in diagnose(case):
        findings.append(finding)
        print(f"{finding.status:<8} {finding.check:<11} {finding.said}", flush=True)
    print(verdict(findings, config.expected))


def extractor_of(config: DoctorConfig, side: int) -> Extractor:
    """Inception where there is a file; `UserError` where no features are packaged either."""
    from varant.evaluation.extractors import ExtractorSpec

    path = config.inception or cached_inception()
    spec = (
        ExtractorSpec.packaged(f"shapes-{side}") if path is None else ExtractorSpec.inception(path)
    )
    if spec.notice is not None:
        print(spec.notice, file=sys.stderr)
    return spec.load(config.device)


def cached_inception() -> Path | None:
    """Where clean-fid keeps the file that it downloads; nothing is downloaded here."""
    import tempfile

    path = Path(tempfile.gettempdir()) / "inception-2015-12-05.pt"
    return path if path.is_file() else None


def verdict(findings: list[Finding], expected: float | None) -> str:
    """The causes, the one that explains most first."""
    causes = [finding for finding in findings if finding.status == "cause"]
    if not causes:
        return "no cause found"

    def left(finding: Finding) -> float:
        if finding.distance is None:
            return float("inf")
        return finding.distance if expected is None else abs(finding.distance - expected)

    return "causes: " + ", ".join(finding.check for finding in sorted(causes, key=left))


if __name__ == "__main__":
    with exit_codes():
        argv = sys.argv[1:]
        named = ["--samples"] if argv and not argv[0].startswith("-") else []
        main(flags_of(DoctorConfig, __doc__, [*named, *argv]))
