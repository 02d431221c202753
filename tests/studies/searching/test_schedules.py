"""The search over schedules: parameters and importances on known numbers."""

from __future__ import annotations

import numpy as np
import optuna

from analysis.searches.schedules import PARAMETERS
from studies.searching import schedules
from studies.searching.schedules import PAPER, fixed_points, importances_of, params_of, schedule_of
from varant.training.schedule import Schedule


def test_parameters_and_schedules_are_inverse():
    for schedule in (
        Schedule.progressive(),
        Schedule.progressive().reversed(),
        Schedule.progressive(0.1, 0.7, (0.3, 0.2, 0.5), "late"),
        Schedule.fixed(0.4),
    ):
        again = schedule_of(params_of(schedule))
        progress = np.linspace(0, 1, 50)
        np.testing.assert_allclose(
            again.share_at(progress), schedule.share_at(progress), atol=1e-12
        )
        assert again.name == schedule.name


def test_fixed_points_are_the_papers_and_its_rivals():
    points = fixed_points()
    assert next(iter(points)) == PAPER
    paper = points[PAPER]
    assert (paper.start_share, paper.end_share) == (0.2, 1.0)
    np.testing.assert_allclose(paper.phases, (5 / 30, 15 / 30, 10 / 30))
    backwards = points["reversed"]
    np.testing.assert_allclose(backwards.share_at(0.1), 1.0)
    np.testing.assert_allclose(backwards.share_at(0.95), 0.2)


def test_importances_find_the_parameter_that_matters(monkeypatch):
    monkeypatch.setattr(schedules, "TREES", 16)
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=["minimize", "minimize"])
    distributions = {
        name: optuna.distributions.FloatDistribution(0, 1) for name in PARAMETERS[:4]
    } | {PARAMETERS[4]: optuna.distributions.CategoricalDistribution(("linear", "late"))}
    for _ in range(40):
        params = {name: float(rng.random()) for name in PARAMETERS[:4]}
        params[PARAMETERS[4]] = str(rng.choice(["linear", "late"]))
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                values=[3 * params[PARAMETERS[1]], params[PARAMETERS[2]]],
            )
        )
    found = importances_of(study.get_trials(), seed=0)
    assert found["full"][PARAMETERS[1]].mean > 0.8
    assert found["subnets"][PARAMETERS[2]].mean > 0.8
    assert all(value.sd >= 0 for values in found.values() for value in values.values())
    assert importances_of(study.get_trials()[:5], seed=0) == {}
