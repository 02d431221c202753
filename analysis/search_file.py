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
    """Of a parameter: its share of what all explain of an objective (fANOVA), over forests."""

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
    """A plan that a search looked at, on select images.

    Attributes:
        select_nll: teacher-forced, in nats/token.
        select_distance: Frechet distance of samples to reconstructed select images, where that is
            the search's objective.
        kv: peak bytes an image.
    """

    plan: str
    layers: tuple[tuple[int, ...], ...]
    select_nll: float
    select_distance: float | None = None
    kv: int
    flops: int

    @property
    def minimised(self) -> float:
        """What the search took for its quality; lower is better."""
        return self.select_nll if self.select_distance is None else self.select_distance


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
        """Each front's plan that select images say is best."""
        fronts = {group: front for group, front in self.fronts.items() if front}
        return {g: min(front, key=lambda plan: plan.minimised) for g, front in fronts.items()}


class SearchFile(StudyFile, FoundPlans):
    """Of a search over plans.

    Attributes:
        trained_switch: that the supernet was trained for, as far as that is known.
        image_passes: that the study trained it by; None of one that was given.
        objective: what it minimised on select images.
        score_samples: of a plan, for the distance; 0 where NLL is the objective.
    """

    selectors: tuple[str, ...]
    switch: int
    trained_switch: int | None
    image_passes: int | None = None
    kv_limit_bytes: float
    kv_full_bytes: float
    sampler: str
    weighed: str
    objective: Literal["nll", "distance"] = "nll"
    score_images: int
    score_samples: int = 0

    @property
    def chosen_by(self) -> str:
        """The objective, in words that follow "by"."""
        samples = f"{self.score_samples:,} samples"
        distance = f"Fréchet distance of {samples} to select images"
        return "select NLL" if self.objective == "nll" else distance
