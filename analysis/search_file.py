"""`study.json` of the searches, over schedules and over plans: what they looked at and found."""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import model_validator

from analysis.study_file import Facts, StudyFile, SupernetFile, Zone


class TrialFacts(Facts):
    """A trial of a search over schedules.

    Attributes:
        label: of a fixed point, None for what the search proposed.
        parameters: name to value, those that the search varies.
        curve: subnet shares over training progress from 0 to 1.
        full, subnets: its objectives; None where it did not finish.
    """

    number: int
    label: str | None
    status: Literal["finished", "failed"]
    parameters: Mapping[str, float | str]
    phases: tuple[float, ...]
    mean_share: float
    curve: tuple[float, ...]
    digest: str
    full: float | None = None
    subnets: float | None = None


class Importance(Facts):
    """Over forests."""

    mean: float
    sd: float


class FoundSchedules(Facts):
    """What a search over schedules found. `winners`: numbers of trials, by what they won."""

    trials: tuple[TrialFacts, ...]
    winners: Mapping[str, int]
    importances: Mapping[Zone, Mapping[str, Importance]]

    @model_validator(mode="after")
    def _winners_are_trials(self) -> Self:
        numbers = {trial.number for trial in self.trials}
        for name, number in self.winners.items():
            if number not in numbers:
                raise ValueError(f"winner {name!r} is trial {number}, which is none of its trials")
        return self

    @property
    def won(self) -> dict[str, TrialFacts]:
        trials = {trial.number: trial for trial in self.trials}
        return {name: trials[number] for name, number in self.winners.items()}


class ScheduleFile(SupernetFile, FoundSchedules):
    """Of a search over schedules. `reference`: the label that the winners are compared with."""

    train_switch: int
    reference: str
    search_seed: int
    score_images: int
    importance_evaluator: str
    sampler: str
    storage: str


class ScoredPlan(Facts):
    """A plan that a search looked at: select NLL in nats/token, peak KV bytes an image."""

    plan: str
    layers: tuple[tuple[int, ...], ...]
    select_nll: float
    kv: int
    flops: int


class FoundPlans(Facts):
    """What a search over plans found.

    Attributes:
        fronts: "two-zone" and "found", by ascending cost.
        ranked: depth to the layers that ranking keeps.
    """

    scored: tuple[ScoredPlan, ...]
    fronts: Mapping[str, tuple[ScoredPlan, ...]]
    ranked: Mapping[int, tuple[int, ...]]

    @property
    def best(self) -> dict[str, ScoredPlan]:
        """Each front's plan with the least select NLL."""
        fronts = {group: front for group, front in self.fronts.items() if front}
        return {g: min(front, key=lambda plan: plan.select_nll) for g, front in fronts.items()}


class SearchFile(StudyFile, FoundPlans, extra="forbid"):
    """Of a search over plans.

    Attributes:
        trained_switch: that the supernet was trained for, as far as that is known.
        image_passes: that the study trained it by; None of one that was given.
    """

    selectors: tuple[str, ...]
    switch: int
    trained_switch: int | None
    image_passes: int | None = None
    kv_limit_bytes: float
    kv_full_bytes: float
    sampler: str
    weighed: str
    score_images: int
