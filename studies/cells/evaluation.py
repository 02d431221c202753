"""A cell that measures a network under a depth plan."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from studies.cells.cell import Cell, Measured
from studies.cells.result import Measurements
from varant import Tokenizer, generate, load, plan_cost
from varant.data.tokens import Tokens, TokenSplit, read_tokens
from varant.evaluation.extractors import ExtractorSpec
from varant.evaluation.features import Extractor, Features
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.evaluation.reference import Reference
from varant.evaluation.scores import score
from varant.files import replacing, write_json
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.transformer import VAR
from varant.start.calibration import Speed
from varant.start.preparation import read_reference

RESULT_SCHEMA = 2  # raise it when the meaning of a result changes: finished cells then run again
IDENTITY_FILE, SAMPLES_FILE = "config.json", "samples.npy"
SHEET_CLASSES = 10  # that the sample sheet shows, an image each
SCORING_SECONDS = 0.7  # of an evaluation, whatever it measures


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How every cell of a study is measured.

    Attributes:
        samples, sets: generated images, in so many disjoint sets of equal size; image i has
            class i mod `num_classes` and draws with the uniforms of (seed, i) under any plan.
        nll_images, nll_sets: test images for the teacher-forced NLL, and their disjoint sets.
        select_images, select_sets: the same of the select split, for choosing; 0 for none.
        cfg, top_k, top_p: as `varant.generate`.
    """

    samples: int
    sets: int
    nll_images: int
    nll_sets: int
    select_images: int = 0
    select_sets: int = 0
    cfg: float
    top_k: int
    top_p: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and the data it is measured on, by files and by what identifies their content.

    Attributes:
        model: SHA-256 of the weights, or `cell DIGEST` of the training cell that makes them.
        trained_by: that cell's digest.
        reference_path, reference_digest: what samples are compared with; without a digest it
            follows from tokens, tokenizer and extractor.
    """

    model_folder: Path
    model: str
    tokenizer_sha256: str
    base_seed: int
    tokens_folder: Path
    tokens_digest: str
    extractor: ExtractorSpec
    reference_path: Path
    reference_digest: str | None = None
    trained_by: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationCell(Cell):
    """One plan on one network.

    Attributes:
        batch: images generated at once; each draws its own uniforms, so it is no identity.
    """

    network: Network
    plan: DepthPlan
    evaluation: Evaluation
    batch: int = 250
    device: str = "cpu"

    @functools.cached_property
    def identity(self) -> dict:
        reference = self.network.reference_digest
        return {
            "schema": RESULT_SCHEMA,
            "model": self.network.model,
            "tokenizer": self.network.tokenizer_sha256,
            "tokens": self.network.tokens_digest,
            "extractor": self.network.extractor.digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "evaluation": asdict(self.evaluation),
        } | ({"reference": reference} if reference else {})

    @property
    def images(self) -> int:
        wanted = self.evaluation
        return wanted.samples + wanted.nll_images + wanted.select_images

    @property
    def needs(self) -> str | None:
        return self.network.trained_by

    def baseline(self) -> EvaluationCell | None:
        """The full plan of the same network."""
        if self.plan.is_full:
            return None
        return replace(self, plan=DepthPlan.full(self.plan.patch_nums, self.plan.depth))

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        wanted = self.evaluation
        likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
        sampling = wanted.samples / speed.samples_per_second
        return flops_share(self.plan, geometry) * (sampling + likelihood) + SCORING_SECONDS

    def measure(self, folder: Path) -> Measured:
        with torch.inference_mode():
            metrics, sheet = _measure(self)
        with replacing(folder / SAMPLES_FILE) as aside, aside.open("wb") as file:
            np.save(file, sheet)
        write_json(folder / IDENTITY_FILE, self.identity)
        return Measured(metrics=metrics)


def flops_share(plan: DepthPlan, geometry: Geometry) -> float:
    """FLOPs of a pass under `plan` as a share of a full one's."""
    return plan_cost(geometry, plan).flops / plan_cost(geometry).flops


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """What a network is measured with."""

    tokenizer: Tokenizer
    model: VAR
    tokens: Tokens
    reference: Reference
    extractor: Extractor


@functools.lru_cache(maxsize=1)
def load_network(network: Network, device: str) -> LoadedNetwork:
    """Files of a network, kept for the next cell of this process."""
    loaded = load(network.model_folder)
    extractor = network.extractor.load(device)
    return LoadedNetwork(
        tokenizer=loaded.tokenizer.to(device),
        model=loaded.model.to(device),
        tokens=read_tokens(network.tokens_folder),
        reference=read_reference(network.reference_path, features=extractor.features),
        extractor=extractor,
    )


def _measure(cell: EvaluationCell) -> tuple[dict[str, Measurements], np.ndarray]:
    """Measurements, and the sheet's sample images (classes, H, W, 3) uint8."""
    loaded, wanted = load_network(cell.network, cell.device), cell.evaluation
    metrics = likelihood(
        loaded, cell.plan, loaded.tokens.test, images=wanted.nll_images, sets=wanted.nll_sets
    )
    if wanted.select_images:
        metrics |= likelihood(
            loaded,
            cell.plan,
            loaded.tokens.select,
            images=wanted.select_images,
            sets=wanted.select_sets,
            prefix="select/",
            names=("nll/mean",),
        )
    classes = loaded.model.num_classes
    shown, features, kv_bytes_peak = [], [], 0
    labels = torch.arange(wanted.samples) % classes
    for start in range(0, wanted.samples, cell.batch):
        part = labels[start : start + cell.batch]
        sample = generate(
            loaded.model,
            loaded.tokenizer,
            part,
            plan=cell.plan,
            cfg=wanted.cfg,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            seed=wanted.seed,
            image_indices=range(start, start + len(part)),
            decode_chunk=cell.batch,
        )
        features.append(loaded.extractor(sample.images))
        # The rest is not kept: 50,000 images of 256 pixels are 39 GB.
        shown.append(sample.images[: max(0, min(classes, SHEET_CLASSES) - start)].cpu())
        # A last, smaller batch would report its own size: bytes are those of a full batch.
        kv_bytes_peak = max(kv_bytes_peak, sample.kv_bytes_peak // len(part))
    metrics |= _scores(loaded, Features.joined(features), labels.numpy(), wanted)
    cost = plan_cost(
        loaded.model.geometry, cell.plan, batch=1, guidance=wanted.cfg != 0, kv_bytes=4
    )
    metrics["kv_bytes/peak"] = Measurements(values=(float(kv_bytes_peak),), count=0)
    metrics["kv_bytes/analytic"] = Measurements(values=(float(cost.kv_bytes_peak),), count=0)
    metrics["flops/transformer"] = Measurements(values=(float(cost.flops),), count=0)
    sheet = (torch.cat(shown).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return metrics, sheet


def likelihood(
    loaded: LoadedNetwork,
    plan: DepthPlan,
    split: TokenSplit,
    *,
    images: int,
    sets: int,
    prefix: str = "",
    names: Iterable[str] | None = None,
) -> dict[str, Measurements]:
    """Teacher-forced NLL in nats/token, in disjoint sets: mean, and scale by scale."""
    per_scale_NK = nll_per_scale(loaded.model, loaded.tokenizer, split, plan, images=images)
    columns = {"nll/mean": mean_nll(per_scale_NK, loaded.model.patch_nums)}
    for k in range(per_scale_NK.shape[1]):
        columns[f"nll/scale_{k + 1:02d}"] = per_scale_NK[:, k]
    size = images // sets
    return {
        prefix + name: Measurements(
            values=tuple(columns[name].reshape(sets, size).mean(1).tolist()), count=size
        )
        for name in names or columns
    }


def _scores(
    loaded: LoadedNetwork, found: Features, labels_N: np.ndarray, wanted: Evaluation
) -> dict[str, Measurements]:
    size = wanted.samples // wanted.sets
    sets = [slice(i * size, (i + 1) * size) for i in range(wanted.sets)]
    scores = [score(found.rows(s), labels_N[s], loaded.reference) for s in sets]
    extractor = loaded.extractor
    columns = {
        f"{extractor.kind}/{extractor.name}/n{size}": [s.frechet for s in scores],
        f"kid/{extractor.name}/n{size}": [s.class_kid for s in scores],
        "class_accuracy": [s.class_accuracy for s in scores],
    }
    return {
        name: Measurements(values=tuple(values), count=size)
        for name, values in columns.items()
        if None not in values
    }
