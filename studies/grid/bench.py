"""What a study measures with: planned from flags and headers, then prepared."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from studies.cells.cell import Evaluation, Network, Site
from studies.grid.flags import StudyConfig
from studies.running.executors import Executor
from varant.errors import UserError
from varant.evaluation.extractors import ExtractorSpec, extractor_specs
from varant.evaluation.features import Extractor
from varant.evaluation.reference import load_reference_npz, prepare_reference
from varant.progress import progress_bar, silent
from varant.start.preparation import BaseJob
from varant.start.sources import Resolved, Start, materialise, resolve
from varant.store.workspace import Workspace

NLL_IMAGES, NLL_SETS = 2000, 40
SELECT_IMAGES, SELECT_SETS = 1000, 20


@dataclass(frozen=True, kw_only=True)
class Planned(Resolved):
    """What is known of a study's bench before anything is made: its start, and how to measure.

    Attributes:
        extractor, extractor_spec: of the features that samples are scored on.
        reference_digest: of the file that samples are compared with, where one is given.
    """

    extractor: Extractor
    extractor_spec: ExtractorSpec
    reference_digest: str | None
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class Prepared(Planned):
    """The same, made: tokenizer, tokens and networks, and where cells are."""

    start: Start
    site: Site


def plan_bench(config: StudyConfig, *, networks: int = 1, select: bool = False) -> Planned:
    """The bench of these flags, as far as it is known before anything is made.

    Args:
        networks: base networks, with seeds from `--seed` on.
        select: whether cells are measured on the select split too, for choosing.

    Raises:
        UserError: flags that make no sense together, or files that cannot be read.
    """
    seeds, wanted, digest = range(config.seed, config.seed + networks), config.evaluation, None
    resolved = resolve(config.start, config.data, seeds=seeds, quick=config.run.quick)
    if wanted.inception is not None:
        spec = ExtractorSpec.inception(wanted.inception)
    else:
        spec = extractor_specs(f"{resolved.dataset.name}-{resolved.dataset.image_side}")[0]
    extractor = spec.load()
    if wanted.reference is not None:
        digest = load_reference_npz(wanted.reference, features=extractor.features).digest
    return Planned(
        **vars(resolved),
        extractor=extractor,
        extractor_spec=spec,
        reference_digest=digest,
        evaluation=_evaluation(config, resolved, select=select),
    )


def _evaluation(config: StudyConfig, resolved: Resolved, *, select: bool) -> Evaluation:
    """How every cell is measured.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    wanted, sizes = config.evaluation, resolved.dataset.sizes
    least = wanted.sets * 2 * resolved.geometry.num_classes
    if wanted.samples < least or wanted.samples % wanted.sets:
        raise UserError(
            f"--samples {wanted.samples}: must be a multiple of --sets ({wanted.sets}) and at "
            f"least {least}, two of each class in each set"
        )
    nll_images = wanted.nll_images
    if nll_images is None:
        nll_images = _whole_sets(min(NLL_IMAGES, sizes["test"]), NLL_SETS)
    if nll_images > sizes["test"]:
        raise UserError(
            f"--nll-images {nll_images}: {config.data.dataset} has {sizes['test']} test images"
        )
    nll_sets = min(NLL_SETS, nll_images)
    if nll_images % nll_sets:
        raise UserError(f"--nll-images {nll_images}: must be a multiple of {nll_sets}")
    select_images = _whole_sets(min(SELECT_IMAGES, sizes["select"]), SELECT_SETS) if select else 0
    return Evaluation(
        samples=wanted.samples,
        sets=wanted.sets,
        nll_images=nll_images,
        nll_sets=nll_sets,
        select_images=select_images,
        select_sets=min(SELECT_SETS, select_images),
        seed=config.seed,
        **vars(config.sampling),
    )


def _whole_sets(images: int, sets: int) -> int:
    """The most images that make up so many sets of equal size, or one set an image."""
    return images - images % max(1, min(sets, images))


def prepare_bench(
    planned: Planned, config: StudyConfig, workspace: Workspace, executor: Executor
) -> Prepared:
    """Data, tokenizer, tokens and networks, each made unless it is there.

    Several base networks that are missing train side by side.
    """
    torch.set_num_threads(1)
    run, reference = config.run, config.evaluation.reference

    def side_by_side(jobs: Sequence[BaseJob]) -> None:
        for future in [executor.submit(job.run, silent) for job in jobs]:
            future.result()

    start = materialise(planned, workspace, progress_bar, device=run.device, run_jobs=side_by_side)
    if reference is None:
        extractor = planned.extractor_spec.load(run.device)
        reference = prepare_reference(start.tokens_folder, start.tokenizer, extractor, progress_bar)
    networks = {
        files.seed: Network(
            model_folder=files.folder.resolve(),
            model=files.sha256,
            tokenizer_sha256=start.tokenizer_sha256,
            base_seed=files.seed,
            tokens_folder=start.tokens_folder.resolve(),
            tokens_digest=start.tokens_digest,
            extractor=planned.extractor_spec,
            reference_path=reference.resolve(),
            reference_digest=planned.reference_digest,
        )
        for files in start.networks
    }
    batch, workspace = config.evaluation.sample_batch, Workspace(folder=workspace.folder.resolve())
    site = Site(networks=networks, workspace=workspace, device=run.device, batch=batch)
    return Prepared(**vars(planned), start=start, site=site)
