"""What cells say of themselves before they run, and results once they have."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from studies.cells.evaluation import Measurement
from studies.cells.protocol import Evaluation
from studies.cells.result import CellResult, Measurements
from studies.cells.score import Scoring
from studies.cells.site import Network, Site
from studies.cells.training import Training
from varant import DepthPlan, Geometry
from varant.evaluation.extractors import ExtractorSpec
from varant.start.calibration import Speed
from varant.store.workspace import Workspace
from varant.training.config import TrainingConfig
from varant.training.schedule import Schedule

PATCH_NUMS = (1, 2, 3)
GEOMETRY = Geometry(
    depth=4, width=16, heads=2, patch_nums=PATCH_NUMS, vocab_size=8, code_channels=4, num_classes=3
)
FULL = DepthPlan.full(PATCH_NUMS, 4)
HALF = DepthPlan.two_zone(PATCH_NUMS, 4, subnet_depth=2, switch=0)
MEASUREMENT = Measurement(
    plan=HALF,
    evaluation=Evaluation(
        samples=100, sets=2, nll_images=40, nll_sets=4, cfg=0.0, top_k=0, top_p=0.0, seed=0
    ),
    base_seed=0,
)
SCORING = Scoring(plan=HALF, base_seed=0, select_images=60, select_sets=4)
TRAINING = Training(
    base_seed=0,
    config=TrainingConfig(budget_images=640, batch=64, schedule=Schedule.full()),
    evaluate_images=20,
    evaluate_every=64,
)


def site(folder: str, device: str, sample_batch: int) -> Site:
    """One network, which lies and is run anywhere."""
    network = Network(
        model_folder=Path(folder) / "model",
        model="m",
        tokenizer_sha256="t",
        base_seed=0,
        tokens_folder=Path(folder) / "tokens",
        tokens_digest="k",
        extractor=ExtractorSpec.packaged("digits"),
        reference_path=Path(folder) / "reference",
    )
    return Site(
        networks={0: network},
        workspace=Workspace(folder=Path(folder)),
        device=device,
        sample_batch=sample_batch,
    )


HERE, ELSEWHERE = site("here", "cpu", 250), site("elsewhere", "cuda", 7)


def test_where_and_how_it_runs_is_no_identity():
    of_trained = replace(MEASUREMENT, trained=TRAINING)
    digests = set()
    for task in (MEASUREMENT, SCORING, TRAINING, of_trained):
        cell, moved = task.cell(HERE), task.cell(ELSEWHERE)
        assert moved != cell
        assert moved.digest == cell.digest
        digests.add(cell.digest)
    assert len(digests) == 4
    assert of_trained.cell(HERE).needs == TRAINING.cell(HERE).digest


def test_a_plan_is_compared_with_the_full_network_measured_alike():
    baseline = MEASUREMENT.cell(HERE).baseline()
    assert baseline.digest == replace(MEASUREMENT, plan=FULL).cell(HERE).digest
    assert baseline.baseline() is None
    assert SCORING.cell(HERE).baseline() is None
    assert TRAINING.cell(HERE).baseline() is None


def test_expected_seconds_follow_images_and_flops():
    speed = Speed(
        training_images_per_second=10.0, nll_images_per_second=20.0, samples_per_second=5.0
    )
    assert TRAINING.seconds(speed, GEOMETRY) == pytest.approx(640 / 10)
    full = replace(SCORING, plan=FULL).seconds(speed, GEOMETRY)
    assert full == pytest.approx(60 / 20)
    share = SCORING.seconds(speed, GEOMETRY) / full
    assert 0.4 < share < 0.7
    sampling, likelihood = 100 / 5, 40 / 20
    found = MEASUREMENT.seconds(speed, GEOMETRY)
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
