"""The sections of what drawing images costs: time and memory."""

import math
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.efficiency_file import OURS
from analysis.figures import costs
from analysis.figures.colours import FIXED
from analysis.figures.theme import INK, LATE, new_figure
from analysis.maps.generation import Sampling, label
from analysis.statistics.levels import FULL, PlanKey
from reports.efficiency.words import milliseconds, on, ratio, set_by, short
from reports.parts.page import Page, strong

MIB = 2**20
PAPERS = [FULL, *(PlanKey(depth, 6) for depth in (16, 8, 4, 2))]
PUBLISHED_MIB = {FULL: 28_677, PlanKey(16, 6): 16_092}  # KV of VAR-d30 at batch 64, as published
D30 = "VAR-d30 at batch 64 with guidance, bfloat16: by arithmetic"


def add_latency(page: Page, found: list[Sampling]) -> None:
    page.heading("Time")
    for one in found:
        rows = [
            {
                "Sampler": strong(label(*row.Index)),
                "ms": milliseconds(row),
                "Images/s": numbers.number(row.images_per_second),
                "× full": ratio(row, "speedup"),
                "× reference": ratio(row, "over_reference"),
                "FLOPs allow": numbers.fixed(row.flops_ratio, 2),
                "Of that": numbers.percent(row.of_ceiling),
                "Matrix": numbers.percent(row.mfu),
                "Copy": numbers.percent(row.mbu),
            }
            for row in one.latency.itertuples()
        ]
        page.table(
            pd.DataFrame(rows),
            f"Latency, {on(one)}: median and range of {one.seconds.shape[1]} turns. "
            "× full, × reference: times as fast as these, paired turn by turn. FLOPs allow: the "
            "ratio of the transformer's FLOPs. Of that: the share of it that the transformer's "
            "stages reach. Matrix, copy: shares reached of the rates that this machine was "
            "measured at.",
        )
    last = found[-1]
    page.figure(
        "latency",
        partial(_latency_plate, last, last.by_stage),
        "Latency by scale and stage. ",
        f"{on(last)}; medians of the repeats. The reference's style runs the full network.",
    )
    page.figure(
        "speedup",
        partial(_speedup_plate, found),
        "Speed-up against FLOPs. ",
        f"{last.study.measured_on}. Filled: the transformer's stages; hollow: the whole "
        "generation, with its range over turns, which decodes more images at once where the plan "
        "leaves room. On the line a plan is as much faster as its FLOPs are fewer.",
    )


def _latency_plate(one: Sampling, by_stage: pd.DataFrame) -> Figure:
    names = [name for name in one.names if name in by_stage.index.droplevel(["scale"])]
    decode = by_stage["decode"].groupby(level=[0, 1]).sum().max()
    most = max(by_stage.drop(columns="decode").sum(axis=1).max(), decode)
    rows = math.ceil((len(names) + 1) / 3)
    figure = new_figure(height=1.45 * rows + 0.2)
    axes = figure.subplots(rows, 3, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        costs.draw_stage_latency(ax, by_stage.loc[name], title=label(*name), most=most)
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    for ax in axes.flat[len(names) + 1 :]:
        ax.set_axis_off()
    costs.draw_stage_key(axes.flat[len(names)], short(one))
    return figure


def _speedup_plate(found: list[Sampling]) -> Figure:
    named = {"flops_ratio": "x", "transformer": "transformer"}
    named |= {"speedup": "y", "speedup_low": "low", "speedup_high": "high"}
    tables = [
        one.latency.loc[OURS][list(named)]
        .drop(index=one.study.full)
        .rename_axis("plan")
        .reset_index()
        .rename(columns=named)
        .assign(name=f"batch {one.batch}")
        .sort_values("x")
        for one in found
    ]
    figure = new_figure(height=2.6, width=4.6)
    title, table = found[0].study.measured_on, pd.concat(tables)
    costs.draw_speedup(figure.subplots(), table, title=title, ceiling="FLOPs ceiling")
    return figure


def add_memory(page: Page, found: list[Sampling]) -> None:
    page.heading("Memory")
    for one in found:
        rows = [
            {
                "Sampler": strong(label(*row.Index)),
                "KV, arithmetic": numbers.size(row.kv_analytic),
                "KV, tensors": numbers.size(row.kv_live),
                "Transformer": numbers.size(row.transformer_bytes),
                "Peak": numbers.size(row.peak),
                "Set by": set_by(row),
                "Predicted": numbers.size(row.predicted),
                "Weights": numbers.size(row.weights),
                "Launches": f"{row.launches:,.0f}",
                "Waits": f"{row.waits:,.0f}",
            }
            for row in one.memory.itertuples()
        ]
        page.table(
            pd.DataFrame(rows),
            f"Memory beside the weights, {on(one)}. KV: by arithmetic, and read off "
            "the tensors; transformer: all that is alive at once in its stages; peak: of the "
            "whole generation, with the stage that sets it; predicted: the same by a run without "
            "tensors' contents. Launches: operations that compute. Waits: times that host and "
            "device would wait for each other.",
        )
    one = found[-1]
    page.figure(
        "memory_course",
        partial(_course_plate, one),
        "Memory over the course of a generation. ",
        f"{on(one)}. Lines: all that is alive, largest within each stage; dotted: "
        "the cache by arithmetic. Shades as the stages of the figure of latency; the dashed line "
        "is the reference's style, which runs the full network.",
    )
    page.figure(
        "memory",
        partial(_memory_plate, one),
        "Memory against the reference's style, the published figures and the limit. ",
        f"Left: {on(one)}, measured, and the reference's cache for the same plan by "
        f"arithmetic. Right: {D30}; the limit frees a pair once its last reader has run, which "
        "is what our cache does.",
    )


def _course_plate(one: Sampling) -> Figure:
    figure = new_figure(height=2.9)
    names = [label(*name) for name in one.names]
    costs.draw_memory_course(figure.subplots(), one.course, names, title=on(one))
    return figure


def _memory_plate(one: Sampling) -> Figure:
    ways = {"reference's cache": INK, "our cache": FIXED[2], "peak of a generation": LATE}
    plans, mine = one.study.plans, one.memory.loc[OURS].loc[list(one.study.plans)]
    here = pd.DataFrame(
        {
            "plan": list(plans),
            "reference's cache": [one.batch * plan.kv_bytes_reference for plan in plans.values()],
            "our cache": mine["kv_live"].to_numpy(),
            "peak of a generation": mine["peak"].to_numpy(),
            "published": math.nan,
        }
    )
    paper = [one.study.paper_cost[plan.label] for plan in PAPERS]
    there = pd.DataFrame(
        {
            "plan": [plan.label for plan in PAPERS],
            "reference's cache": [MIB * cost.kv_mib_reference for cost in paper],
            "our cache, the limit": [MIB * cost.kv_mib_limit for cost in paper],
            "published": [MIB * PUBLISHED_MIB.get(plan, math.nan) for plan in PAPERS],
        }
    )
    figure = new_figure(height=2.4)
    left, right = figure.subplots(1, 2)
    costs.draw_memory_bars(left, here, ways, title=f"measured: {short(one)}")
    of_limit = {"reference's cache": INK, "our cache, the limit": FIXED[2]}
    title = "by arithmetic: VAR-d30, bfloat16, batch 64"
    costs.draw_memory_bars(right, there, of_limit, title=title)
    return figure
