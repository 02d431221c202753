"""How the cells of a study are measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How every cell of a study is measured.

    Attributes:
        samples, sets: generated images, in so many disjoint sets of equal size; image i has
            class i mod `num_classes` and draws with the uniforms of (seed, i) under any plan.
        nll_images, nll_sets: test images for the teacher-forced NLL, and their disjoint sets.
        select_images, select_sets: the same of the select split, for choosing; 0 for none.
        cfg, top_k, top_p: as `varant.generate`.
    """

    samples: int
    sets: int
    nll_images: int
    nll_sets: int
    select_images: int = 0
    select_sets: int = 0
    cfg: float
    top_k: int
    top_p: float
    seed: int
