"""The protocol table: what was measured, on what, with what."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis import numbers
from analysis.frame import headline_metrics
from analysis.metrics import Metric, parse_metric
from analysis.study_file import BaseFacts, ScheduleFacts, StudyFile, StudyHead, SupernetFile
from reports.parts.page import Page, Text, code
from reports.parts.words import counted, listed

DIGITS = 12  # of a digest, enough to tell artifacts apart


def protocol_table(
    page: Page,
    study: StudyFile,
    frame: pd.DataFrame,
    *,
    likelihood: str = "shown, never decides",
    plans: str | None = None,
    training: str | None = None,
) -> None:
    """The table with its heading, one row a fact.

    Args:
        likelihood: what its mean is for.
        plans: the grid, see `grid`.
        training: how the models were trained; None where nothing follows the base.
    """
    start = "every model starts from it" if training else "no training after the base"
    metrics: list[Text] = []
    for m in headline_metrics(frame):
        said = likelihood if m.kind == "nll" else _role(study, m)
        separator = "; " if metrics else ""
        metrics += [separator, code(m.name), f" ({m.label}, {m.better} is better, {said})"]
    facts: dict[str, Text | None] = {
        **_networks(study),
        "Units": _units(study, start),
        "Training": training,
        "Plans": plans,
        **_measuring(study),
        "Metrics": metrics,
        **_making(study),
    }
    add_facts(page, facts, "Protocol. Everything that the numbers of this report depend on.")


def add_facts(page: Page, facts: Mapping[str, Text | None], caption: str) -> None:
    """A protocol with its heading: a row a fact that there is."""
    page.heading("Protocol")
    rows = pd.DataFrame([fact for fact in facts.items() if fact[1]], columns=["What", "How"])
    page.table(rows, caption, widths=[0.19, 0.81], small=False)


def versions(study: StudyHead) -> str:
    return ", ".join(f"{name} {version}" for name, version in study.versions.items())


def supernet_protocol(
    page: Page, study: SupernetFile, frame: pd.DataFrame, *, plans: str | None = None
) -> None:
    """The protocol of a study that trains; `plans` is what else is to be said of its plans."""
    training = _joined(
        f"{study.budget_images:,} image passes a model (a sandwich step takes three an image)",
        f"schedules {listed(list(dict.fromkeys(map(_schedule, study.schedules))))}",
        f"batches of {study.batch}",
        f"learning rate {study.lr:g}, {study.lr_schedule}",
        f"{_trainings(study)} a unit and schedule, from the unit's base",
        "subnet steps drawn stratified: shares hold over every short window",
    )
    plans = _joined(grid(study, study.depths, study.selectors), plans)
    second = "a verdict of its own"
    protocol_table(page, study, frame, likelihood=second, plans=plans, training=training)


def _trainings(study: SupernetFile) -> str:
    """How often a unit's base is trained on in the same way."""
    ways = Counter((model.schedule, model.rival, model.unit) for model in study.models)
    return counted(max(ways.values(), default=1), "training")


def _schedule(one: ScheduleFacts) -> str:
    share = "" if one.share is None or one.kind != "fixed" else f" {one.share:.2g}"
    return f"{one.kind}{share}"


def _role(study: StudyFile, metric: Metric) -> str:
    """What a metric of samples is for."""
    spaces = [extractor.name for extractor in study.extractors]
    if metric.kind not in ("fd", "fid") or metric.extractor not in spaces:
        return "reported, never decides"
    return "decides" if metric.extractor == spaces[0] else "says where metrics disagree"


def grid(study: StudyFile, depths: Sequence[int], selectors: Sequence[str]) -> str:
    return _joined(
        f"depths {', '.join(map(str, depths))} of {study.geometry.depth}" if depths else None,
        f"selectors {', '.join(selectors)}",
    )


def _joined(*parts: str | None) -> str:
    return "; ".join(part for part in parts if part)


def _networks(study: StudyFile) -> dict[str, str]:
    d, g, t = study.dataset, study.geometry, study.tokenizer
    return {
        "Data": _joined(
            f"{d.name}, digest {d.digest[:DIGITS]}",
            f"{d.image_side} x {d.image_side} pixels",
            f"{d.num_classes} classes",
            f"{d.train_images:,} train, {d.select_images:,} select and {d.test_images:,} test "
            "images",
            "reported numbers use test images only",
        ),
        "Model": _joined(
            study.model,
            f"depth {g.depth}, width {g.width}, heads {g.heads}, vocab size {g.vocab_size}",
            f"{len(g.patch_nums)} scales with sides {', '.join(map(str, g.patch_nums))} "
            f"({sum(p * p for p in g.patch_nums)} tokens)",
        ),
        "Tokenizer": f"{t.description}; PSNR {t.psnr_db:.1f} dB; digest {t.digest[:DIGITS]}",
    }


def _units(study: StudyFile, start: str) -> str:
    """The base network of each, and what else is its own."""
    if not study.bases:
        return "no network: real images alone, each unit with its own, and a reference of its own"
    many = len(study.bases) > 1
    share = "all plans of a unit share these, so differences are paired"
    finite = study.dataset.units_share_images
    images = ", all with the same test images" if finite else " and test images"
    return _joined(
        *map(_base, study.bases),
        f"each with its own uniforms{images}; {share}" if many else share,
        start,
    )


def _base(base: BaseFacts) -> str:
    parts = [f"unit {base.unit}: digest {base.digest[:DIGITS]}", f"{base.parameters:,} parameters"]
    if base.training_images is not None:
        parts.append(f"trained on {base.training_images:,} images")
    if base.nll_mean is not None:
        parts.append(f"NLL {base.nll_mean:.3f} nats/token")
    if base.class_accuracy is not None:
        parts.append(f"class accuracy {base.class_accuracy:.3f}")
    return ", ".join(parts)


def _measuring(study: StudyFile) -> dict[str, str]:
    s, n = study.sampling, study.likelihood
    filters = (("guidance", s.cfg), ("top-k", s.top_k), ("top-p", s.top_p))
    chosen = f"{n.select_images:,} select images, which choose plans and report nothing"
    roles = ("decides", "knows nothing of classes; says where metrics disagree")
    spaces = (
        f"{e.name}, {e.features} features, digest {e.digest[:DIGITS]}, {role}"
        for e, role in zip(study.extractors, roles, strict=False)
    )
    likelihood = _joined(
        f"{n.nll_images:,} test images a unit, teacher-forced, paired with the full network "
        "image by image",
        chosen if n.select_images else None,
    )
    if not s.samples:
        return {"NLL": likelihood, "Samples": "none is drawn: likelihood is all"}
    return {
        "Samples": _joined(
            f"{s.samples:,} a cell, scored together; replicates without one block of them",
            ", ".join(f"{name} {value:g}" if value else f"no {name}" for name, value in filters),
        ),
        "NLL": likelihood,
        "Feature spaces": _joined(
            *spaces, "distances compare only with themselves at equal counts and are not FID"
        ),
        "Ladder": _ladder(study),
    }


def _ladder(study: StudyFile) -> str:
    """Which zones' damage the distances were shown to see."""
    if study.ladder is None:
        return "none was climbed with these features at so many samples: distances decide nothing"
    return _joined(
        *(
            f"{metric.short} on {metric.extractor} saw damage of "
            + (listed([zone for zone, seen in zones.items() if seen] or ["no"]) + " scales")
            for name, zones in study.ladder.items()
            if (metric := parse_metric(name)).kind in ("fd", "fid")
        ),
        "real images have the standard error of its repeats in place of the jackknife's"
        if study.floor_spreads
        else None,
    )


def _making(study: StudyFile) -> dict[str, Text]:
    h, spent = study.hardware, study.seconds
    wall, preparation, cells = map(numbers.seconds, (spent.wall, spent.preparation, spent.cells))
    return {
        "Hardware": f"{h.cpu}, {counted(h.cores, 'core')}; device {h.device} in {h.precision}; "
        f"{counted(h.workers, 'worker')} of {counted(h.threads_per_process, 'thread')}; "
        f"{h.platform}",
        "Wall time": f"last invocation {wall}, of which preparation (data, tokenizer, base) "
        f"{preparation}; process time of all cells, earlier invocations' too, {cells}",
        "Versions": versions(study),
        "Command": code(study.command),
        "Identity": f"config digest {study.config_digest[:DIGITS]}; code version "
        f"{study.code_version}; created {study.created.isoformat()}",
    }
