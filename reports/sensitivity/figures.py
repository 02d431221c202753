"""The figures of the sensitivity study: data, plate and caption of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.figures.theme import FigureBytes, SampleSheet
from analysis.frame import find_metric, headline_metrics
from analysis.maps.scale_depth import (
    Heatmap,
    propagation_map,
    saving_heatmap,
    scale_depth_heatmap,
    switch_depth_heatmap,
    window_damage,
)
from analysis.statistics.damage import base_seeds
from reports.parts import figures as plates
from reports.parts.blocks import Text
from reports.parts.sheet import ordered_sheet
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import Findings

SAVINGS = (("kv_bytes/peak", "KV saved"), ("flops/transformer", "FLOPs saved"))


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Plates by file name, and the caption of each."""

    plates: Mapping[str, FigureBytes]
    captions: Mapping[str, Text]


def draw_gallery(found: Findings, sheet: SampleSheet | None) -> Gallery:
    """Every figure that the frame has data for; other selectors get files of their own."""
    drawn: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    quick = found.record.quick
    nll_basis = sentences.basis(
        found.levels,
        [m for m in headline_metrics(found.frame) if m.kind == "nll"],
        seeds=base_seeds(found.frame),
    )
    for study in found.asymmetries:
        main = study is found.asymmetry
        suffix = "" if main else f"_{study.selector}"
        prefix: list = [] if main else [f"Selector {study.selector}. "]

        pairs = _scale_maps(found, study.selector)
        if pairs:
            name = f"scale_depth_heatmap{suffix}"
            drawn[name] = plates.heatmap_plate(pairs, quick=quick)
            label = headline_metrics(found.frame)[0].label
            captions[name] = [
                *prefix,
                *sentences.scale_depth_caption(label, pairs),
                " ",
                found.basis,
            ]

        quality, savings = _switch_maps(found, study.selector)
        if quality:
            name = f"switch_depth_heatmap{suffix}"
            every = [*quality, *savings]
            grid = [every[i : i + 2] for i in range(0, len(every), 2)]
            drawn[name] = plates.heatmap_plate(grid, quick=quick)
            label = headline_metrics(found.frame)[0].label
            captions[name] = [
                *prefix,
                *sentences.switch_depth_caption(label, quality[0], savings, depth=study.half_depth),
                " ",
                found.basis,
            ]

        spread = propagation_map(
            found.damage,
            found.failures,
            depth=study.half_depth,
            scales=len(found.record.patch_nums),
            selector=study.selector,
        )
        if spread.tests or spread.failed.any():
            name = f"propagation{suffix}"
            drawn[name] = plates.propagation_plate(spread, quick=quick)
            captions[name] = [*prefix, *sentences.propagation_caption(spread), " ", nll_basis]

        windows = [
            window_damage(
                found.damage,
                found.failures,
                metric=metric,
                windows=study.windows,
                depth=study.half_depth,
                selector=study.selector,
            )
            for metric in headline_metrics(found.frame)
        ]
        name = f"asymmetry{suffix}"
        drawn[name] = plates.asymmetry_plate(windows, study, quick=quick)
        captions[name] = [*prefix, *sentences.asymmetry_caption(study), found.basis]
    if sheet is not None:
        sheet = ordered_sheet(sheet, tuple(found.record.windows))
        drawn["sample_sheet"] = plates.sample_plate(sheet, quick=quick)
        captions["sample_sheet"] = sentences.sample_caption(
            windows=found.record.windows, depth=found.record.depth, seed=base_seeds(found.frame)[0]
        )
    return Gallery(plates=drawn, captions=captions)


def _scale_maps(found: Findings, selector: str) -> list[tuple[Heatmap, Heatmap]]:
    pairs = []
    for metric in headline_metrics(found.frame):
        per_scale, per_token = (
            scale_depth_heatmap(
                found.damage,
                found.failures,
                metric=metric,
                selector=selector,
                patch_nums=found.record.patch_nums,
                per_token=per_token,
            )
            for per_token in (False, True)
        )
        if per_scale.rows:
            pairs.append((per_scale, per_token))
    return pairs


def _switch_maps(found: Findings, selector: str) -> tuple[list[Heatmap], list[Heatmap]]:
    scales = len(found.record.patch_nums)
    quality = [
        switch_depth_heatmap(
            found.damage, found.failures, metric=metric, scales=scales, selector=selector
        )
        for metric in headline_metrics(found.frame)
    ]
    savings = [
        saving_heatmap(
            found.damage,
            found.failures,
            metric=metric,
            title=title,
            scales=scales,
            selector=selector,
        )
        for name, title in SAVINGS
        if (metric := find_metric(found.frame, name)) is not None
    ]
    return [q for q in quality if q.rows], [s for s in savings if s.rows]
