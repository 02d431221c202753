"""The training schedule: which share of steps trains a subnet, and which depth each step draws.

A step is a subnet step with share p, and then a depth is drawn evenly (VARiant, arXiv 2511.16546,
section 3). p is a function of training progress, in [0, 1], and every draw is a function of
(seed, step).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, get_args

import numpy as np
from tyro.conf import arg

from varant.errors import UserError
from varant.flags import Phases, Share, check
from varant.randomness import stream

Kind = Literal["full", "fixed", "progressive", "reversed", "sandwich"]
Draw = Literal["stratified", "independent"]
Ramp = Literal["linear", "cosine", "early", "late"]
KINDS: tuple[str, ...] = get_args(Kind)
RAMPS: tuple[str, ...] = get_args(Ramp)
PAPER_PHASES = (5 / 30, 15 / 30, 10 / 30)  # epochs 5 : 15 : 10
PAPER_SHARES = (0.2, 1.0)
REFERENCE_SHARE = 2 / 3  # the progressive schedule's own mean share
_RAMP_MEANS = {"linear": 1 / 2, "cosine": 1 / 2, "early": 2 / 3, "late": 1 / 3}
_BACKWARDS: dict[Ramp, Ramp] = {"early": "late", "late": "early"}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Subnet share over training progress: constant, then a ramp, then constant.

    Attributes:
        name: says how it was made; `share_at` does not look at it.
        start_share, end_share: p of the first and of the last phase.
        phases: lengths of first phase, ramp and last phase as fractions of the training.
        ramp: how p goes from start to end at progress u of the ramp: `linear` (the paper's),
            `cosine` (1 - cos(pi u)) / 2, `early` 1 - (1 - u)^2, `late` u^2.

    Raises:
        UserError: an unknown name, a share outside 0..1, phases that do not sum to one.
    """

    name: Annotated[Kind, arg(name="schedule")]
    start_share: Share
    end_share: Share
    phases: Phases = PAPER_PHASES
    ramp: Ramp = "linear"

    def __post_init__(self) -> None:
        object.__setattr__(self, "phases", tuple(float(part) for part in self.phases))
        check(self)

    def check(self) -> None:
        if not math.isclose(sum(self.phases), 1.0, abs_tol=1e-6):
            shown = ":".join(f"{part:.6g}" for part in self.phases)
            raise UserError(f"--phases {shown}: sum to {sum(self.phases):.6g}; must sum to 1")

    @classmethod
    def full(cls) -> Schedule:
        """p = 0: the full network goes on training. The control."""
        return cls(name="full", start_share=0.0, end_share=0.0)

    @classmethod
    def fixed(cls, share: float) -> Schedule:
        return cls(name="fixed", start_share=share, end_share=share)

    @classmethod
    def progressive(
        cls,
        start_share: float = PAPER_SHARES[0],
        end_share: float = PAPER_SHARES[1],
        phases: tuple[float, ...] = PAPER_PHASES,
        ramp: Ramp = "linear",
    ) -> Schedule:
        """The paper's: 2:8 for 5 of 30 epochs, a ramp of 15, then 10:0 for 10."""
        shares = {"start_share": start_share, "end_share": end_share}
        return cls(name="progressive", phases=phases, ramp=ramp, **shares)

    def reversed(self) -> Schedule:
        shares = {"start_share": self.end_share, "end_share": self.start_share}
        ramp = _BACKWARDS.get(self.ramp, self.ramp)
        return replace(self, name="reversed", phases=self.phases[::-1], ramp=ramp, **shares)

    @classmethod
    def sandwich_rule(cls) -> Schedule:
        """Every step trains the largest, the smallest and one other depth (BigNAS, 2003.11142)."""
        return cls(name="sandwich", start_share=1.0, end_share=1.0)

    @property
    def sandwich(self) -> bool:
        """Whether shares do not matter."""
        return self.name == "sandwich"

    def check_depths(self, depths: Sequence[int], full_depth: int) -> None:
        """Raise `UserError` unless this schedule can train subnets of these depths."""
        if max(self.start_share, self.end_share) == 0:
            return
        if not depths:
            raise UserError(f"--depths: --schedule {self.name} trains subnets; give their depths")
        check_subnets(depths, full_depth)
        if self.sandwich and len(set(depths)) < 2:
            shown = ",".join(map(str, depths))
            raise UserError(
                f"--depths {shown}: --schedule sandwich trains the smallest and one other; give two"
            )

    def share_at(self, progress: np.ndarray | float) -> np.ndarray:
        """p at training progress in [0, 1]."""
        first, ramp, _ = self.phases
        progress = np.asarray(progress, dtype=float)
        if ramp == 0:  # a jump
            return np.where(progress < first, self.start_share, self.end_share)
        if self.ramp == "linear":
            edges = [0.0, first, first + ramp, 1.0]
            shares = [self.start_share, self.start_share, self.end_share, self.end_share]
            return np.asarray(np.interp(progress, edges, shares))
        u = np.clip((progress - first) / ramp, 0.0, 1.0)
        shapes = {"cosine": (1 - np.cos(np.pi * u)) / 2, "early": 1 - (1 - u) ** 2, "late": u**2}
        risen = shapes[self.ramp]
        return np.asarray(self.start_share + (self.end_share - self.start_share) * risen)

    @property
    def mean_share(self) -> float:
        """p averaged over the training: the fixed share that trains as many subnet steps."""
        _, ramp, last = self.phases
        late = last + _RAMP_MEANS[self.ramp] * ramp  # the weight of the end share
        return (1 - late) * self.start_share + late * self.end_share

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready fields. A linear ramp is not named: digests are older than other ramps."""
        fields = asdict(self) | {"phases": list(self.phases), "sandwich": self.sandwich}
        if self.ramp == "linear":
            del fields["ramp"]
        return fields


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags:
    """Which steps train a subnet."""

    kind: Annotated[Kind, arg(name="schedule")] = "progressive"
    """How the subnet share goes: full is 0 throughout, the control."""
    share: Share = REFERENCE_SHARE
    """Subnet share of --schedule fixed; default: the mean share of the progressive one."""
    start_share: Share = PAPER_SHARES[0]
    """Subnet share of the progressive schedule's first phase."""
    end_share: Share = PAPER_SHARES[1]
    """Subnet share of its last phase."""
    phases: Phases = PAPER_PHASES
    """Its phases' lengths, first, ramp, last, as fractions of the budget; they sum to 1."""
    ramp: Ramp = "linear"
    """Shape of its ramp: linear (the paper's), cosine, early (rises fast at first) or late."""

    def make(self) -> Schedule:
        """The schedule; `UserError` for phases that make none."""
        match self.kind:
            case "full":
                return Schedule.full()
            case "sandwich":
                return Schedule.sandwich_rule()
            case "fixed":
                return Schedule.fixed(self.share)
        ramp = Schedule.progressive(self.start_share, self.end_share, self.phases, self.ramp)
        return ramp.reversed() if self.kind == "reversed" else ramp


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What every step of a training run trains.

    Attributes:
        share_S: (steps,) p of each step; NaN under the sandwich rule.
        depths: for each step the depths that it trains, in order; the network's own depth is a
            pass of the full network.
    """

    share_S: np.ndarray
    depths: tuple[tuple[int, ...], ...]

    @property
    def passes(self) -> Counter[int]:
        """How many passes of a batch each depth gets."""
        return Counter(depth for step in self.depths for depth in step)

    def subnet_S(self, full_depth: int) -> np.ndarray:
        """(steps,) bool: steps that train a subnet only."""
        return np.array([full_depth not in step for step in self.depths])


def draw_steps(
    schedule: Schedule,
    *,
    steps: int,
    depths: Sequence[int],
    full_depth: int,
    seed: int,
    draw: Draw = "stratified",
) -> Draws:
    """Every step's draw; a function of its arguments alone, which fit each other.

    `stratified`: step t is a subnet step where the running sum of p, from a random start in
    [0, 1), passes a whole number, so over any window the number of subnet steps is within one of
    the sum of p. Depths come in shuffled rounds, each depth once a round. `independent`: coin
    flips, as the paper has it; at p = 0.5 they realise shares of 0.44 to 0.56 in short runs.
    """
    share_S = schedule.share_at((np.arange(steps) + 0.5) / steps)
    if schedule.sandwich:
        smallest, *others = sorted(depths)
        middle = _drawn_depths(others, steps, seed, draw)
        triples = tuple((full_depth, smallest, depth) for depth in middle)
        return Draws(share_S=np.full(steps, np.nan), depths=triples)
    if draw == "independent":
        subnet_S = stream(seed, "subnet step").random(steps) < share_S
    else:
        start = stream(seed, "subnet step").random()
        passed_S = np.floor(start + np.cumsum(share_S))
        subnet_S = np.diff(passed_S, prepend=np.floor(start)) > 0
        subnet_S = (subnet_S & (share_S > 0)) | (share_S >= 1)  # whatever the sum's rounding
    drawn = iter(_drawn_depths(depths, int(subnet_S.sum()), seed, draw))
    single = tuple((next(drawn) if subnet else full_depth,) for subnet in subnet_S)
    return Draws(share_S=share_S, depths=single)


def check_subnets(depths: Sequence[int], full_depth: int) -> None:
    """Raise `UserError` unless all are depths of subnets of a network of `full_depth` layers."""
    for depth in depths:
        if not 1 <= depth < full_depth:
            raise UserError(
                f"--depths {depth}: subnets of this network have 1 to {full_depth - 1} of its "
                f"{full_depth} layers"
            )


def _drawn_depths(depths: Sequence[int], count: int, seed: int, draw: Draw) -> list[int]:
    depths = sorted(depths)
    if count == 0:
        return []
    if draw == "independent":
        drawn = stream(seed, "depth").integers(len(depths), size=count).tolist()
    else:
        rounds = range(math.ceil(count / len(depths)))
        drawn = [i for r in rounds for i in stream(seed, "depth", r).permutation(len(depths))]
    return [depths[i] for i in drawn[:count]]
