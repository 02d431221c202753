"""What a run starts from: resolved from flags before anything is made, then materialised.

`resolve` looks at data set and files as far as their headers; `materialise` makes what the
workspace lacks. Both serve training and studies alike.
"""

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from varant.data.datasets import UNIT_SPLITS, Dataset, load_dataset
from varant.data.folders import ReplacingSplit, folder_dataset
from varant.data.tokens import Tokenising, cache_tokens, tokens_digest
from varant.errors import UserError
from varant.files import digest_of, write_json
from varant.model.geometry import Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR
from varant.presets import Preset, preset_of, presets
from varant.progress import Progress
from varant.randomness import torch_seed
from varant.start.config import DataConfig, StartConfig, TrainStartConfig
from varant.start.given import Given, given_of
from varant.start.package import Package, package_of
from varant.start.preparation import BaseJob, prepare_tokenizer, tokenizer_recipe
from varant.start.presets import QUICK_IMAGES, BaseConfig, base_geometry
from varant.store import checkpoint
from varant.store.checkpoint import MODEL_FILE, TOKENIZER_FILE
from varant.store.workspace import Workspace
from varant.training.distributed import ALONE, Ranks
from varant.training.tokenizer import reconstruction_psnr

FINE_TUNING_LR = 1e-3  # of a small network that was trained before
OFFICIAL_LR = 1e-6  # of official checkpoints (VARiant, arXiv 2511.16546)
PSNR_FILE = "psnr.json"  # beside the tokens, of a tokenizer that was given


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What a run would start from; nothing is made yet.

    Attributes:
        flags: they may ask for an untrained network.
        given: files that they name.
        base: tokenizer and base networks that the workspace trains, once; None of given files.
        package: has the tokenizer, and those of the base networks that are not trained here.
        tokenizer, geometry: sizes; of given files read off their headers.
        seeds: of the base networks, or of an untrained one.
        lr: the default peak learning rate of such a start.
    """

    flags: TrainStartConfig
    given: Given | None
    base: BaseConfig | None
    package: Package | None
    data: DataConfig
    dataset: Dataset
    tokenizer: TokenizerConfig
    geometry: Geometry
    seeds: tuple[int, ...]
    lr: float

    @property
    def training_images(self) -> int | None:
        """Images that the network has seen; None where that is not known."""
        if self.base is None or self.flags.from_scratch:
            return None
        return self.base.training.image_passes

    @property
    def tokenizer_digest(self) -> str:
        """Of the recipe where it is trained here, since its weights differ between machines by
        rounding; of the weights where they are given."""
        if self.base is not None:
            return digest_of(tokenizer_recipe(self.base, self.dataset))
        assert self.given is not None, "a network is trained here or given"
        return self.given.tokenizer_sha256

    @property
    def description(self) -> str:
        """Where the network is from, in words."""
        if self.given is not None:
            return self.given.description
        if self.package is not None and not self.trained_here:
            return f"base network {self.package.name} of the package"
        return "base network trained by this study"

    @property
    def trained_here(self) -> tuple[int, ...]:
        """Seeds of the base networks that the workspace trains."""
        if self.base is None or self.flags.from_scratch:
            return ()
        packaged = () if self.package is None else self.package.bases
        return tuple(seed for seed in self.seeds if seed not in packaged)


def resolve(
    start: StartConfig,
    data: DataConfig,
    *,
    seeds: Sequence[int] = (0,),
    quick: bool = False,
    batch: int = 64,
) -> Resolved:
    """What these flags start from.

    Args:
        batch: of the training that follows; the default learning rate from scratch needs it.

    Raises:
        UserError: files or data that cannot be read, or that do not fit each other.
    """
    flags = TrainStartConfig(**vars(start))
    preset, given = presets()[flags.preset_name(quick)], given_of(flags, flags.patch_nums)
    base: BaseConfig | None = None
    if given is not None:
        tokenizer, geometry = given.sizes
    else:
        base = _base(flags, preset, quick)
        tokenizer, geometry = base.tokenizer, base.geometry
    dataset = open_dataset(data, tokenizer.image_side, QUICK_IMAGES if quick else None)
    lr = FINE_TUNING_LR if flags.vae is None else OFFICIAL_LR
    if flags.from_scratch:
        geometry = _scratch_geometry(flags, preset, tokenizer, dataset)
        lr = 1e-4 * batch / 256 if geometry.width >= 256 else 5e-3  # VAR's rule; of small networks
    elif base is not None:
        geometry = replace(base.geometry, num_classes=dataset.num_classes)
        base = replace(base, geometry=geometry)
    assert geometry is not None, "a tokenizer alone is for a start from scratch"
    if geometry.num_classes != dataset.num_classes:
        raise UserError(
            f"--dataset {data.dataset}: has {dataset.num_classes} classes; the network that "
            f"you start from has {geometry.num_classes}"
        )
    return Resolved(
        flags=flags,
        given=given,
        base=base,
        package=package_of(flags, data, seeds, quick),
        data=data,
        dataset=dataset,
        tokenizer=tokenizer,
        geometry=geometry,
        seeds=tuple(seeds),
        lr=lr,
    )


def _base(flags: TrainStartConfig, preset: Preset, quick: bool) -> BaseConfig:
    sides = flags.patch_nums
    base = BaseConfig.of(preset, budget=flags.base_budget, quick=quick)
    if sides is None:
        return base
    tokenizer = replace(base.tokenizer, patch_nums=sides)
    return replace(base, tokenizer=tokenizer, geometry=replace(base.geometry, patch_nums=sides))


def open_dataset(data: DataConfig, side: int, limit: int | None = None) -> Dataset:
    """The data set of the flags, with images of `side` pixels; `UserError` where it has others."""
    if data.dataset == "folder":
        assert data.data_path is not None
        skip = data.skip_unreadable
        return folder_dataset(data.data_path, side=side, skip_unreadable=skip)
    return load_dataset(data.dataset, side=side, limit=limit)


def _scratch_geometry(
    flags: TrainStartConfig, preset: Preset, tokenizer: TokenizerConfig, dataset: Dataset
) -> Geometry:
    """Sizes of a network from scratch: the flags', else the preset's or VAR's rule."""
    sized = preset_of(tokenizer.patch_nums) or preset
    official, small = tokenizer.backbone == "official", base_geometry(sized)
    depth = flags.depth or (16 if official else small.depth)
    width = flags.width or (64 * depth if official else small.width)
    heads = flags.heads or max(1, width // (64 if official else small.head_dim))
    try:
        return tokenizer.geometry(
            depth=depth, width=width, heads=heads, num_classes=dataset.num_classes
        )
    except UserError as error:
        raise UserError(f"--{error}") from None  # sizes are named as their flags


@dataclass(frozen=True, kw_only=True)
class NetworkFiles:
    """A network in a checkpoint folder of ours.

    Attributes:
        sha256: of its weights: what depends on them knows them by it.
        seed: of the base network's training; for given files, the run's own seed.
    """

    folder: Path
    sha256: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Start:
    """What a run starts from, made.

    Attributes:
        tokenizer: on the device.
        tokens_folder, tokens_digest: the data set by this tokenizer, as `Tokens` reads it.
        splits: that are there.
        networks: one a seed; none from scratch.
    """

    resolved: Resolved
    tokenizer: Tokenizer
    tokenizer_folder: Path
    tokenizer_sha256: str
    tokens_folder: Path
    tokens_digest: str
    splits: tuple[str, ...]
    networks: tuple[NetworkFiles, ...]

    def tokens_of(self, unit: int, workspace: Workspace, progress: Progress) -> tuple[Path, str]:
        """The held-out images of a unit in tokens, made unless they are there: folder, digest."""
        dataset, digest = self._held_out(unit)
        folder, how = workspace.tokens(digest), _tokenising(self.resolved)
        cache_tokens(folder, dataset, self.tokenizer, UNIT_SPLITS, how, progress=progress)
        return folder, digest

    def has_tokens_of(self, unit: int, workspace: Workspace) -> bool:
        """Whether a run before this one began to make them."""
        return workspace.tokens(self._held_out(unit)[1]).exists()

    def _held_out(self, unit: int) -> tuple[Dataset, str]:
        dataset = self.resolved.dataset.of_unit(unit)
        return dataset, tokens_digest(dataset, self.tokenizer_sha256)

    @property
    def origin(self) -> dict[str, Any]:
        """What the network is: a part of the identity of what is trained from it."""
        if self.networks:
            return {"network": self.networks[0].sha256}
        return {"scratch": asdict(self.resolved.geometry), "seed": self.resolved.seeds[0]}

    @cached_property
    def psnr_db(self) -> float:
        """Of reconstructed select images: as noted beside the tokenizer or the tokens, else
        measured now, and noted."""
        noted = checkpoint.noted(checkpoint.read_config(self.tokenizer_folder), "psnr_db")
        if isinstance(noted, int | float) and math.isfinite(noted):
            return float(noted)
        with contextlib.suppress(OSError, ValueError, KeyError):
            return float(json.loads((self.tokens_folder / PSNR_FILE).read_text())["psnr_db"])
        skip = self.resolved.data.skip_unreadable
        select = ReplacingSplit(self.resolved.dataset.select, skip)
        measured = reconstruction_psnr(self.tokenizer, select)
        write_json(self.tokens_folder / PSNR_FILE, {"psnr_db": measured})
        return measured

    def make_model(self) -> VAR:
        if self.networks:
            return checkpoint.load(self.networks[0].folder).model
        with torch_seed(self.resolved.seeds[0]):
            return VAR(self.resolved.geometry)


def materialise(
    resolved: Resolved,
    workspace: Workspace,
    progress: Progress,
    *,
    device: str = "cpu",
    splits: Sequence[str] = (),
    ranks: Ranks = ALONE,
    run_jobs: Callable[[Sequence[BaseJob]], None] = lambda jobs: None,
) -> Start:
    """Make what the workspace lacks: tokenizer, tokens, base networks.

    Args:
        splits: of the data set, that the run reads in tokens; base networks train on `train`.
        ranks: that all call this; together they tokenise, the rest is made by the first.
        run_jobs: trains several base networks at once where it can; what it leaves is trained here.
    """
    base, dataset, skip = resolved.base, resolved.dataset, resolved.data.skip_unreadable
    scratch = resolved.flags.from_scratch
    with _first_alone(ranks):
        if resolved.package is not None:
            folder = resolved.package.unpacked_tokenizer(workspace)
        elif base is not None:
            folder = prepare_tokenizer(workspace, base, dataset, progress, skip)
        else:
            assert resolved.given is not None
            folder = resolved.given.folder(workspace)
    tokenizer = checkpoint.load_tokenizer(folder).to(device)
    sha256 = checkpoint.read_config(folder)["sha256"][TOKENIZER_FILE]
    digest = tokens_digest(dataset, sha256)
    tokens = workspace.tokens(digest)
    of_base = ("train",) if resolved.trained_here else ()
    read = tuple(dict.fromkeys((*of_base, *splits)))
    tokenised = partial(cache_tokens, tokens, dataset, tokenizer, read, progress=progress)
    if ranks.count > 1:
        tokenised(_tokenising(resolved, ranks))
        ranks.wait()
    with _first_alone(ranks):
        tokenised(_tokenising(resolved))
        folders = {} if scratch else dict.fromkeys(resolved.seeds, folder)
        if base is not None and not scratch:
            jobs = {
                seed: BaseJob(
                    workspace=workspace,
                    config=replace(base, training=replace(base.training, seed=seed)),
                    tokenizer_folder=folder,
                    tokens_digest=digest,
                    device=device,
                )
                for seed in resolved.trained_here
            }
            missing = [job for job in jobs.values() if not job.run_folder.finished]
            if len(missing) > 1:
                run_jobs(missing)
            for seed, job in jobs.items():
                job.run(progress)
                folders[seed] = job.run_folder.folder
            for seed in folders.keys() - jobs.keys():
                assert resolved.package is not None
                folders[seed] = resolved.package.unpacked_base(seed, workspace)
    networks = (
        NetworkFiles(folder=at, sha256=checkpoint.read_config(at)["sha256"][MODEL_FILE], seed=seed)
        for seed, at in folders.items()
    )
    return Start(
        resolved=resolved,
        tokenizer=tokenizer,
        tokenizer_folder=folder,
        tokenizer_sha256=sha256,
        tokens_folder=tokens,
        tokens_digest=digest,
        splits=read,
        networks=tuple(networks),
    )


def _tokenising(resolved: Resolved, ranks: Ranks = ALONE) -> Tokenising:
    skip = resolved.data.skip_unreadable
    return Tokenising(skip_unreadable=skip, rank=ranks.rank, ranks=ranks.count)


@contextlib.contextmanager
def _first_alone(ranks: Ranks) -> Iterator[None]:
    """What is made inside, the first rank makes; the others come when it is there."""
    if not ranks.first:
        ranks.wait()
    yield
    if ranks.first:
        ranks.wait()
