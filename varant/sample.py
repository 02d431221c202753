"""Draw a sheet of images from a network under a depth plan.

    python -m varant.sample --model runs/models/<digest> --plan d4@3 --out sheet.png

One column a class, one row after another of fresh images. Two plans under one seed draw with the
same random numbers, so their sheets can be compared image by image. Takes a second on a laptop
for the embedded data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from varant.devices import Precision, check_device, check_precision, require_memory
from varant.errors import UserError, exit_codes, require_writable
from varant.files import replacing
from varant.flags import OutFile, Places, Positive, Seed, flags_of
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan, Selector
from varant.start.config import NetworkConfig, SamplingConfig

if TYPE_CHECKING:
    from varant.model.sampling import Sample

MOST_CLASSES = 10  # columns, where --classes does not say which


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """A sheet of images."""

    start: NetworkConfig = NetworkConfig()
    sampling: SamplingConfig = SamplingConfig()
    plan: str = "full"
    """full, d8@6, one depth a scale as 8,8,8,4,4, or a plan.json."""
    selector: Selector = "equidistant"
    """Which layers a subnet keeps."""
    classes: Places | None = None
    """Classes to draw, such as 207,360; default: the first ten."""
    rows: Positive = 8
    """Images of each class."""
    seed: Seed = 0
    """Seed of sampling."""
    zoom: Positive = 1
    """Enlarge every pixel this many times."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    precision: Precision = "float32"
    """Type that weights are held in: float32, bfloat16, or float16 on CUDA; half precision is
    compared with float32, which draws the sheet once more."""
    out: OutFile = Path("samples.png")
    """Where to write the sheet."""


def main(config: SampleConfig) -> None:
    """Load, draw, write the sheet, and say what the cache took."""
    import torch
    from PIL import Image

    from varant.model.precision import hold
    from varant.model.sampling import generate
    from varant.start.sources import load_given

    check_device(config.device)
    check_precision(config.precision, config.device)
    tokenizer, model = load_given(config.start)
    tokenizer, model = tokenizer.to(config.device), model.to(config.device)
    plan = _plan(config, model.geometry)
    classes = config.classes or tuple(range(min(MOST_CLASSES, model.num_classes)))
    if classes[-1] >= model.num_classes:
        raise UserError(
            f"--classes {classes[-1]}: the network has classes 0 to {model.num_classes - 1}"
        )
    _check_memory(config, model.geometry, plan, tokenizer.image_side, len(classes))
    require_writable("--out", config.out.parent)
    labels = torch.tensor(classes * config.rows)
    how = vars(config.sampling) | {"plan": plan, "seed": config.seed}
    sample, beside = generate(model, tokenizer, labels, **how), ""
    if config.precision != "float32":
        exact = sample
        hold(model, tokenizer, config.precision)
        sample = generate(model, tokenizer, labels, **how)
        beside = f"; {agreement(sample, exact)}"
    pixels = (sample.images.cpu() * 255).round().to(torch.uint8).numpy()
    sheet = image_sheet(pixels, columns=len(classes), zoom=config.zoom)
    with replacing(config.out) as aside:
        Image.fromarray(sheet).save(aside, format="PNG")
    count = len(sample.tokens)
    print(
        f"{config.out}: {count} images under {plan.name}, seed {config.seed}, "
        f"KV cache {sample.kv_bytes_peak / count / 1024:.1f} KiB an image at its peak{beside}"
    )


def _plan(config: SampleConfig, geometry: Geometry) -> DepthPlan:
    try:
        sides, depth = geometry.patch_nums, geometry.depth
        return DepthPlan.parse(config.plan, sides, depth, selector=config.selector)
    except UserError as error:
        raise UserError(f"--plan {config.plan}: {error}") from None


def _check_memory(
    config: SampleConfig, geometry: Geometry, plan: DepthPlan, side: int, columns: int
) -> None:
    """`UserError` for a sheet that cannot be held: its cache, or its pixels."""
    images, guidance = config.rows * columns, config.sampling.cfg != 0
    size = 4 if config.precision == "float32" else 2
    cost = plan_cost(geometry, plan, batch=images, guidance=guidance, kv_bytes=size)
    require_memory(cost.kv_bytes_peak, config.device, f"--rows {config.rows}", "give fewer")
    pixels = 3 * images * (side * config.zoom) ** 2
    flags = f"--rows {config.rows} --zoom {config.zoom}"
    require_memory(2 * pixels, "cpu", flags, "give fewer rows, or a smaller zoom")


def agreement(half: Sample, exact: Sample) -> str:
    """How near the same images in half precision are to those in float32, in words."""
    same = (half.tokens == exact.tokens).float()
    error = (half.images - exact.images).square().mean().sqrt().item()
    return (
        f"{same.mean():.1%} of the tokens are float32's ({same[:, 0].mean():.1%} of the first; one "
        f"that differs changes those after it), pixels differ by {255 * error:.1f} of 255 (root "
        "mean square)"
    )


def image_sheet(pixels_N3HW: np.ndarray, *, columns: int, zoom: int) -> np.ndarray:
    """(rows*H, columns*W, 3) uint8 sheet of uint8 images, row by row."""
    N, _, H, W = pixels_N3HW.shape
    grid = pixels_N3HW.reshape(N // columns, columns, 3, H, W).transpose(0, 3, 1, 4, 2)
    sheet = grid.reshape(N // columns * H, columns * W, 3)
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(SampleConfig, __doc__))
