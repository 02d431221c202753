"""One point of a study: config in, result out. A cell evaluates one plan on one network."""

from __future__ import annotations

import functools
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from varant import Tokenizer, generate, load, plan_cost
from varant.checkpoint import LoadedModel
from varant.errors import UserError
from varant.evaluation.features import Extractor, packaged_extractor
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.evaluation.scores import Reference, score
from varant.files import digest_of, replacing, write_json
from varant.plan import DepthPlan
from varant.preparation import read_reference
from varant.tokens import TokenSplit, read_tokens
from varant.transformer import VAR

RESULT_SCHEMA = 1  # raise it when the meaning of a result changes: finished cells then run again
RESULT_FILE, CONFIG_FILE, SAMPLES_FILE = "result.json", "config.json", "samples.npy"
SAMPLE_BATCH = 250
SHEET_IMAGES_A_CLASS = 1


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How every cell of a study is measured.

    Attributes:
        samples, sets: generated images, in so many disjoint sets of equal size; image i has
            class i mod `num_classes` and draws with the uniforms of (seed, i) under any plan.
        nll_images, nll_sets: test images for the teacher-forced NLL, and their disjoint sets.
        cfg, top_k, top_p: as `varant.generate`.
    """

    samples: int
    sets: int
    nll_images: int
    nll_sets: int
    cfg: float
    top_k: int
    top_p: float
    seed: int


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and the data it is measured on, by files and by what identifies their content."""

    model_folder: Path
    model_sha256: str
    tokenizer_sha256: str
    base_seed: int
    tokens_folder: Path
    tokens_digest: str
    reference_path: Path
    extractor_dataset: str
    extractor_digest: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One plan on one network. Paths and the device say where, not what: they are no identity."""

    network: Network
    plan: DepthPlan
    evaluation: Evaluation
    device: str = "cpu"

    @functools.cached_property
    def identity(self) -> dict:
        """All that the result depends on, JSON-ready."""
        return {
            "schema": RESULT_SCHEMA,
            "model": self.network.model_sha256,
            "tokenizer": self.network.tokenizer_sha256,
            "tokens": self.network.tokens_digest,
            "extractor": self.network.extractor_digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "evaluation": asdict(self.evaluation),
        }

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.identity)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Values of one metric.

    Attributes:
        values: one for each disjoint set; a single one for an exact number.
        count: images or samples behind each value; 0 for an exact number.
    """

    values: tuple[float, ...]
    count: int


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """How a cell ended: `finished` with measurements, or `failed` with its error."""

    digest: str
    status: str
    metrics: dict[str, Measurements]
    seconds: float
    error: str | None = None


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Measure a cell and write its folder; an exception becomes a `failed` result."""
    started = time.monotonic()
    try:
        with torch.inference_mode():
            metrics, sheet = _measure(cell)
        with replacing(folder / SAMPLES_FILE) as aside, aside.open("wb") as file:
            np.save(file, sheet)
        status, error = "finished", None
    except OSError:
        raise  # the machine's trouble, not this cell's: disk full, files gone
    except Exception as trouble:
        metrics, status, error = {}, "failed", f"{type(trouble).__name__}: {trouble}"
    result = CellResult(
        digest=cell.digest,
        status=status,
        metrics=metrics,
        seconds=time.monotonic() - started,
        error=error,
    )
    write_json(folder / CONFIG_FILE, cell.identity)
    write_json(folder / RESULT_FILE, asdict(result))
    return result


def read_result(folder: Path, digest: str) -> CellResult | None:
    """The result in a cell's folder; None where the cell has not ended.

    Raises:
        UserError: a file that is damaged or belongs to another cell.
    """
    path = folder / RESULT_FILE
    if not path.exists():
        return None
    remedy = f"damaged; delete the folder {folder} and run again"
    try:
        content = json.loads(path.read_text())
        metrics = {
            name: Measurements(values=tuple(map(float, m["values"])), count=int(m["count"]))
            for name, m in content.pop("metrics").items()
        }
        result = CellResult(metrics=metrics, **content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: {remedy}") from None
    if result.digest != digest or result.status not in ("finished", "failed"):
        raise UserError(f"{path}: {remedy}")
    return result


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    tokenizer: Tokenizer
    model: VAR
    test: TokenSplit
    reference: Reference
    extractor: Extractor


@functools.lru_cache(maxsize=1)
def _load(network: Network, device: str) -> _Loaded:
    """Files of a network, kept for the next cell of this process."""
    loaded: LoadedModel = load(network.model_folder)
    extractor = packaged_extractor(network.extractor_dataset)
    return _Loaded(
        tokenizer=loaded.tokenizer.to(device),
        model=loaded.model.to(device),
        test=read_tokens(network.tokens_folder).test,
        reference=read_reference(network.reference_path),
        extractor=extractor,
    )


def _measure(cell: Cell) -> tuple[dict[str, Measurements], np.ndarray]:
    """Measurements, and the sheet's sample images (classes, H, W, 3) uint8."""
    loaded = _load(cell.network, cell.device)
    wanted = cell.evaluation
    metrics = _likelihood(loaded, cell.plan, wanted)
    images, kv_bytes_peak = [], 0
    labels = torch.arange(wanted.samples) % loaded.model.num_classes
    for start in range(0, wanted.samples, SAMPLE_BATCH):
        part = labels[start : start + SAMPLE_BATCH]
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
            decode_chunk=SAMPLE_BATCH,
        )
        images.append(sample.images.cpu())
        # A last, smaller batch would report its own size: bytes are those of a full batch.
        kv_bytes_peak = max(kv_bytes_peak, sample.kv_bytes_peak // len(part))
    drawn = torch.cat(images)
    metrics |= _scores(loaded, drawn, labels.numpy(), wanted)
    cost = plan_cost(
        loaded.model.geometry, cell.plan, batch=1, guidance=wanted.cfg != 0, kv_bytes=4
    )
    metrics["kv_bytes/peak"] = Measurements(values=(float(kv_bytes_peak),), count=0)
    metrics["kv_bytes/analytic"] = Measurements(values=(float(cost.kv_bytes_peak),), count=0)
    metrics["flops/transformer"] = Measurements(values=(float(cost.flops),), count=0)
    shown = drawn[: loaded.model.num_classes * SHEET_IMAGES_A_CLASS]
    sheet = (shown.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).numpy()
    return metrics, sheet


def _likelihood(loaded: _Loaded, plan: DepthPlan, wanted: Evaluation) -> dict[str, Measurements]:
    per_scale_NK = nll_per_scale(
        loaded.model, loaded.tokenizer, loaded.test, plan, images=wanted.nll_images
    )
    columns = {"nll/mean": mean_nll(per_scale_NK, loaded.model.patch_nums)}
    for k in range(per_scale_NK.shape[1]):
        columns[f"nll/scale_{k + 1:02d}"] = per_scale_NK[:, k]
    size = wanted.nll_images // wanted.nll_sets
    return {
        name: Measurements(
            values=tuple(column.reshape(wanted.nll_sets, size).mean(1).tolist()), count=size
        )
        for name, column in columns.items()
    }


def _scores(
    loaded: _Loaded, images_N3HW: torch.Tensor, labels_N: np.ndarray, wanted: Evaluation
) -> dict[str, Measurements]:
    found, size = loaded.extractor(images_N3HW), wanted.samples // wanted.sets
    sets = [slice(i * size, (i + 1) * size) for i in range(wanted.sets)]
    scores = [score(found.rows(s), labels_N[s], loaded.reference) for s in sets]
    suffix = f"{loaded.extractor.name}/n{size}"
    columns = {
        f"fd/{suffix}": [s.frechet for s in scores],
        f"kid/{suffix}": [s.class_kid for s in scores],
        "class_accuracy": [s.class_accuracy for s in scores],
    }
    return {
        name: Measurements(values=tuple(values), count=size) for name, values in columns.items()
    }
