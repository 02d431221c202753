"""What a study measures with: planned from flags and headers, then prepared."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from analysis.instrument_file import Setting
from studies.cells.cell import Evaluation, HeldOut, Network, Site
from studies.grid.flags import StudyConfig
from studies.grid.instrument import Instrument, instrument_of, samples_of
from studies.running.executors import Executor
from varant.data.datasets import Dataset
from varant.devices import element_bytes, require_memory
from varant.errors import UserError
from varant.evaluation.extractors import ExtractorSpec, extractor_specs
from varant.evaluation.features import Extractor
from varant.evaluation.reference import prepare_reference, reference_of
from varant.model.cost import plan_cost
from varant.progress import progress_bar, silent
from varant.start.config import DataConfig, RunConfig, StartConfig
from varant.start.preparation import BaseJob
from varant.start.sources import Resolved, Start, materialise, resolve
from varant.store.workspace import Workspace

SELECT_IMAGES = 1000


@dataclass(frozen=True, kw_only=True)
class Planned(Resolved):
    """What is known of a study's bench before anything is made: its start, and how to measure.

    Attributes:
        units: that cells are measured in; `seeds` are of the base networks.
        extractors, specs: feature spaces that samples are scored in, the deciding one first.
        reference_digest: of the file that samples are compared with, where one is given.
        instrument: what is known of `setting`.
        evaluation: of the first unit; see `evaluation_of`.
    """

    units: tuple[int, ...]
    extractors: tuple[Extractor, ...]
    specs: tuple[ExtractorSpec, ...]
    reference_digest: str | None
    instrument: Instrument
    evaluation: Evaluation

    @property
    def setting(self) -> Setting:
        """What scores depend on beside the samples."""
        return _setting(self, self.specs, self.reference_digest)

    def evaluation_of(self, unit: int) -> Evaluation:
        """How cells of a unit are measured: with its own uniforms."""
        return self.evaluation.model_copy(update={"seed": unit})


@dataclass(frozen=True, kw_only=True)
class Prepared(Planned):
    """The same, made: tokenizer, tokens and networks, and where cells are."""

    start: Start
    site: Site


def plan_bench(config: StudyConfig, *, networks: bool = True, select: bool = False) -> Planned:
    """The bench of these flags, as far as it is known before anything is made.

    Args:
        networks: whether the units have base networks; else just data are measured.
        select: whether cells are measured on the select split too, for choosing.

    Raises:
        UserError: flags that make no sense together, or files that cannot be read.
    """
    wanted, digest, units = config.evaluation, None, config.unit_numbers
    seeds = units if networks else ()
    resolved = resolve(config.start, config.data, seeds=seeds, quick=config.run.quick)
    specs = extractor_specs(
        resolved.dataset.key,
        torchscript=wanted.script,
        inception=wanted.inception_file,
        resize=wanted.resize,
    )
    if specs[0].notice is not None:
        print(specs[0].notice, file=sys.stderr)
    extractors = tuple(spec.load() for spec in specs)
    if wanted.reference is not None:
        side = resolved.dataset.image_side
        digest = reference_of(wanted.reference, extractors[0], side).digest
    setting = partial(_setting, resolved, specs, digest)
    instrument = instrument_of(config, resolved, setting)
    held_out = resolved.dataset.of_unit(units[0]).sizes["real"]
    samples = samples_of(config, instrument, extractors[0].name, held_out=held_out)
    held = 8 * samples * sum(one.features + one.spatial_features for one in extractors)
    require_memory(held, "cpu", f"--samples {samples}", "give fewer")
    return Planned(
        **vars(resolved),
        units=units,
        extractors=extractors,
        specs=specs,
        reference_digest=digest,
        instrument=instrument,
        evaluation=_evaluation(config, resolved, samples, select=select),
    )


def _setting(resolved: Resolved, specs: Sequence[ExtractorSpec], reference: str | None) -> Setting:
    return Setting(
        dataset=resolved.dataset.digest,
        tokenizer=resolved.tokenizer_digest,
        extractors=tuple(spec.identity for spec in specs),
        reference=reference,
    )


def _evaluation(
    config: StudyConfig, resolved: Resolved, samples: int, *, select: bool
) -> Evaluation:
    """How cells are measured; `UserError` for flags that do not fit the network or its data."""
    wanted, sizes = config.evaluation, resolved.dataset.sizes
    if wanted.reference is None:
        _check_classes(resolved.dataset)
    least = 2 * resolved.geometry.num_classes
    if samples < least:
        raise UserError(f"--samples {samples}: use at least {least}, two of each class")
    images = wanted.nll_images or min(config.likelihood_images, sizes["test"])
    if images > sizes["test"]:
        raise UserError(
            f"--nll-images {images}: {config.data.dataset} has {sizes['test']} test images a unit"
        )
    kv_bytes = element_bytes(config.run.precision)
    batch = min(samples, wanted.sample_batch)
    drawn = plan_cost(
        resolved.geometry, batch=batch, guidance=config.sampling.cfg != 0, kv_bytes=kv_bytes
    )
    flags = f"--sample-batch {wanted.sample_batch}"
    require_memory(drawn.kv_bytes_peak, config.run.device, flags, "give a smaller one")
    return Evaluation(
        samples=samples,
        nll_images=images,
        select_images=min(SELECT_IMAGES, sizes["select"]) if select else 0,
        seed=config.seed,
        **vars(config.sampling),
    )


def _check_classes(dataset: Dataset) -> None:
    """`UserError` where test images cannot be what samples are compared with, class by class."""
    counts_C = np.bincount(dataset.test.labels_N, minlength=dataset.num_classes)
    if counts_C.min() < 2:
        few = dataset.class_names[int(counts_C.argmin())]
        raise UserError(
            f"--dataset {dataset.name}: class {few} has too few test images ({counts_C.min()}): "
            "samples are compared within classes, which takes two; add some, or leave it out"
        )


def _prepare_unit(
    unit: int,
    specs: Sequence[ExtractorSpec],
    workspace: Workspace,
    start: StartConfig,
    data: DataConfig,
    run: RunConfig,
) -> None:
    """Tokens and features of the held-out images of one unit of an embedded data set, unless they
    are there; by flags, since another process does it."""
    resolved = resolve(start, data, seeds=(), quick=run.quick)
    made = materialise(resolved, workspace, silent, device=run.device)
    folder, _ = made.tokens_of(unit, workspace, silent)
    for spec in specs:
        prepare_reference(folder, made.tokenizer, spec.load(run.device))


def _prepare_units(
    start: Start, planned: Planned, config: StudyConfig, workspace: Workspace, executor: Executor
) -> None:
    """Side by side what units are measured on, where several lack it."""
    lack = [unit for unit in planned.units if not start.has_tokens_of(unit, workspace)]
    if planned.dataset.make_unit is None or executor.here or len(lack) < 2:
        return
    specs = planned.specs if config.evaluation.reference is None else planned.specs[1:]
    alike = (specs, workspace, config.start, config.data, config.run)
    with progress_bar("held-out images", len(lack), "unit") as advance:
        for future in [executor.submit(_prepare_unit, unit, *alike) for unit in lack]:
            future.result()
            advance(1)


def prepare_bench(
    planned: Planned,
    config: StudyConfig,
    workspace: Workspace,
    executor: Executor,
    splits: Sequence[str] = (),
) -> Prepared:
    """Data, tokenizer, tokens and networks, each made unless it is there.

    Several base networks that are missing train side by side.

    Args:
        splits: that cells read in tokens, beside their unit's.
    """
    torch.set_num_threads(1)
    run, given = config.run, config.evaluation.reference
    if config.data.data_path is None and not planned.package:
        splits = (*splits, "train")  # in tokens in seconds, for `memorised`; others take days

    def side_by_side(jobs: Sequence[BaseJob]) -> None:
        for future in [executor.submit(job.run, silent) for job in jobs]:
            future.result()

    start = materialise(
        planned, workspace, progress_bar, device=run.device, splits=splits, run_jobs=side_by_side
    )
    _prepare_units(start, planned, config, workspace, executor)
    files = {network.seed: network for network in start.networks}
    extractors = [spec.load(run.device) for spec in planned.specs]
    networks, compared = {}, extractors if given is None else extractors[1:]
    prepare = partial(prepare_reference, tokenizer=start.tokenizer, progress=progress_bar)
    training = None
    if given is None and "train" in start.splits:
        training = prepare(start.tokens_folder, extractor=extractors[0], split="train").resolve()
    for unit in planned.units:
        folder, digest = start.tokens_of(unit, workspace, progress_bar)
        references = [] if given is None else [given]
        references += [prepare(folder, extractor=extractor) for extractor in compared]
        held_out = HeldOut(
            tokenizer_folder=start.tokenizer_folder.resolve(),
            tokenizer_sha256=start.tokenizer_sha256,
            tokens_folder=folder.resolve(),
            tokens_digest=digest,
            extractors=planned.specs,
            references=tuple(path.resolve() for path in references),
            training=training,
            training_digest=start.tokens_digest if training else None,
            reference_digest=planned.reference_digest,
            shared=planned.dataset.make_unit is None,
        )
        own = files.get(unit)
        networks[unit] = Network(
            model_folder=(own.folder if own else start.tokenizer_folder).resolve(),
            model=own.sha256 if own else None,
            tokens_folder=start.tokens_folder.resolve(),
            tokens_digest=start.tokens_digest,
            held_out=held_out,
            precision=run.precision,
        )
    batch, workspace = config.evaluation.sample_batch, Workspace(folder=workspace.folder.resolve())
    site = Site(networks=networks, workspace=workspace, device=run.device, batch=batch)
    return Prepared(**vars(planned), start=start, site=site)
