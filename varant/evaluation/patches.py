"""The feature space that knows nothing of classes: colour and edges of an image's four quarters.

No weights and no data: what it measures is written here. For each quarter of the image, the means
of each channel, of its absolute differences to the right and downwards, and of its absolute
difference from the 3 x 3 mean. It passes the ladder for every scale (docs/features.md).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varant.evaluation.features import Extractor, Features
from varant.files import digest_of

VERSION = 1  # raise it when a feature changes
CELLS = 2  # an image's side is divided into
# Of colour, differences and detail, so that on `shapes` no kind outweighs the others.
COLOUR, DIFFERENCE, DETAIL = 10.0, 50.0, 100.0
DIGEST = digest_of({"patches": VERSION})


@dataclass(frozen=True, kw_only=True)
class PatchExtractor(Extractor):
    """The statistics as an `Extractor`; on the CPU, where 10,000 images of 24 x 24 take half a
    second."""

    kind = "fd"
    batch = 500
    name: str = f"patches-{DIGEST[:6]}"
    digest: str = DIGEST

    @property
    def features(self) -> int:
        return 12 * CELLS**2

    def of(self, images_B3HW: Tensor) -> Features:
        images = images_B3HW.cpu().float()
        smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        maps = (
            COLOUR * images,
            DIFFERENCE * (images[..., 1:] - images[..., :-1]).abs(),
            DIFFERENCE * (images[..., 1:, :] - images[..., :-1, :]).abs(),
            DETAIL * (images - smooth).abs(),
        )
        found = [F.adaptive_avg_pool2d(part, CELLS).flatten(1) for part in maps]
        return Features(features_NF=torch.cat(found, dim=1).double().numpy())
