"""The report of the efficiency study: what depth saves in time and memory on one machine."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import numbers
from analysis.claims.costs import Costs
from analysis.claims.ledger import judge_costs
from analysis.claims.rows import LedgerRow
from analysis.efficiency_file import OURS, EfficiencyFile, load_measured
from analysis.maps.generation import Sampling, Training, label, training_of
from analysis.study_file import FRAME_FILE
from reports.efficiency.sampling import add_latency, add_memory
from reports.efficiency.words import milliseconds, on, ratio, set_by
from reports.parts import words
from reports.parts.ledger import add_rules, ledger_json
from reports.parts.page import Page, Text, strong
from reports.parts.protocol import DIGITS, add_facts, versions
from reports.parts.report import Report, picked


def make_report(folder: Path, study: EfficiencyFile) -> Report:
    frame = load_measured(folder / FRAME_FILE)
    case = Costs(study, frame)
    found, ledger = case.samplings, judge_costs(case)
    training = training_of(study, frame)
    page = Page(study, "What does depth cost?", words.listed(study.parts))
    page.answer(study.question, _verdict(study, found), _answer(found))
    _add_claims(page, ledger)
    summary = pd.DataFrame(columns=["batch"])
    if found:
        add_latency(page, found)
        add_memory(page, found)
        tables = [one.latency.join(one.memory).assign(batch=one.batch) for one in found]
        summary = pd.concat([table.reset_index() for table in tables], ignore_index=True)
    if training is not None:
        _add_training(page, training)
    _add_overheads(page, frame[frame["part"] == "overheads"])
    add_rules(page, ledger)
    _add_protocol(page, study)
    page.heading("Cells without numbers")
    failed: list[Text] = [f"{name}: {error}" for name, error in study.failed.items()]
    page.bullets(failed, none="None: every cell finished.")
    answer = {"ledger": ledger_json(ledger), "record": _record(study, found, training, ledger)}
    return page.report(answer=answer, summary=summary)


def _verdict(study: EfficiencyFile, found: list[Sampling]) -> str:
    if not found:
        return f"measured: {words.listed(study.parts)}"
    last = found[-1]
    times = last.latency["over_reference"]
    full = times[OURS, last.study.full]
    (_, plan), most = times.idxmax(), times.max()
    said = f"full network {full:.2f} times, {plan} {most:.2f} times as fast as a sampler in the"
    return f"{said} style of the public code, batch {last.batch}"


def _answer(found: list[Sampling]) -> Text:
    said: list[Text] = []
    for one in found:
        whole = (OURS, one.study.full)
        full, least = one.memory.loc[whole], one.memory["peak"].idxmin()
        share = one.memory.loc[least, "peak"] / full["peak"]
        saves = f"{label(*least)} holds {numbers.percent(share)} of that"
        said += [
            strong(f"Batch {one.batch}. "),
            f"A generation takes {numbers.seconds(one.latency.loc[whole, 'seconds'])} in full and "
            f"holds {numbers.size(full['peak'])} at once beside its weights, set by "
            f"{set_by(full)}; {saves if share < 1 else 'no plan holds less'}. ",
        ]
    return said or "The tables say what was measured."


def _add_training(page: Page, training: Training) -> None:
    page.heading("Training")
    cached = training.online_ratio
    rows = [
        {
            "Plan": strong(str(row.Index)),
            "ms": milliseconds(row),
            "Images/s": numbers.number(row.images_per_second),
            "Of the full step": ratio(row, "ratio"),
            "FLOPs": numbers.fixed(row.flops_ratio, 3),
            "Held by a step": numbers.size(row.peak),
        }
        for row in training.steps.itertuples()
    ]
    page.table(
        pd.DataFrame(rows),
        f"Training steps, {on(training)}: median and range of the repeats, by turns; the step over "
        "the full network's, beside the same of FLOPs; what a step holds beside parameters and "
        "optimiser at its peak.",
    )
    fixed = {kind: numbers.size(size) for kind, size in training.fixed.items()}
    page.table(
        pd.DataFrame([fixed]),
        "Fixed memory by kind. Gradients are views of the buckets in which ranks share them, which "
        "take nothing more; logits of one pass, in float32.",
    )
    beside = {f"share of time: {of}": f"{100 * x:.2f} %" for of, x in training.shares.items()}
    if not math.isnan(cached):
        said = "steps on cached tokens, times as fast as tokenising at each"
        beside[said] = numbers.fixed(cached, 2)
    page.table(
        pd.DataFrame(list(beside.items()), columns=["Beside the steps", "Measured"]),
        "Time that no step gets. Checkpoints: what training stands still for, of the least time "
        "between two; evaluation: of every plan, ten times in a training.",
    )


def _add_overheads(page: Page, rows: pd.DataFrame) -> None:
    page.heading("Overheads")
    wide = rows.pivot(index="subject", columns="metric", values="value")
    metrics = ["overhead_seconds", "overhead_bytes"]
    wide = wide.reindex(index=rows["subject"].drop_duplicates(), columns=metrics)
    texts = {
        "What": wide.index.astype(str),
        "CPU-seconds": wide["overhead_seconds"].map(numbers.number),
        "Memory": wide["overhead_bytes"].map(numbers.size),
    }
    page.table(
        pd.DataFrame(texts),
        "What a study costs beside its cells. Reports are of a made-up study of the kind pareto.",
    )


def _add_claims(page: Page, ledger: Sequence[LedgerRow]) -> None:
    rows = [
        {
            "": strong(f"{row.claim.id} {row.claim.short}" if i == 0 else ""),
            "What": ": ".join(filter(None, (line.kind.value, line.part))),
            "Verdict": strong(line.verdict.value),
            "Why": f"{line.said}; {line.reason}" if line.said else line.reason,
        }
        for row in ledger
        for i, line in enumerate(row.lines)
    ]
    page.table(
        pd.DataFrame(rows),
        "What this study says of the claims about costs. The other claims are about quality.",
        widths=[0.17, 0.2, 0.14, 0.49],
    )


def _add_protocol(page: Page, study: EfficiencyFile) -> None:
    h, g = study.hardware, study.geometry
    clock = "wall time" if h.gpu else "CPU time of one thread"
    facts = {
        "Network": f"{study.name}: depth {g.depth}, width {g.width}, heads {g.heads}, "
        f"{len(g.patch_nums)} scales ({sum(p * p for p in g.patch_nums)} tokens); random weights",
        "Type": study.precision,
        "Hardware": f"{h.gpu or h.cpu}; device {h.device}; {h.platform}",
        "Timing": f"{clock}; every sampler once untimed, then all by turns",
        "Time": f"{numbers.seconds(study.seconds)} for all cells, earlier invocations' too",
        "Versions": versions(study),
        "Command": study.command,
        "Identity": f"config digest {study.config_digest[:DIGITS]}; created "
        f"{study.created.isoformat()}",
    }
    add_facts(page, facts, "Protocol.")


def _record(
    study: EfficiencyFile,
    found: list[Sampling],
    training: Training | None,
    ledger: Sequence[LedgerRow],
) -> dict[str, Any]:
    """What a script reads: one line."""
    steps = training.steps if training is not None else pd.DataFrame()
    return {
        "study": study.study,
        "geometry": study.name,
        "precision": study.precision,
        "machine": study.machine,
        "sampling": {
            str(one.batch): {
                label(*name): {
                    **picked(latency, "seconds", "images_per_second", "over_reference"),
                    **picked(latency, "of_ceiling", "mfu", "mbu"),
                    "kv_bytes": int(one.memory.loc[name, "kv_live"]),
                    "peak_bytes": int(one.memory.loc[name, "peak"]),
                }
                for name, latency in one.latency.iterrows()
            }
            for one in found
        },
        "training": {
            str(plan): picked(row, "seconds", "images_per_second", "ratio", "flops_ratio")
            for plan, row in steps.iterrows()
        },
        "verdicts": {row.claim.id: row.verdict.value for row in ledger},
    }
