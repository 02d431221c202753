"""Depth plans: which layers run at each scale, and which cached pairs are read, until when.

A plan is data, not a state of the network: `model(inputs, labels, plan)`. Scales and layers are
0-based here (`scale_index`, `layer`); people, files' names and command lines count scales from 1.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

from varant.errors import UserError
from varant.files import read_json, write_json
from varant.manifest import verified

Selector = Literal["equidistant", "nested", "first", "last"]
SELECTORS: tuple[str, ...] = get_args(Selector)
PLAN_FORMAT: dict[str, object] = {"format": "varant-plan", "version": 1}


def equidistant(count: int, chosen: int) -> tuple[int, ...]:
    """`chosen` of `count` positions: floor(i (count-1)/(chosen-1)), i = 0..chosen-1.

    VARiant's subnet layers I_d (arXiv 2511.16546, section on the supernet); one position is 0.
    """
    if chosen == 1:
        return (0,)
    return tuple(i * (count - 1) // (chosen - 1) for i in range(chosen))


def nested_order(depth: int) -> tuple[int, ...]:
    """All layers, most wanted first, so that any prefix is a subnet and every two are nested.

    The chain D -> largest power of two below D -> its half -> ... -> 1 takes each set
    equidistantly from the next larger one. Sizes between two links add the larger link's
    other layers in bit-reversed order, which spreads them over the depth.
    """
    chain = [tuple(range(depth))]
    while len(chain[-1]) > 1:
        larger = chain[-1]
        size = 1 << ((len(larger) - 1).bit_length() - 1)
        chain.append(tuple(larger[i] for i in equidistant(len(larger), size)))
    order = list(chain[-1])
    for smaller, larger in itertools.pairwise(reversed(chain)):
        rest = [layer for layer in larger if layer not in smaller]
        bits = max(1, (len(rest) - 1).bit_length())
        spread = sorted(range(len(rest)), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
        order.extend(rest[i] for i in spread)
    return tuple(order)


def select_layers(depth: int, subnet_depth: int, selector: str = "equidistant") -> tuple[int, ...]:
    """The ascending layer indices of a subnet of `subnet_depth` out of `depth` layers.

    Raises `UserError` for a depth outside 1..`depth`, or a selector that is not in `SELECTORS`.
    """
    if not 1 <= subnet_depth <= depth:
        raise UserError(f"depth {subnet_depth}: the network has {depth} layers; use 1 to {depth}")
    match selector:
        case "equidistant":
            return equidistant(depth, subnet_depth)
        case "nested":
            return tuple(sorted(nested_order(depth)[:subnet_depth]))
        case "first":
            return tuple(range(subnet_depth))
        case "last":
            return tuple(range(depth - subnet_depth, depth))
    raise UserError(f"selector {selector!r}: use one of {', '.join(SELECTORS)}")


def default_depths(depth: int) -> tuple[int, ...]:
    """A quarter, half and three quarters of the network, at least 1 each."""
    return tuple(sorted({max(1, depth * quarters // 4) for quarters in (1, 2, 3)}))


@dataclass(frozen=True)
class DepthPlan:
    """Which layers run at each scale.

    A token of scale k passes layer l only if l is in `layers[k]`, else it keeps its value; at
    layer l it attends to the tokens of scales j <= k that passed layer l.

    Attributes:
        patch_nums: side of each token map, coarse to fine.
        depth: layers of the full network.
        layers: one tuple a scale of ascending layer indices, each with at least one layer.

    Raises:
        UserError: layers out of order, out of range, empty, or not one tuple a scale.
    """

    patch_nums: tuple[int, ...]
    depth: int
    layers: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_nums", tuple(self.patch_nums))
        object.__setattr__(self, "layers", tuple(tuple(scale) for scale in self.layers))
        scales = len(self.layers)
        if scales != len(self.patch_nums):
            raise UserError(
                f"plan with layers for {scales} scales: patch_nums has {len(self.patch_nums)}"
            )
        for scale_index, scale in enumerate(self.layers):
            ascending = list(scale) == sorted(set(scale))
            if not scale or not ascending or scale[0] < 0 or scale[-1] >= self.depth:
                raise UserError(
                    f"plan layers {list(scale)} at scale {scale_index + 1}: need ascending, "
                    f"distinct indices from 0 to {self.depth - 1}, at least one"
                )

    @classmethod
    def full(cls, patch_nums: Sequence[int], depth: int) -> DepthPlan:
        """All layers at all scales."""
        return cls(tuple(patch_nums), depth, (tuple(range(depth)),) * len(patch_nums))

    @classmethod
    def two_zone(
        cls,
        patch_nums: Sequence[int],
        depth: int,
        *,
        subnet_depth: int,
        switch: int,
        selector: str = "equidistant",
    ) -> DepthPlan:
        """VARiant's plan: all layers on scales 1..switch, the subnet on the scales after it.

        Raises `UserError` for a switch outside 0..K, and as `per_scale`.
        """
        count = len(patch_nums)
        if not 0 <= switch <= count:
            raise UserError(f"switch {switch}: the network has {count} scales; use 0 to {count}")
        depths = [depth] * switch + [subnet_depth] * (count - switch)
        select_layers(depth, subnet_depth, selector)
        return cls.per_scale(patch_nums, depth, depths=depths, selector=selector)

    @classmethod
    def per_scale(
        cls,
        patch_nums: Sequence[int],
        depth: int,
        *,
        depths: Sequence[int],
        selector: str = "equidistant",
    ) -> DepthPlan:
        """One subnet depth a scale, coarse to fine.

        Raises `UserError` for another number of depths, and as `select_layers`.
        """
        if len(depths) != len(patch_nums):
            raise UserError(
                f"plan {','.join(map(str, depths))}: {len(depths)} depths for "
                f"{len(patch_nums)} scales; give one a scale"
            )
        layers = tuple(select_layers(depth, d, selector) for d in depths)
        return cls(tuple(patch_nums), depth, layers)

    @classmethod
    def parse(
        cls,
        text: str | Path,
        patch_nums: Sequence[int],
        depth: int,
        *,
        selector: str = "equidistant",
    ) -> DepthPlan:
        """A plan as a command line spells it: `full`, `d8@6`, `8,8,8,4,4`, or a `plan.json`.

        Raises `UserError` for none of these forms, or a file made for another network.
        """
        text = str(text)
        if text.endswith(".json"):
            plan = cls.load(text)
            plan.check_fits(patch_nums, depth, source=text)
            return plan
        if text == "full":
            return cls.full(patch_nums, depth)
        if zones := re.fullmatch(r"d(-?\d{1,9})@(-?\d{1,9})", text):
            d, switch = map(int, zones.groups())
            return cls.two_zone(patch_nums, depth, subnet_depth=d, switch=switch, selector=selector)
        if re.fullmatch(r"-?\d{1,9}(\s*,\s*-?\d{1,9})*", text):
            depths = [int(part) for part in text.split(",")]
            return cls.per_scale(patch_nums, depth, depths=depths, selector=selector)
        raise UserError(
            f"plan {text!r}: use full, d8@6, one depth a scale as 8,8,8,4,4, or a plan.json"
        )

    def check_fits(self, patch_nums: Sequence[int], depth: int, *, source: str = "plan") -> None:
        """Raise `UserError` unless the plan is for a network of this depth and these scales."""
        if self.depth != depth or self.patch_nums != tuple(patch_nums):
            made, has = (",".join(map(str, sides)) for sides in (self.patch_nums, patch_nums))
            raise UserError(
                f"{source}: made for depth {self.depth} and scales {made}; the network has depth "
                f"{depth} and scales {has}"
            )

    def begun(self, scales: int) -> DepthPlan:
        """The plan of a generation that ends after as many scales.

        Raises `UserError` for none, or for more than there are.
        """
        count = len(self.patch_nums)
        if not 1 <= scales <= count:
            raise UserError(f"{scales} scales: the network has {count}; use 1 to {count}")
        return DepthPlan(self.patch_nums[:scales], self.depth, self.layers[:scales])

    def save(self, path: str | Path) -> None:
        """Write the plan, atomically, as JSON that a sampler elsewhere can read."""
        write_json(Path(path), PLAN_FORMAT | {"name": self.name} | asdict(self))

    @classmethod
    def load(cls, path: str | Path) -> DepthPlan:
        """Read a plan that `save` wrote; `UserError` where there is none of ours."""
        try:
            content = read_json(verified(Path(path), listed=False), PLAN_FORMAT)
            patch_nums, depth, layers = (content[key] for key in ("patch_nums", "depth", "layers"))
            if any(type(n) is not int for n in (depth, *patch_nums, *itertools.chain(*layers))):
                raise TypeError("not whole numbers")
            if min(patch_nums) < 1:
                raise ValueError("no such side")
            return cls(tuple(patch_nums), depth, layers)
        except OSError as error:
            raise UserError(f"plan {path}: {error.strerror or 'cannot be read'}") from None
        except UserError as error:
            raise UserError(f"plan {path}: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise UserError(f"plan {path}: not a varant-plan file of version 1") from None

    @property
    def depths(self) -> tuple[int, ...]:
        """Number of layers at each scale."""
        return tuple(len(scale) for scale in self.layers)

    @property
    def is_full(self) -> bool:
        return all(d == self.depth for d in self.depths)

    @property
    def name(self) -> str:
        """`full`, `d8@6`, or one depth a scale (which leaves the choice of layers open)."""
        if self.is_full:
            return "full"
        switch = next(k for k, d in enumerate(self.depths) if d != self.depth)
        late = set(self.layers[switch:])
        if len(late) == 1:
            return f"d{self.depths[switch]}@{switch}"
        return ",".join(map(str, self.depths))

    @property
    def digest(self) -> str:
        """SHA-256 over scales, depth and layers: two plans agree exactly if this does."""
        content = json.dumps([self.patch_nums, self.depth, self.layers])
        return hashlib.sha256(content.encode()).hexdigest()

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Tokens of each scale, p*p."""
        return tuple(p * p for p in self.patch_nums)

    def scales_of(self, layer: int) -> tuple[int, ...]:
        """Scales (0-based, ascending) whose tokens pass `layer`."""
        return tuple(k for k, scale in enumerate(self.layers) if layer in scale)

    @cached_property
    def last_reader(self) -> tuple[int | None, ...]:
        """For each layer the last scale that runs it: once that has run, its cache is dead."""
        scales = (self.scales_of(layer) for layer in range(self.depth))
        return tuple(ks[-1] if ks else None for ks in scales)

    def keeps(self, scale_index: int, layer: int) -> bool:
        """Whether a later scale reads the K and V that `layer` computes at `scale_index`."""
        last = self.last_reader[layer]
        return last is not None and scale_index < last and layer in self.layers[scale_index]

    def context_tokens(self, scale_index: int, layer: int) -> int:
        """Tokens that `layer` attends to at `scale_index`, its own scale's included."""
        return sum(self.tokens[j] for j in self.scales_of(layer) if j <= scale_index)
