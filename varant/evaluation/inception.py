"""Features of the Inception network of 2015 that published FIDs are computed on.

The TorchScript file is the user's own, by `--inception PATH`: usually `inception-2015-12-05.pt`,
which StyleGAN's authors translated from the TensorFlow graph that Heusel et al. (2017) and ADM's
evaluator use, and which clean-fid calls. Nothing is downloaded. A TorchScript file is a program
that runs with your rights: load only one that you trust.

Called as a whole it gives features, or probabilities, and no spatial features. Where its layers can
be called one by one, one pass gives all three: see `InceptionExtractor.stepwise`.
"""

import contextlib
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.evaluation.torchscript import (
    check_digest,
    full_float32,
    load_script,
    probe_images,
    probing,
    script_digest,
)

INCEPTION_FEATURES = 2048
# Spatial features are the first channels of the first convolution of this block, as ADM's evaluator
# takes them from `mixed_6/conv`: 7 maps of 17 x 17.
SPATIAL_LAYER, SPATIAL_CHANNELS, SPATIAL_FEATURES = "mixed_6", 7, 2023
SIDE = 299  # pixels that the network takes
Resize = Literal["legacy", "clean"]
_WANTED = "give a TorchScript file like inception-2015-12-05.pt"
_PROBE_SIDE = 32


def cached_inception() -> Path | None:
    """Where clean-fid keeps the file that it downloads; nothing is downloaded here."""
    path = Path(tempfile.gettempdir()) / "inception-2015-12-05.pt"
    return path if path.is_file() else None


@dataclass(frozen=True, kw_only=True)
class InceptionExtractor(Extractor):
    """Inception as an `Extractor`; it knows no classes of the data's.

    Attributes:
        network: called with (B, 3, H, W) float32 images of whole numbers in 0..255 and
            `return_features=True`, gives (B, 2048); resizes them itself as TensorFlow 1 did.
        device: where the network is, and where it computes.
        resize: to 299 pixels: `legacy`, the network's own, as ADM's evaluator has it; or `clean`,
            bicubic with antialiasing, unrounded (Parmar, Zhang and Zhu, arXiv 2104.11222).
        stepwise: whether the children of `network.layers`, one after the other, are known to give
            what the network gives, and one of them has the spatial features. They are called so,
            and probabilities follow from `network.output` without its bias, as Salimans et al.
            (2016) have them.
    """

    kind = "fid"
    batch = 50
    network: torch.jit.ScriptModule
    device: str
    resize: Resize = "legacy"
    stepwise: bool = False

    @property
    def features(self) -> int:
        return INCEPTION_FEATURES

    @property
    def facts(self) -> dict[str, str]:
        return super().facts | {"resize": self.resize}

    @property
    def spatial_features(self) -> int:
        return SPATIAL_FEATURES if self.stepwise else 0

    def of(self, images_B3HW: Tensor) -> Features:
        """Features of images in [0, 1], rounded to 8 bits as they are in image files."""
        pixels = images_B3HW.to(self.device).float().clamp(0, 1).mul(255).round()
        if self.resize == "clean":
            pixels = _resized_clean(pixels)
        with full_float32(self.device):
            if self.stepwise:
                return self._by_steps(pixels)
            found = self.network(pixels, return_features=True)
        return Features(features_NF=found.flatten(1).double().cpu().numpy())

    def _by_steps(self, pixels_B3HW: Tensor) -> Features:
        x = pixels_B3HW if self.resize == "clean" else _resized_legacy(pixels_B3HW)
        x = (x - 128) / 128
        spatial_BS = x.new_empty(len(x), 0)
        for name, layer in self.network.layers.named_children():
            if name == SPATIAL_LAYER:
                spatial_BS = layer.conv(x)[:, :SPATIAL_CHANNELS].flatten(1)
            x = layer(x)
        features_BF = x.flatten(1)
        probabilities_BC = F.linear(features_BF, self.network.output.weight).softmax(1)
        return Features(
            features_NF=features_BF.double().cpu().numpy(),
            spatial_NS=spatial_BS.cpu().numpy(),
            probabilities_NC=probabilities_BC.cpu().numpy(),
        )


def _resized_legacy(pixels_B3HW: Tensor) -> Tensor:
    """As TensorFlow 1 did: row i of the result is row i H / 299, between two rows linearly."""
    B, _, H, W = pixels_B3HW.shape
    shift = torch.tensor([[1, 0, 1 / W - 1 / SIDE], [0, 1, 1 / H - 1 / SIDE]])
    grid = F.affine_grid(shift.to(pixels_B3HW).expand(B, 2, 3), [B, 3, SIDE, SIDE], False)
    return F.grid_sample(pixels_B3HW, grid, padding_mode="border", align_corners=False)


def _resized_clean(pixels_B3HW: Tensor) -> Tensor:
    """Each channel by Pillow, whose filter is as wide as the images are larger than the result."""
    resized = [
        np.asarray(Image.fromarray(channel).resize((SIDE, SIDE), Image.Resampling.BICUBIC))
        for channel in pixels_B3HW.flatten(0, 1).cpu().numpy()
    ]
    found = torch.from_numpy(np.stack(resized)).clamp(0, 255)
    return found.view(*pixels_B3HW.shape[:2], SIDE, SIDE).to(pixels_B3HW.device)


def inception_extractor(
    path: Path, *, device: str = "cpu", digest: str | None = None, resize: Resize = "legacy"
) -> InceptionExtractor:
    """The extractor of a TorchScript Inception file.

    Its `name` is `inception-1a2b3c`, or `inception-clean-1a2b3c` with that resizing.

    Args:
        digest: what the file's SHA-256 must be; None takes any.

    Raises:
        UserError: no such device or file, another digest, not TorchScript, or a network that is
            not called as Inception is or gives no 2048 features.
    """
    found = inception_digest(path)
    check_digest(f"--inception {path}", found, digest)
    network, _ = load_script(path, f"--inception {path}", device, _WANTED)
    kind = "inception" if resize == "legacy" else f"inception-{resize}"
    extractor = InceptionExtractor(
        name=f"{kind}-{found[:6]}", digest=found, network=network, device=device, resize=resize
    )
    return replace(extractor, stepwise=_check(extractor, path))


def inception_digest(path: Path) -> str:
    """SHA-256 of the file; `UserError` where there is none."""
    return script_digest(path, "--inception", _WANTED)


def _check(extractor: InceptionExtractor, path: Path) -> bool:
    """Call the network once; whether it is `stepwise`."""
    probe, how = probe_images(_PROBE_SIDE), "(B, 3, H, W) images and return_features=True"
    with probing(f"--inception {path}", how, f"; {_WANTED}"):
        found = extractor(probe)
    if found.features_NF.shape != (len(probe), INCEPTION_FEATURES):
        raise UserError(
            f"--inception {path}: gives features of shape {found.features_NF.shape} for "
            f"{len(probe)} images, not {(len(probe), INCEPTION_FEATURES)}; {_WANTED}"
        )
    by_steps = replace(extractor, stepwise=True)
    with contextlib.suppress(RuntimeError, AttributeError, TypeError):  # of other layers
        again = by_steps(probe)
        assert again.spatial_NS is not None, "of a stepwise extractor"
        same = np.allclose(again.features_NF, found.features_NF, rtol=1e-3, atol=1e-3)
        return same and again.spatial_NS.shape[1] == SPATIAL_FEATURES
    return False
