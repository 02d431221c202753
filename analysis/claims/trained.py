"""Trained networks as claims see them: which plans are the paper's, and what counts as no loss.

The analogue of the paper's d16 and d8 of 30 layers are half and a quarter of the layers, at the
switch point that models were trained for; other switch points never decide.

Margins are shares of the damage that the same plan has on the network that training began from, see
`analysis.statistics.noninferiority`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from analysis.claims.rows import Evidence, Line
from analysis.claims.rules import Answer, Loss, Question, no_losses, remains
from analysis.metrics import Metric
from analysis.statistics.choices import half_of
from analysis.statistics.levels import FULL, Levels, Place, PlanKey, Way
from analysis.statistics.noninferiority import FEWER_MARGIN, FULL_MARGIN, HALF_MARGIN
from analysis.study_file import ParetoFile

PAPERS = "the paper's setting"


@dataclass(frozen=True, kw_only=True)
class Trained:
    study: ParetoFile
    levels: Levels

    def subnet(self, parts: int, *, switch: int | None = None) -> PlanKey | None:
        """The plan of one in `parts` of the layers after `switch` (that trained for); None where it
        was not measured."""
        depth = max(1, self.study.geometry.depth // parts)
        if depth not in self.study.depths:
            return None
        at = self.study.train_switch if switch is None else switch
        return PlanKey(subnet_depth=depth, switch=at)

    @property
    def half(self) -> PlanKey | None:
        study = self.study
        return half_of(study.geometry.depth, study.depths, study.train_switch)

    @property
    def shallowest(self) -> PlanKey | None:
        """The plan of the fewest layers, where these are fewer than a quarter."""
        depth = min(self.study.depths, default=None)
        if depth is None or depth >= max(1, self.study.geometry.depth // 4):
            return None
        return PlanKey(subnet_depth=depth, switch=self.study.train_switch)

    def progressive(self, switch: int | None = None) -> Way | None:
        """The progressive schedule trained for `switch` (the study's); None without one."""
        at = self.study.train_switch if switch is None else switch
        ways = (way for way in self.levels.ways if way.of_paper("progressive"))
        return next((way for way in ways if way.train_switch == at), None)

    @property
    def fixed_ends(self) -> tuple[Way, Way] | None:
        """The fixed schedules of the smallest and of the largest share, where there are two."""
        fixed = sorted(self.levels.fixed, key=lambda way: way.share or 0.0)
        return (fixed[0], fixed[-1]) if len(fixed) > 1 else None

    def margin(self, plan: PlanKey) -> float:
        """What counts as no loss of this plan, as a share of the untrained damage."""
        if plan.is_full:
            return FULL_MARGIN
        return HALF_MARGIN if plan == self.half else FEWER_MARGIN

    def loss(
        self, label: str, metric: Metric, place: Place, *, against: Place | None = None
    ) -> Loss:
        """Of a place against another: by default the full network that training began from."""
        _, plan = place
        damaged = (self.half or FULL) if plan.is_full else plan
        levels, name = self.levels, metric.name
        return Loss(
            label=label,
            observed=levels.paired(place, against, name) if against else levels.loss(place, name),
            untrained=levels.untrained(damaged, name),
            margin=self.margin(plan),
        )

    def no_loss(
        self,
        question: Question,
        way: Way | None,
        plan: PlanKey | None,
        *,
        among: Sequence[PlanKey | None] = (),
        margin: float | None = None,
    ) -> tuple[Line, ...]:
        """The lines of a claim that a plan of a way to train loses nothing against the base.

        Args:
            among: plans any of which would contradict the claim; `plan` may be one.
            margin: default: that of the plan.
        """

        def ask(metric: Metric) -> Answer | None:
            if way is None or plan is None:
                return None
            label = f"{way.name}, {plan.label}: no worse than the base's full network"
            others = [one for one in among if one and one != plan] if plan in among else []
            losses = [self.loss(label, metric, (way.name, one)) for one in (plan, *others)]
            if margin is not None:
                losses = [replace(loss, margin=margin) for loss in losses]
            if not losses[0].paired[0]:
                return None
            tests = no_losses(metric, [loss for loss in losses if loss.paired[0]])
            assert tests is not None, "losses without units are left out"
            tests = tests[:1]
            return Answer(
                tests=tests,
                supports=tests[0].outcome > 0,
                contradicts=tests[0].outcome < 0,
                said=remains(tests[0], full=plan.is_full),
                heads=("no loss", "beyond the margin"),
                beside=self._control(metric) if plan.is_full else (),
            )

        return question.lines(self.study, self.levels.metrics, ask)

    def _control(self, metric: Metric) -> tuple[Evidence, ...]:
        """What training on without subnet steps does to the full network: shown only."""
        if self.levels.control is None:
            return ()
        label = f"{self.levels.control.name}, full: no worse than the base's (decides nothing)"
        found = no_losses(metric, [self.loss(label, metric, (self.levels.control.name, FULL))])
        return tuple(replace(test, outcome=0) for test in found or ())
