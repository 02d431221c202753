"""What cells that measure do: everything here needs torch, and runs where cells run."""

import copy
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from analysis.metrics import NLL, SELECT
from studies.cells.cell import Cell, Evaluation, HeldOut, Network
from studies.cells.result import Measurements
from varant.data.tokens import Tokens, TokenSplit
from varant.devices import images_at_once
from varant.evaluation.features import Extractor, Features
from varant.evaluation.jackknife import Jackknifed, blocks
from varant.evaluation.ladder import REAL, rungs
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.evaluation.manifold import Training
from varant.evaluation.reference import Gaussian, Reference, prepare_reference, read_reference
from varant.evaluation.scores import frechet_distance, scores
from varant.evaluation.torchscript import check_digest
from varant.files import replacing
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.model.precision import hold
from varant.model.sampling import Sample, generate
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.store.checkpoint import load, load_tokenizer

SAMPLES_FILE = "samples.npy"
SHEET_CLASSES = 10  # that the sample sheet shows, an image each
DECODED = 250  # real images decoded at once, at most


@dataclass(frozen=True, kw_only=True)
class LoadedHeldOut:
    """What a unit is measured on.

    Attributes:
        spaces: extractors and what samples are compared with, the deciding one first.
        training: in the first space; None where the reference has no features.
        shared: as `HeldOut` says.
    """

    tokenizer: Tokenizer
    tokens: Tokens
    spaces: tuple[tuple[Extractor, Reference], ...]
    training: Training | None
    shared: bool = False


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    model: VAR
    tokens: Tokens
    held_out: LoadedHeldOut


@functools.lru_cache(maxsize=1)
def load_held_out(held_out: HeldOut, device: str) -> LoadedHeldOut:
    """Files of a unit, kept for the next cell of this process."""
    extractors = [spec.load(device) for spec in held_out.extractors]
    references = [
        read_reference(path, features=extractor.features, spatial=extractor.spatial_features)
        for path, extractor in zip(held_out.references, extractors, strict=True)
    ]
    given, found = held_out.reference_digest, references[0].digest
    check_digest(str(held_out.references[0]), str(found), given, "statistics' SHA-256")
    training, real_MF = None, references[0].features_NF
    if held_out.training is not None and real_MF is not None:
        features_MF = read_reference(held_out.training).features_NF
        assert features_MF is not None, "prepared with the reference"
        training = Training.of(features_MF, real_MF)
    return LoadedHeldOut(
        tokenizer=load_tokenizer(held_out.tokenizer_folder).to(device),
        tokens=Tokens(folder=held_out.tokens_folder),
        spaces=tuple(zip(extractors, references, strict=True)),
        training=training,
        shared=held_out.shared,
    )


@functools.lru_cache(maxsize=1)
def load_network(network: Network, device: str) -> LoadedNetwork:
    """Files of a network, kept for the next cell of this process."""
    held_out, model = load_held_out(network.held_out, device), load(network.model_folder).model
    if network.precision != "float32":  # real images keep the tokenizer that made their reference
        held_out = replace(held_out, tokenizer=copy.deepcopy(held_out.tokenizer))
        hold(model, held_out.tokenizer, network.precision)
    return LoadedNetwork(
        model=model.to(device), tokens=Tokens(folder=network.tokens_folder), held_out=held_out
    )


class Cost(NamedTuple):
    """KV bytes at their peak, and the transformer's FLOPs."""

    kv_bytes: int
    flops: int


@dataclass(frozen=True, kw_only=True)
class UnderPlan:
    """What a cell measures: a network under a plan; a peer's way of drawing takes its place."""

    loaded: LoadedNetwork
    plan: DepthPlan

    def nll(self, tokens: TokenSplit, images: int) -> np.ndarray | None:
        """(images, K) teacher-forced NLL in nats/token; None where it is not defined."""
        model, tokenizer = self.loaded.model, self.loaded.held_out.tokenizer
        return nll_per_scale(model, tokenizer, tokens, self.plan, images=images)

    def sample(self, labels_B: Tensor, **drawing: Any) -> Sample:
        """Images; `drawing` as `generate` takes it."""
        model, tokenizer = self.loaded.model, self.loaded.held_out.tokenizer
        return generate(model, tokenizer, labels_B, plan=self.plan, **drawing)

    def cost(self, *, guidance: bool) -> Cost:
        """Of an image, by arithmetic."""
        model = self.loaded.model
        kv_bytes = model.pos_1LC.element_size()
        cost = plan_cost(model.geometry, self.plan, guidance=guidance, kv_bytes=kv_bytes)
        return Cost(cost.kv_bytes_peak, cost.flops)


@torch.inference_mode()
def evaluate(
    cell: Cell, subject: UnderPlan, wanted: Evaluation, labels_N: np.ndarray, folder: Path
) -> dict[str, Measurements]:
    """All measurements of a cell, whose folder keeps the features of its samples.

    The sheet's images go to `samples.npy` there: (classes, H, W, 3) uint8, one of each of the
    first classes.
    """
    held_out, classes = subject.loaded.held_out, subject.loaded.model.num_classes
    metrics = likelihood(subject, wanted.nll_images)
    if wanted.select_images:
        metrics |= select_likelihood(subject, wanted.select_images)
    shown, peaks, left = list[Tensor](), [0], min(classes, SHEET_CLASSES)

    def generated() -> Iterator[Tensor]:
        nonlocal left
        for sample in _drawn(subject, wanted, labels_N, cell.batch):
            # The rest is not kept: 50,000 images of 256 pixels are 39 GB.
            shown.append(sample.images[:left].cpu())
            left -= len(shown[-1])
            # A last, smaller batch would report its own size: bytes are those of a full batch.
            peaks.append(sample.kv_bytes_peak // len(sample.images))
            yield sample.images

    metrics |= score(generated(), labels_N, held_out, folder)
    metrics["kv_bytes/peak"] = Measurements.exact(max(peaks))
    metrics |= costs_of(subject, guidance=wanted.cfg != 0)
    _write_sheet(folder, torch.cat(shown))
    return metrics


def _drawn(
    subject: UnderPlan, wanted: Evaluation, labels_N: np.ndarray, batch: int
) -> Iterator[Sample]:
    """Samples of these classes, a batch at a time."""
    labels_B = torch.from_numpy(labels_N)
    for start in range(0, len(labels_B), batch):
        part = labels_B[start : start + batch]
        yield subject.sample(
            part,
            cfg=wanted.cfg,
            top_k=wanted.top_k,
            top_p=wanted.top_p,
            seed=wanted.seed,
            image_indices=range(start, start + len(part)),
        )


def _write_sheet(folder: Path, images_B3HW: Tensor) -> None:
    sheet = (images_B3HW.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    with replacing(folder / SAMPLES_FILE) as aside, aside.open("wb") as file:
        np.save(file, sheet)


class DamagedImages(NamedTuple):
    """Tokens of reconstructed held-out images, how they are seen, and their classes."""

    tokens_NL: Tensor
    seen: Callable[[Tensor], Tensor]
    labels_N: np.ndarray


@torch.inference_mode()
def damaged_images(
    cell: Cell, rung: str | None, samples: int, *, draw: int, part: int | None
) -> DamagedImages:
    """Images as they are, or damaged by a rung of the ladder, as `RealImages` names them."""
    held_out = load_held_out(cell.network.held_out, cell.device)
    tokenizer, real = held_out.tokenizer, held_out.tokens.real
    ladder = {one.name: one for one in rungs(tokenizer.config.patch_nums, tokenizer.vocab_size)}
    how, chosen_N = ladder[rung or REAL], np.arange(len(real))
    if part is not None:
        chosen_N = by_turns(real.labels_N.numpy(), np.random.default_rng(part))
    whole = real.rows(chosen_N[:samples])
    damaged = how.damage(whole, np.random.default_rng([draw, len(whole)]))

    def seen(tokens_NL: Tensor) -> Tensor:
        return how.seen(tokenizer.decode(tokens_NL.to(cell.device)).add(1).div(2))

    return DamagedImages(damaged.tokens_NL, seen, damaged.labels_N.numpy())


def by_turns(labels_N: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random order in which classes come by turns, as far as their images last."""
    order_N, turn_N = rng.permutation(len(labels_N)), np.empty(len(labels_N))
    for label in np.unique(labels_N):
        mine = labels_N[order_N] == label
        turn_N[mine] = np.arange(mine.sum())
    return order_N[np.argsort(turn_N, kind="stable")]


@torch.inference_mode()
def evaluate_real(cell: Cell, real: DamagedImages, folder: Path) -> dict[str, Measurements]:
    """Scores of such images. The folder gets features and a sheet as of `evaluate`."""
    held_out = load_held_out(cell.network.held_out, cell.device)
    _, first = np.unique(real.labels_N, return_index=True)
    _write_sheet(folder, real.seen(real.tokens_NL[first[:SHEET_CLASSES]]).cpu())
    batches = real.tokens_NL.split(images_at_once(held_out.tokenizer.image_side, DECODED))
    return score(map(real.seen, batches), real.labels_N, held_out, folder)


def score(
    images: Iterable[Tensor], labels_N: np.ndarray, held_out: LoadedHeldOut, folder: Path
) -> dict[str, Measurements]:
    """Scores of batches of images in [0, 1] in every feature space; features go to the folder."""
    parts: list[list[Features]] = [[] for _ in held_out.spaces]
    for batch in images:
        for found, (extractor, _) in zip(parts, held_out.spaces, strict=True):
            found.append(extractor(batch))
    joined = [Features.joined(found) for found in parts]
    for features, (extractor, _) in zip(joined, held_out.spaces, strict=True):
        features.save(_kept(folder, extractor))
    return _scores([features.rounded() for features in joined], labels_N, held_out)


def score_kept(cell: Cell, labels_N: np.ndarray, folder: Path) -> dict[str, Measurements]:
    """The scores that features alone give, of those that a finished cell keeps."""
    held_out = load_held_out(cell.network.held_out, cell.device)
    kept = [Features.load(_kept(folder, extractor)) for extractor, _ in held_out.spaces]
    return _scores(kept, labels_N, held_out)


def _kept(folder: Path, extractor: Extractor) -> Path:
    return folder / f"features-{extractor.name}.npy"


def _scores(
    spaces: Sequence[Features], labels_N: np.ndarray, held_out: LoadedHeldOut
) -> dict[str, Measurements]:
    metrics: dict[str, Measurements] = {}
    trainings = (held_out.training, *(None for _ in held_out.spaces[1:]))
    for features, (extractor, reference), training in zip(
        spaces, held_out.spaces, trainings, strict=True
    ):
        scored = scores(features, labels_N, reference, shared=held_out.shared)
        if training is not None:
            share = training.memorised(features.features_NF)
            scored["memorised"] = Jackknifed(value=share, replicates_G=np.empty(0))
        metrics |= _named(scored, extractor, len(labels_N))
    return metrics


def _named(
    scored: Mapping[str, Jackknifed], extractor: Extractor, count: int
) -> dict[str, Measurements]:
    """Scores by the names of their metrics."""
    kinds = {"frechet": extractor.kind, "class_kid": "kid", "spatial_frechet": "sfid"}
    return {
        kind
        if (kind := kinds.get(name, name)) == "class_accuracy"
        else f"{kind}/{extractor.name}/n{count}": Measurements(
            value=one.value,
            count=count,
            replicates=tuple(one.replicates_G.tolist()),
            common=tuple(one.common_R.tolist()),
        )
        for name, one in scored.items()
    }


def costs_of(subject: UnderPlan, *, guidance: bool) -> dict[str, Measurements]:
    """What an image costs, by arithmetic."""
    cost = subject.cost(guidance=guidance)
    exact = {"kv_bytes/analytic": cost.kv_bytes, "flops/transformer": cost.flops}
    return {name: Measurements.exact(value) for name, value in exact.items()}


def likelihood(subject: UnderPlan, images: int) -> dict[str, Measurements]:
    """Teacher-forced NLL of test images in nats/token: mean, scale by scale; nothing where it is
    not defined."""
    held_out, patch_nums = subject.loaded.held_out, subject.plan.patch_nums
    nll_NK = subject.nll(held_out.tokens.test, images)
    if nll_NK is None:
        return {}
    columns = {NLL.name: mean_nll(nll_NK, patch_nums)}
    columns |= {f"nll/scale_{k + 1:02d}": nll_N for k, nll_N in enumerate(nll_NK.T)}
    return {name: _mean(nll_N, shared=held_out.shared) for name, nll_N in columns.items()}


def select_likelihood(subject: UnderPlan, images: int) -> dict[str, Measurements]:
    """The same mean of select images, which choose."""
    nll_NK = subject.nll(subject.loaded.tokens.select, images)
    if nll_NK is None:
        return {}
    return {SELECT.name: _mean(mean_nll(nll_NK, subject.plan.patch_nums), shared=False)}


@torch.inference_mode()
def select_distance(cell: Cell, subject: UnderPlan, wanted: Evaluation) -> dict[str, Measurements]:
    """Frechet distance of samples to all reconstructed select images, in the deciding space; no
    replicates, since nothing is said of it but which is least."""
    extractor, select = _select_reference(cell.network, cell.device)
    labels_N = np.arange(wanted.samples) % subject.loaded.model.num_classes
    drawn = _drawn(subject, wanted, labels_N, cell.batch)
    features = Features.joined([extractor(sample.images) for sample in drawn]).rounded()
    distance = frechet_distance(Gaussian.of(features.features_NF), select)
    scored = {"frechet": Jackknifed(value=distance, replicates_G=np.empty(0))}
    named = _named(scored, extractor, wanted.samples)
    return {f"select/{name}": one for name, one in named.items()}


@functools.lru_cache(maxsize=1)
def _select_reference(network: Network, device: str) -> tuple[Extractor, Gaussian]:
    """The deciding extractor and what select images are in its space, which are made where their
    tokens are unless they are there; kept for the next cell of this process."""
    held_out = load_held_out(network.held_out, device)
    extractor, _ = held_out.spaces[0]
    folder = network.tokens_folder
    path = prepare_reference(folder, held_out.tokenizer, extractor, split="select")
    read = read_reference(path, features=extractor.features, spatial=extractor.spatial_features)
    return extractor, read.gaussian


def _mean(values_N: np.ndarray, *, shared: bool) -> Measurements:
    """The mean of images with its jackknife replicates, which are common where units share them."""
    count, total = len(values_N), values_N.sum()
    without = tuple(
        float((total - values_N[block].sum()) / (count - len(values_N[block])))
        for block in blocks(count)
        if count > 1
    )
    common = without if shared else ()
    return Measurements(value=float(total / count), count=count, replicates=without, common=common)
