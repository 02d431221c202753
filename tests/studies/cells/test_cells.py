"""What cells say of themselves before they run, and results once they have."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from small_networks import small_geometry

from studies.cells.cell import Evaluation, Network, Site
from studies.cells.evaluation import Measurement, Scoring
from studies.cells.result import CellResult, Measurements
from studies.cells.training import Training
from varant import DepthPlan
from varant.evaluation.extractors import ExtractorSpec
from varant.start.calibration import Speed
from varant.store.workspace import Workspace
from varant.training.config import TrainingConfig
from varant.training.schedule import Schedule

PATCH_NUMS = (1, 2, 3)
GEOMETRY = small_geometry(PATCH_NUMS, 8, depth=4, width=16)
FULL = DepthPlan.full(PATCH_NUMS, 4)
HALF = DepthPlan.two_zone(PATCH_NUMS, 4, subnet_depth=2, switch=0)
NETWORK = Network(
    model_folder=Path("here"),
    model="m",
    tokenizer_sha256="t",
    base_seed=0,
    tokens_folder=Path("here"),
    tokens_digest="k",
    extractor=ExtractorSpec.packaged("digits-24"),
    reference_path=Path("here"),
)
EVALUATION = Measurement(
    base_seed=0,
    plan=HALF,
    evaluation=Evaluation(
        samples=100, sets=2, nll_images=40, nll_sets=4, cfg=0.0, top_k=0, top_p=0.0, seed=0
    ),
)
SCORE = Scoring(base_seed=0, plan=HALF, select_images=60, select_sets=4)
TRAINING = Training(
    base_seed=0,
    config=TrainingConfig(budget_images=640, batch=64, schedule=Schedule.full()),
    evaluate_images=500,
    evaluate_every=64,
)
SITE = Site(networks={0: NETWORK}, workspace=Workspace(folder=Path("w")), device="cpu", batch=250)


def test_where_and_how_it_runs_is_no_identity():
    elsewhere = Path("elsewhere")
    network = replace(NETWORK, model_folder=elsewhere, tokens_folder=elsewhere)
    network = replace(network, reference_path=elsewhere, base_seed=7)
    for task in (EVALUATION, SCORE, TRAINING):
        cell = SITE.cell(task)
        moved = replace(cell, network=network, batch=7, device="cuda")
        assert moved != cell
        assert moved.digest == cell.digest
    assert SITE.cell(replace(EVALUATION, plan=FULL)).digest != SITE.cell(EVALUATION).digest


def test_a_trained_network_is_its_training_s_cell():
    cell, training = SITE.cell(replace(EVALUATION, trained=TRAINING)), SITE.cell(TRAINING)
    assert cell.needs == training.digest
    assert cell.network.model == f"cell {training.digest}"
    assert cell.network.model_folder == SITE.workspace.cell(training.digest)
    assert cell.digest != SITE.cell(EVALUATION).digest
    assert SITE.cell(EVALUATION).needs is None


def test_a_plan_is_compared_with_the_full_network_measured_alike():
    baseline = EVALUATION.baseline()
    assert baseline == replace(EVALUATION, plan=FULL)
    assert baseline.baseline() is None
    assert SCORE.baseline() is None
    assert TRAINING.baseline() is None


def test_expected_seconds_follow_images_and_flops():
    speed = Speed(
        training_images_per_second=10.0, nll_images_per_second=20.0, samples_per_second=5.0
    )
    assert TRAINING.seconds(speed, GEOMETRY) == pytest.approx(640 / 10)
    full = replace(SCORE, plan=FULL).seconds(speed, GEOMETRY)
    assert full == pytest.approx(60 / 20)
    share = SCORE.seconds(speed, GEOMETRY) / full
    assert 0.4 < share < 0.7
    sampling, likelihood = 100 / 5, 40 / 20
    found = EVALUATION.seconds(speed, GEOMETRY)
    assert found == pytest.approx(share * (sampling + likelihood), abs=1.0)


def test_a_result_has_a_row_for_each_value_and_one_for_its_failure():
    measured = CellResult(
        digest="d",
        status="finished",
        metrics={
            "nll/mean": Measurements(values=(1.0, 2.0), count=10),
            "kv_bytes/peak": Measurements(values=(64.0,), count=0),
        },
    )
    rows = list(measured.rows())
    assert [(r["metric"], r["set"], r["value"]) for r in rows] == [
        ("nll/mean", 0, 1.0),
        ("nll/mean", 1, 2.0),
        ("kv_bytes/peak", None, 64.0),
    ]
    (row,) = CellResult(digest="d", status="failed", error="as planned").rows()
    assert (row["status"], row["metric"]) == ("failed", "")
    assert math.isnan(row["value"])
