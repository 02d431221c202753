"""Draw a sheet of images from a network under a depth plan.

    python -m varant.sample --model runs/models/<digest> --plan d4@3 --out sheet.png

One column a class, one row after another of fresh images. Two plans under one seed draw with the
same random numbers, so their sheets can be compared image by image. Takes a second on a laptop
for the embedded data.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from PIL import Image

from varant.devices import check_device
from varant.errors import UserError, exit_codes, require_count
from varant.files import replacing
from varant.model.plan import DepthPlan
from varant.model.sampling import generate
from varant.store.checkpoint import load
from varant.store.official import load_official

MOST_CLASSES = 10  # columns, where --classes does not say which


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """Flags."""

    model: Path | None = None
    """A checkpoint folder of ours."""
    vae: Path | None = None
    """The tokenizer of an official checkpoint, with --var."""
    var: Path | None = None
    """The transformer of an official checkpoint, with --vae."""
    plan: str = "full"
    """full, d8@6, one depth a scale as 8,8,8,4,4, or a plan.json."""
    selector: str = "equidistant"
    """Which layers a subnet keeps: equidistant, nested, first, last."""
    classes: str | None = None
    """Classes to draw, such as 207,360; default: the first ten."""
    rows: int = 8
    """Images of each class."""
    cfg: float = 0.0
    """Classifier-free guidance; 0 is off."""
    top_k: int = 0
    """Sample among the k likeliest codes; 0 is off."""
    top_p: float = 0.0
    """Sample among the likeliest codes of this probability; 0 is off."""
    seed: int = 0
    """Seed of sampling."""
    zoom: int = 1
    """Enlarge every pixel this many times."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    out: Path = Path("samples.png")
    """Where to write the sheet."""


def main(config: SampleConfig) -> None:
    """Load, draw, write the sheet, and say what the cache took."""
    require_count("--rows", config.rows)
    require_count("--zoom", config.zoom)
    check_device(config.device)
    if (config.model is None) == (config.vae is None or config.var is None):
        raise UserError("--model: give a checkpoint folder, or --vae and --var, and not both")
    if config.model is not None:
        tokenizer, model = load(config.model)
    else:
        tokenizer, model = load_official(vae=config.vae, var=config.var)
    tokenizer, model = tokenizer.to(config.device), model.to(config.device)
    plan = DepthPlan.parse(config.plan, model.patch_nums, model.depth, selector=config.selector)
    classes = _classes(config.classes, model.num_classes)
    sample = generate(
        model,
        tokenizer,
        torch.tensor(classes * config.rows),
        plan=plan,
        cfg=config.cfg,
        top_k=config.top_k,
        top_p=config.top_p,
        seed=config.seed,
    )
    sheet = image_sheet(sample.images.cpu(), columns=len(classes), zoom=config.zoom)
    with replacing(config.out) as aside:
        Image.fromarray(sheet).save(aside, format="PNG")
    count = len(sample.tokens)
    print(
        f"{config.out}: {count} images under {plan.name}, seed {config.seed}, "
        f"KV cache {sample.kv_bytes_peak / count / 1024:.1f} KiB an image at its peak"
    )


def _classes(text: str | None, num_classes: int) -> list[int]:
    if text is None:
        return list(range(min(MOST_CLASSES, num_classes)))
    try:
        classes = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"--classes {text}: give class numbers such as 207,360") from None
    for label in classes:
        if not 0 <= label < num_classes:
            raise UserError(f"--classes {label}: the network has classes 0 to {num_classes - 1}")
    return classes


def image_sheet(images_N3HW: torch.Tensor, *, columns: int, zoom: int) -> np.ndarray:
    """(rows*H, columns*W, 3) uint8 sheet of images in [0, 1], row by row."""
    pixels = (images_N3HW * 255).round().to(torch.uint8).numpy()
    N, _, H, W = pixels.shape
    grid = pixels.reshape(N // columns, columns, 3, H, W).transpose(0, 3, 1, 4, 2)
    sheet = grid.reshape(N // columns * H, columns * W, 3)
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


if __name__ == "__main__":
    with exit_codes():
        main(tyro.cli(SampleConfig, description=__doc__))
