"""Features of the Inception network of 2015 that published FIDs are computed on.

The TorchScript file is the user's own, by `--inception PATH`: usually `inception-2015-12-05.pt`,
which StyleGAN's authors translated from the TensorFlow graph that Heusel et al. (2017) and ADM's
evaluator use, and which clean-fid calls. Nothing is downloaded. A TorchScript file is a program
that runs with your rights: load only one that you trust.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.torchscript import (
    check_digest,
    full_float32,
    last_line,
    load_script,
    script_digest,
)

INCEPTION_FEATURES = 2048
SIDE = 299  # pixels that the network takes
_WANTED = "give a TorchScript file like inception-2015-12-05.pt"
_PROBE_SIDE = 32


@dataclass(frozen=True, kw_only=True)
class InceptionExtractor(Extractor):
    """Inception as an `Extractor`; it knows no classes of the data's.

    Attributes:
        network: called with (B, 3, H, W) float32 images of whole numbers in 0..255 and
            `return_features=True`, gives (B, 2048); resizes them itself as TensorFlow 1 did.
        device: where the network is, and where it computes.
        resize: to 299 pixels: `legacy`, the network's own, as ADM's evaluator has it; or `clean`,
            bicubic with antialiasing, unrounded (Parmar, Zhang and Zhu, arXiv 2104.11222).
    """

    kind = "fid"
    batch = 50
    network: torch.jit.ScriptModule
    device: str
    resize: Literal["legacy", "clean"] = "legacy"

    @property
    def features(self) -> int:
        return INCEPTION_FEATURES

    def of(self, images_B3HW: Tensor) -> Features:
        """Features of images in [0, 1], rounded to 8 bits as they are in image files."""
        pixels = images_B3HW.to(self.device).float().clamp(0, 1).mul(255).round()
        if self.resize == "clean":
            pixels = _resized_clean(pixels)
        with full_float32(self.device):
            found = self.network(pixels, return_features=True)
        return Features(features_NF=found.flatten(1).double().cpu().numpy())


def _resized_clean(pixels_B3HW: Tensor) -> Tensor:
    """Each channel by Pillow, whose filter is as wide as the images are larger than the result."""
    resized = [
        np.asarray(Image.fromarray(channel).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for channel in pixels_B3HW.flatten(0, 1).cpu().numpy()
    ]
    found = torch.from_numpy(np.stack(resized)).clamp(0, 255)
    return found.view(*pixels_B3HW.shape[:2], SIDE, SIDE).to(pixels_B3HW.device)


def inception_extractor(
    path: Path, *, device: str = "cpu", digest: str | None = None
) -> InceptionExtractor:
    """The extractor of a TorchScript Inception file; `name` is `inception-1a2b3c`.

    Args:
        digest: what the file's SHA-256 must be; None takes any.

    Raises:
        UserError: no such device or file, another digest, not TorchScript, or a network that is
            not called as Inception is or gives no 2048 features.
    """
    found = inception_digest(path)
    check_digest(f"--inception {path}", found, digest)
    network, _ = load_script(path, f"--inception {path}", device, _WANTED)
    extractor = InceptionExtractor(
        name=f"inception-{found[:6]}", digest=found, network=network, device=device
    )
    _check(extractor, path)
    return extractor


def inception_digest(path: Path) -> str:
    """SHA-256 of the file; `UserError` where there is none."""
    return script_digest(path, "--inception", _WANTED)


def _check(extractor: InceptionExtractor, path: Path) -> None:
    """Call the network once, before hours go into images for it."""
    probe = torch.rand(2, 3, _PROBE_SIDE, _PROBE_SIDE, generator=torch.Generator().manual_seed(0))
    try:
        found = extractor(probe)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, TypeError) as error:  # other arguments, no tensor
        raise UserError(
            f"--inception {path}: cannot be called with (B, 3, H, W) images and "
            f"return_features=True ({last_line(error)}); {_WANTED}"
        ) from None
    if found.features_NF.shape != (len(probe), INCEPTION_FEATURES):
        raise UserError(
            f"--inception {path}: gives features of shape {found.features_NF.shape} for "
            f"{len(probe)} images, not {(len(probe), INCEPTION_FEATURES)}; {_WANTED}"
        )
