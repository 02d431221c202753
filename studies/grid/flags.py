"""Flags that every study has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EXTRACTORS = ("packaged", "inception")


@dataclass(frozen=True, kw_only=True)
class StudyFlags:
    """Flags that every study has."""

    workspace: Path = Path("runs")
    """Folder of all that studies write."""
    dataset: str = "shapes"
    """shapes, digits or folder."""
    data_path: Path | None = None
    """For --dataset folder: a folder of class folders, or of train/ and val/ with class folders."""
    skip_unreadable: bool = False
    """Leave out image files that cannot be read, and list them."""
    model: Path | None = None
    """A checkpoint folder to start from in place of the base network."""
    vae: Path | None = None
    """The tokenizer of an official checkpoint."""
    var: Path | None = None
    """The transformer of an official checkpoint, with --vae, to start from."""
    extractor: str = "packaged"
    """Features that samples are scored on: packaged (of an embedded data set) or inception."""
    inception: Path | None = None
    """For --extractor inception: its TorchScript file, such as inception-2015-12-05.pt."""
    reference: Path | None = None
    """NPZ file with mu and sigma of the features of real images, as ADM's; default: reconstructed
    test images."""
    base_budget: str = "48k"
    """Training images of a base network."""
    samples: int = 2000
    """Generated images a cell."""
    sample_batch: int = 250
    """Images generated at once."""
    sets: int = 8
    """Disjoint sets that the samples are split into, for intervals."""
    nll_images: int | None = None
    """Test images a cell for the teacher-forced NLL; default: 2000, or as many as there are."""
    cfg: float = 0.0
    """Classifier-free guidance; 0 is off."""
    top_k: int = 0
    """Sample among the k likeliest codes; 0 is off."""
    top_p: float = 0.0
    """Sample among the likeliest codes of this probability; 0 is off."""
    seed: int = 0
    """Seed of the base network and of sampling."""
    workers: int = 1
    """One-thread processes that run cells; 1 runs them in this process."""
    scheduler: str | None = None
    """Address of a Dask scheduler whose workers run the cells, such as tcp://host:8786."""
    retry_failed: bool = False
    """Run cells again that failed or diverged."""
    device: str = "cpu"
    """cpu, cuda or cuda:0."""
    quick: bool = False
    """The whole path on tiny data; every output is marked, none is a result."""
    dry_run: bool = False
    """Print config, cells and expected cost; run nothing."""


# Flags that say where and how, not what is measured.
NOT_MEASURED = (
    "workspace",
    "workers",
    "scheduler",
    "retry_failed",
    "dry_run",
    "sample_batch",
    "skip_unreadable",
)
