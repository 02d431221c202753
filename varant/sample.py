"""Draw a sheet of images from a network under a depth plan.

    python -m varant.sample --preset small --plan d4@4 --out sheet.png

From a network of the package, or from one that --model, or --vae and --var, name. One column a
class, one row after another of fresh images. Two plans under one seed draw with the same random
numbers, so their sheets can be compared image by image. Takes a second on a laptop for the embedded
data.

    python -m varant.sample --vae ... --var ... --per-class 50 --cfg 1.5 --top-k 900 --top-p 0.96 \\
        --plan d8@6 --out samples.npz

writes images for an evaluator: `arr_0`, (N, H, W, 3) uint8, class by class, the same whatever the
--batch; stopped by anything, the same command goes on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from varant.devices import Precision, check_device, check_precision, element_bytes, require_memory
from varant.errors import UserError, exit_codes, require_writable
from varant.files import replacing
from varant.flags import OutFile, Places, Positive, Seed, flags_of
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan, Selector
from varant.start.config import PackagedConfig, SamplingConfig

if TYPE_CHECKING:
    from varant.model.sampling import Sample
    from varant.store.checkpoint import LoadedModel

MOST_CLASSES = 10  # columns, where --classes does not say which
ROWS, PER_CLASS = 8, 50


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """A sheet of images."""

    start: PackagedConfig = PackagedConfig()
    sampling: SamplingConfig = SamplingConfig()
    plan: str = "full"
    """full, d8@6, one depth a scale as 8,8,8,4,4, or a plan.json."""
    selector: Selector = "equidistant"
    """Which layers a subnet keeps."""
    classes: Places | None = None
    """Classes to draw, such as 207,360; default: the first ten, or all for an NPZ file."""
    rows: Positive | None = None
    """Images of each class on a sheet; default: 8."""
    per_class: Positive | None = None
    """Images of each class in an NPZ file; default: 50."""
    batch: Positive = 64
    """Images drawn at once for an NPZ file."""
    png: Path | None = None
    """Folder that gets the images of an NPZ file as PNG files, too."""
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
    """Where to write: an image file gets a sheet; samples.npz gets the images one by one, as
    evaluators read them."""

    @property
    def is_set(self) -> bool:
        return self.out.suffix == ".npz"

    def check(self) -> None:
        of_a_set = {"--per-class": self.per_class, "--png": self.png}
        for flag, value in ({"--rows": self.rows} if self.is_set else of_a_set).items():
            if value is not None:
                kind = "a sheet" if self.is_set else "an NPZ file"
                raise UserError(f"{flag} {value}: is for {kind}; --out is {self.out}")


def main(config: SampleConfig) -> None:
    from varant.start.given import network_of

    check_device(config.device)
    check_precision(config.precision, config.device)
    network = network_of(config.start)
    loaded = network.load()
    model, _ = loaded.model.to(config.device), loaded.tokenizer.to(config.device)
    plan = _plan(config, model.geometry)
    all_classes = range(model.num_classes)
    classes = config.classes or tuple(all_classes if config.is_set else all_classes[:MOST_CLASSES])
    if classes[-1] >= model.num_classes:
        raise UserError(
            f"--classes {classes[-1]}: the network has classes 0 to {model.num_classes - 1}"
        )
    at_once = config.batch if config.is_set else len(classes) * (config.rows or ROWS)
    _check_memory(config, model.geometry, plan, loaded.tokenizer.image_side, at_once)
    require_writable("--out", config.out.parent)
    if config.is_set:
        print(write_set(config, loaded, plan, classes, network.digests))
    else:
        print(write_sheet(config, loaded, plan, classes))


def write_sheet(
    config: SampleConfig, loaded: LoadedModel, plan: DepthPlan, classes: Sequence[int]
) -> str:
    """One column a class; what was written, in words."""
    import torch
    from PIL import Image

    from varant.model.precision import hold
    from varant.model.sampling import generate

    labels = torch.tensor(list(classes) * (config.rows or ROWS))
    how = vars(config.sampling) | {"plan": plan, "seed": config.seed}
    sample, beside = generate(loaded.model, loaded.tokenizer, labels, **how), ""
    if config.precision != "float32":
        exact = sample
        hold(loaded.model, loaded.tokenizer, config.precision)
        sample = generate(loaded.model, loaded.tokenizer, labels, **how)
        beside = f"; {agreement(sample, exact)}"
    sheet = image_sheet(levels_of(sample), columns=len(classes), zoom=config.zoom)
    with replacing(config.out) as aside:
        Image.fromarray(sheet).save(aside, format="PNG")
    count = len(sample.tokens)
    return (
        f"{config.out}: {count} images under {plan.name}, seed {config.seed}, "
        f"KV cache {sample.kv_bytes_peak / count / 1024:.1f} KiB an image at its peak{beside}"
    )


def write_set(
    config: SampleConfig,
    loaded: LoadedModel,
    plan: DepthPlan,
    classes: Sequence[int],
    digests: dict[str, str],
) -> str:
    """Class by class into an NPZ file, which knows its network by `digests`; what was written, in
    words."""
    import torch

    from varant.model.precision import hold
    from varant.model.sampling import generate
    from varant.progress import progress_bar
    from varant.store.image_set import ImageSet

    per_class = config.per_class or PER_CLASS
    labels = torch.tensor(classes).repeat_interleave(per_class)
    side, how = loaded.tokenizer.image_side, vars(config.sampling)
    images = ImageSet(
        path=config.out,
        shape=(len(labels), side, side, 3),
        facts={
            "network": digests,
            "plan": plan.name,
            "layers": plan.layers,
            "classes": list(classes),
            "per_class": per_class,
            "seed": config.seed,
            "precision": config.precision,
            **how,
        },
    )
    if images.finished():
        _write_pngs(config)
        return f"{config.out}: finished already"
    if config.precision != "float32":
        hold(loaded.model, loaded.tokenizer, config.precision)

    def draw(indices: range) -> np.ndarray:
        part = labels[indices.start : indices.stop]
        sample = generate(
            loaded.model,
            loaded.tokenizer,
            part,
            plan=plan,
            seed=config.seed,
            image_indices=indices,
            **how,
        )
        return levels_of(sample).transpose(0, 2, 3, 1)

    with progress_bar(plan.name, len(labels), "img") as advance:
        images.write(draw, batch=config.batch, advance=advance)
    _write_pngs(config)
    return (
        f"{config.out}: {len(labels):,} images under {plan.name}, seed {config.seed}, "
        f"{per_class} of each of {len(classes)} classes"
    )


def _write_pngs(config: SampleConfig) -> None:
    """Those of the whole file, whichever runs drew its parts."""
    from PIL import Image

    from varant.store.image_set import StoredImages

    if config.png is None:
        return
    parts = StoredImages.of(config.out, "--out").parts()
    for index, level_HW3 in enumerate(itertools.chain.from_iterable(parts)):
        with replacing(config.png / f"{index:06d}.png") as aside:
            Image.fromarray(level_HW3).save(aside, format="PNG")


def levels_of(sample: Sample) -> np.ndarray:
    """(N, 3, H, W) uint8."""
    import torch

    levels: np.ndarray = (sample.images.cpu() * 255).round().to(torch.uint8).numpy()
    return levels


def _plan(config: SampleConfig, geometry: Geometry) -> DepthPlan:
    try:
        sides, depth = geometry.patch_nums, geometry.depth
        return DepthPlan.parse(config.plan, sides, depth, selector=config.selector)
    except UserError as error:
        raise UserError(f"--plan {config.plan}: {error}") from None


def _check_memory(
    config: SampleConfig, geometry: Geometry, plan: DepthPlan, side: int, images: int
) -> None:
    """`UserError` for images that cannot be held at once: their cache, or a sheet's pixels."""
    guidance, size = config.sampling.cfg != 0, element_bytes(config.precision)
    cost = plan_cost(geometry, plan, batch=images, guidance=guidance, kv_bytes=size)
    flag = f"--batch {config.batch}" if config.is_set else f"--rows {config.rows or ROWS}"
    require_memory(cost.kv_bytes_peak, config.device, flag, "give fewer", images=images)
    if not config.is_set:
        pixels = 3 * images * (side * config.zoom) ** 2
        flags = f"{flag} --zoom {config.zoom}"
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
