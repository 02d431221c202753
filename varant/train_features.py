"""Remake the packaged feature network of an embedded data set at one side of image.

    python -m varant.train_features --dataset shapes --preset tiny

Trains a light tokenizer as studies do, then a classifier on reconstructions with noise, and
writes `varant/evaluation/weights/<dataset>-<side>.safetensors`: about three minutes on one core for
`tiny`, ten for `ten`, and at least 0.99 accuracy on reconstructed test images of `shapes`. The
digests in `varant/evaluation/features.py` are of what it writes.
"""

import json
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from varant.data.datasets import Split, load_dataset
from varant.errors import exit_codes
from varant.evaluation.features import WEIGHTS, FeatureNetwork, load_extractor
from varant.flags import OutFile, Positive, flags_of
from varant.model.tokenizer import Tokenizer
from varant.presets import DEFAULT, PresetName, presets
from varant.randomness import batch_indices, stream, torch_seed
from varant.start.presets import light_tokenizer
from varant.store.checkpoint import write_tensors
from varant.training.tokenizer import TokenizerTraining, reconstructions, train_tokenizer

LEAST_VARIANCE = 1e-6  # of a direction: what is below counts as rounding
MOST_IMAGES = 25_000  # that the network learns from: half a gigabyte at 40 pixels


@dataclass(frozen=True, kw_only=True)
class FeatureTraining:
    """How the feature network is trained.

    Attributes:
        noise: largest standard deviation of the noise on images in [0, 1]; each image draws its
            own, evenly from 0.
        tokenizer_seed: of the tokenizer whose reconstructions it sees.
    """

    steps: int = 2_000
    batch: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    noise: float = 0.15
    seed: int = 0
    tokenizer_seed: int = 100


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    dataset: Literal["shapes", "digits"] = "shapes"
    """Embedded data set."""
    preset: PresetName = DEFAULT
    """Whose tokenizer, and how large the images are."""
    steps: Positive = FeatureTraining.steps
    """Training steps of the feature network."""
    tokenizer_steps: Positive | None = None
    """Training steps of the tokenizer whose reconstructions it learns from; default: the
    preset's."""
    out: OutFile | None = None
    """Where to write; default: into the package."""


def reconstruct(split: Split, tokenizer: Tokenizer) -> Tensor:
    """(N, 3, H, W) reconstructions in [0, 1] of the first `MOST_IMAGES`."""
    parts = reconstructions(tokenizer, split, min(MOST_IMAGES, len(split)))
    return torch.cat([part.drawn for part in parts]).add(1).div(2)


def train_features(
    images_N3HW: Tensor, labels_N: np.ndarray, num_classes: int, config: FeatureTraining
) -> FeatureNetwork:
    """A classifier of images in [0, 1] under noise; a function of its arguments alone."""
    with torch_seed(config.seed):
        network = FeatureNetwork(num_classes)
    network.features.requires_grad_(False)  # made below, of what the other layers became
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.steps)
    for step in range(config.steps):
        chosen = batch_indices(config.seed, step, batch=config.batch, images=len(labels_N))
        images = images_N3HW[torch.from_numpy(chosen)]
        rng = stream(config.seed, "noise", step)
        deviation = rng.random((len(chosen), 1, 1, 1)) * config.noise
        noise = rng.standard_normal(tuple(images.shape)) * deviation
        images = images + torch.from_numpy(noise).float()
        logits = network.classes(network(images))
        loss = F.cross_entropy(logits, torch.from_numpy(labels_N[chosen]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    spread(network, images_N3HW)
    return network.eval()


@torch.no_grad()
def spread(network: FeatureNetwork, images_N3HW: Tensor) -> None:
    """Set the layer of features: half whitening, by the means' moments on `images_N3HW`.

    The means are scaled to variance 1; then each principal direction, of variance v, to sqrt(v).
    Unwhitened, few directions hold all variance and hide the rest; wholly whitened, those that are
    noise weigh as much as any, and the distance between real images is seven times as large.
    """
    found = torch.cat([network(part) for part in images_N3HW.split(500)]).double()
    centre, deviation = found.mean(0), found.std(0).clamp_min(1e-6)
    variances, directions = torch.linalg.eigh((((found - centre) / deviation).T).cov())
    kept = variances.clamp_min(LEAST_VARIANCE).pow(-0.25)
    turned = (directions * kept) @ directions.T / deviation
    network.features.weight.copy_(turned)
    network.features.bias.copy_(-turned @ centre)


def main(config: FeaturesConfig) -> None:
    torch.set_num_threads(1)
    preset, training = presets()[config.preset], FeatureTraining(steps=config.steps)
    dataset = load_dataset(config.dataset, side=preset.image_side)
    steps = config.tokenizer_steps or preset.tokenizer.steps
    made = TokenizerTraining(steps=steps, seed=training.tokenizer_seed)
    tokenizer = train_tokenizer(dataset.train, light_tokenizer(preset), made)
    images, classes = reconstruct(dataset.train, tokenizer), dataset.num_classes
    network = train_features(images, dataset.train.labels_N[: len(images)], classes, training)
    recipe = asdict(training) | {
        "dataset": dataset.name,
        "dataset_digest": dataset.digest,
        "preset": config.preset,
        "tokenizer_steps": steps,
        "num_classes": classes,
    }
    path = config.out or WEIGHTS / f"{dataset.key}.safetensors"
    write_tensors(path, network.state_dict(), {"recipe": json.dumps(recipe)})
    extractor = load_extractor(path, name=path.stem)
    found = extractor(reconstruct(dataset.test, tokenizer))
    accuracy = np.mean(found.classes_N == dataset.test.labels_N)
    print(f"{path}: {extractor.name}, {path.stat().st_size:,} bytes")
    print(f"accuracy on {len(dataset.test)} reconstructed test images: {accuracy:.4f}")


if __name__ == "__main__":
    with exit_codes():
        main(flags_of(FeaturesConfig, __doc__))
