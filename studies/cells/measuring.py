"""What evaluation and score cells do: everything here needs torch, and runs where cells run."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from studies.cells.cell import Cell, Evaluation, Network
from studies.cells.result import Measurements
from varant.data.tokens import Tokens, TokenSplit, read_tokens
from varant.evaluation.features import Extractor, Features
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.evaluation.reference import Reference, read_reference
from varant.evaluation.scores import scores
from varant.files import replacing
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.model.sampling import generate
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.store.checkpoint import load

SAMPLES_FILE = "samples.npy"
SHEET_CLASSES = 10  # that the sample sheet shows, an image each


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


@torch.inference_mode()
def evaluate(
    cell: Cell, plan: DepthPlan, wanted: Evaluation, folder: Path
) -> dict[str, Measurements]:
    """All measurements of a cell; the sheet's images go to `samples.npy` in its folder.

    (classes, H, W, 3) uint8, an image each of the first classes.
    """
    loaded = load_network(cell.network, cell.device)
    metrics = likelihood(loaded, loaded.tokens.test, plan, wanted.nll_images, wanted.nll_sets)
    if wanted.select_images:
        metrics |= select_likelihood(loaded, plan, wanted.select_images, wanted.select_sets)
    classes = loaded.model.num_classes
    shown, features, kv_bytes_peak = [], [], 0
    labels = torch.arange(wanted.samples) % classes
    for start in range(0, wanted.samples, cell.batch):
        part = labels[start : start + cell.batch]
        sample = generate(
            loaded.model,
            loaded.tokenizer,
            part,
            plan=plan,
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
    metrics["kv_bytes/peak"] = Measurements.exact(kv_bytes_peak)
    metrics |= costs_of(loaded, plan, guidance=wanted.cfg != 0)
    sheet = (torch.cat(shown).permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    with replacing(folder / SAMPLES_FILE) as aside, aside.open("wb") as file:
        np.save(file, sheet)
    return metrics


def costs_of(loaded: LoadedNetwork, plan: DepthPlan, *, guidance: bool) -> dict[str, Measurements]:
    """What an image costs under a plan, by arithmetic."""
    cost = plan_cost(loaded.model.geometry, plan, guidance=guidance, kv_bytes=4)
    exact = {"kv_bytes/analytic": cost.kv_bytes_peak, "flops/transformer": cost.flops}
    return {name: Measurements.exact(value) for name, value in exact.items()}


def likelihood(
    loaded: LoadedNetwork, tokens: TokenSplit, plan: DepthPlan, images: int, sets: int
) -> dict[str, Measurements]:
    """Teacher-forced NLL in nats/token, in disjoint sets: mean, scale by scale."""
    nll_NK = nll_per_scale(loaded.model, loaded.tokenizer, tokens, plan, images=images)
    columns = {"nll/mean": mean_nll(nll_NK, loaded.model.patch_nums)}
    columns |= {f"nll/scale_{k + 1:02d}": nll_N for k, nll_N in enumerate(nll_NK.T)}
    size = len(nll_NK) // sets
    means = {name: nll_N.reshape(sets, size).mean(1) for name, nll_N in columns.items()}
    return {k: Measurements(values=tuple(m.tolist()), count=size) for k, m in means.items()}


def select_likelihood(
    loaded: LoadedNetwork, plan: DepthPlan, images: int, sets: int
) -> dict[str, Measurements]:
    """The same mean of select images, which choose."""
    found = likelihood(loaded, loaded.tokens.select, plan, images, sets)
    return {"select/nll/mean": found["nll/mean"]}


def _scores(
    loaded: LoadedNetwork, found: Features, labels_N: np.ndarray, wanted: Evaluation
) -> dict[str, Measurements]:
    size = wanted.samples // wanted.sets
    sets = [slice(i * size, (i + 1) * size) for i in range(wanted.sets)]
    scored = [scores(found.rows(s), labels_N[s], loaded.reference) for s in sets]
    extractor = loaded.extractor
    names = {
        f"{extractor.kind}/{extractor.name}/n{size}": "frechet",
        f"kid/{extractor.name}/n{size}": "class_kid",
        "class_accuracy": "class_accuracy",
    }
    return {
        name: Measurements(values=tuple(one[key].value for one in scored), count=size)
        for name, key in names.items()
        if key in scored[0]
    }
