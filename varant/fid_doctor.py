"""Why is this FID not the published one?

    python -m varant.fid_doctor samples.npz --reference VIRTUAL_imagenet256_labeled.npz \
        --expected 1.95

Measures the Frechet distance of the images in `arr_0` (as `python -m varant.sample --out
samples.npz` and ADM's scripts write them) from the reference's statistics or images, and goes
through what is known to change it: range, resolution, class balance, guidance and filters, the
extractor, duplicates, the order of channels, resizing, the number of samples. Each gets a line, and
the distance without it where that can be measured. It is called FID with --inception, else FD.

    python -m varant.fid_doctor real.npz --statistics reference.npz

writes the statistics of images, as a reference that says what it was made with.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from varant.devices import check_device
from varant.errors import UserError, exit_codes, require_writable
from varant.flags import AboveZero, OutFile, flags_of

if TYPE_CHECKING:
    from varant.evaluation.doctor import Finding
    from varant.evaluation.features import Extractor
    from varant.store.image_set import StoredImages

NAMES = {
    "spatial_frechet": "sFID",
    "class_kid": "KID",
    "inception_score": "Inception score",
    "mind": "MIND",
}


@dataclass(frozen=True, kw_only=True)
class DoctorConfig:
    """Which images are measured, against what and in which features."""

    samples: Path = Path("samples.npz")
    """NPZ file with the images; may stand first, without the flag's name."""
    reference: Path | None = None
    """NPZ file with mu and sigma of the features of real images, or with images in arr_0."""
    expected: AboveZero | None = None
    """What the distance should be."""
    inception: Path | None = None
    """TorchScript file of Inception, such as inception-2015-12-05.pt; default: the one that
    clean-fid has in its cache, else the packaged features of images of this side."""
    resize: Literal["legacy", "clean"] = "legacy"
    """How images get Inception's 299 pixels: legacy, as published figures (ADM's evaluator), or
    clean, with antialiasing (clean-fid)."""
    statistics: OutFile | None = None
    """Write statistics of the images to this NPZ file, for --reference, and end."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""


def main(config: DoctorConfig) -> None:
    """Measure, check, and say which checks found a cause."""
    from varant.evaluation.doctor import diagnose, read_case
    from varant.store.image_set import StoredImages

    check_device(config.device)
    if (config.reference is None) == (config.statistics is None):
        raise UserError(
            "--reference: give an NPZ file with mu and sigma, or images in arr_0; or one to write, "
            "as --statistics"
        )
    images = StoredImages.of(config.samples, "samples")
    extractor = extractor_of(config, images.shape[1])
    if config.statistics is not None:
        print(write(images, extractor, config.statistics))
        return
    assert config.reference is not None
    case = read_case(config.samples, config.reference, extractor, config.expected)
    kind, found = extractor.kind.upper(), case.distance
    aim = "" if config.expected is None else f"; expected {config.expected:.4g}"
    print(
        f"{kind} {found.value:.4g} (standard error {found.standard_error:.2g}), "
        f"{case.samples.shape[0]:,} samples, {extractor.name}{aim}"
    )
    beside = [f"{NAMES.get(k, k)} {one.value:.4g}" for k, one in case.scores.items()]
    if beside[1:]:
        print(f"beside it: {', '.join(beside[1:])}")
    findings = {}
    for check, finding in diagnose(case):
        findings[check] = finding
        print(f"{finding.status:<8} {check:<11} {finding.said}", flush=True)
    print(verdict(findings, config.expected))


def write(images: StoredImages, extractor: Extractor, path: Path) -> str:
    """Statistics of images to a file; what was written, in words."""
    from varant.evaluation.doctor import features_of
    from varant.evaluation.reference import made_with, write_statistics

    require_writable("--statistics", path.parent)
    count, side = images.shape[:2]
    if count < 2 * extractor.features:
        print(
            f"warning: {count:,} images: cannot resolve, a covariance of {extractor.features:,} "
            f"features takes {2 * extractor.features:,}",
            file=sys.stderr,
        )
    features = features_of(images, extractor)
    write_statistics(path, features, made_with(extractor, side) | {"images": count})
    return f"{path}: statistics of {count:,} images of {side} pixels, {extractor.name}"


def extractor_of(config: DoctorConfig, side: int) -> Extractor:
    """Inception where there is a file; `UserError` where no features are packaged either."""
    from varant.evaluation.extractors import ExtractorSpec
    from varant.evaluation.inception import cached_inception

    path = config.inception or cached_inception()
    if path is not None:
        spec = ExtractorSpec.inception(path, config.resize)
    elif config.resize != "legacy":
        raise UserError(f"--resize {config.resize}: is of Inception; give its file by --inception")
    else:
        spec = ExtractorSpec.packaged(f"shapes-{side}")
    if spec.notice is not None:
        print(spec.notice, file=sys.stderr)
    return spec.load(config.device)


def verdict(findings: dict[str, Finding], expected: float | None) -> str:
    """The causes, the one that explains most first."""

    def left(check: str) -> float:
        distance = findings[check].distance
        return math.inf if distance is None else abs(distance - (expected or 0))

    causes = [check for check, finding in findings.items() if finding.status == "cause"]
    return f"causes: {', '.join(sorted(causes, key=left))}" if causes else "no cause found"


if __name__ == "__main__":
    with exit_codes():
        argv = sys.argv[1:]
        named = ["--samples"] if argv and not argv[0].startswith("-") else []
        main(flags_of(DoctorConfig, __doc__, [*named, *argv]))
