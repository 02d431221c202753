"""The grid of the sensitivity study: which plans it measures, and what people call them."""

from __future__ import annotations

from dataclasses import dataclass

from varant.errors import UserError
from varant.plan import DepthPlan


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One place in a figure: a plan under the name that people give it.

    Two entries may share a plan (`d4@4` of five scales is `d4 on scale 5`); it is measured once.
    """

    family: str
    name: str
    plan: DepthPlan
    selector: str
    subnet_depth: int | None = None
    scale: int | None = None
    window: str | None = None
    switch: int | None = None


def windows_of(scales: int) -> dict[str, tuple[int, ...]]:
    """The early, middle and late scales, 1-based; they end after round(0.3 K) and round(0.6 K).

    Raises:
        UserError: fewer than three scales.
    """
    if scales < 3:
        raise UserError(f"a network of {scales} scales: early, middle and late need three")
    first, second = max(1, round(0.3 * scales)), max(2, round(0.6 * scales))
    return {
        "early": tuple(range(1, first + 1)),
        "middle": tuple(range(first + 1, second + 1)),
        "late": tuple(range(second + 1, scales + 1)),
    }


def entries_of(
    patch_nums: tuple[int, ...], depth: int, depths: tuple[int, ...], selectors: tuple[str, ...]
) -> list[Entry]:
    """All entries of the study, the full network first."""
    scales = len(patch_nums)
    entries = [
        Entry(
            family="full",
            name="full",
            plan=DepthPlan.full(patch_nums, depth),
            selector=selectors[0],
        )
    ]
    for selector in selectors:
        suffix = "" if selector == "equidistant" else f" ({selector})"

        def reduced(chosen: tuple[int, ...], subnet_depth: int, selector=selector) -> DepthPlan:
            kept = [subnet_depth if k in chosen else depth for k in range(1, scales + 1)]
            return DepthPlan.per_scale(patch_nums, depth, depths=kept, selector=selector)

        for d in depths:
            for k in range(1, scales + 1):
                entries.append(
                    Entry(
                        family="scale",
                        name=f"d{d} on scale {k}{suffix}",
                        plan=reduced((k,), d),
                        selector=selector,
                        subnet_depth=d,
                        scale=k,
                    )
                )
            for switch in range(scales):
                entries.append(
                    Entry(
                        family="switch",
                        name=f"d{d}@{switch}{suffix}",
                        plan=reduced(tuple(range(switch + 1, scales + 1)), d),
                        selector=selector,
                        subnet_depth=d,
                        switch=switch,
                    )
                )
        for window, chosen in windows_of(scales).items():
            entries.append(
                Entry(
                    family="window",
                    name=f"d{depth // 2} on {window}{suffix}",
                    plan=reduced(chosen, depth // 2),
                    selector=selector,
                    subnet_depth=depth // 2,
                    window=window,
                )
            )
    return entries
