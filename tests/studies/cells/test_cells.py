"""What cells say of themselves before they run, and results once they have."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_networks import small_geometry

from analysis.study_file import COMMON_BLOCK
from studies.cells.cell import Evaluation, HeldOut, Network, Site, run_cell
from studies.cells.evaluation import RECONSTRUCTED, Measurement, RealImages, Scoring
from studies.cells.result import CellResult, Measurements, read_result, write_result
from studies.cells.training import Training
from varant import DepthPlan
from varant.evaluation.extractors import extractor_specs
from varant.start.calibration import Speed
from varant.store.workspace import Workspace
from varant.training.config import TrainingConfig
from varant.training.schedule import Schedule

PATCH_NUMS = (1, 2, 3)
GEOMETRY = small_geometry(PATCH_NUMS, 8, depth=4, width=16)
FULL = DepthPlan.full(PATCH_NUMS, 4)
HALF = DepthPlan.two_zone(PATCH_NUMS, 4, subnet_depth=2, switch=0)
HERE = Path("here")
HELD_OUT = HeldOut(
    tokenizer_folder=HERE,
    tokenizer_sha256="t",
    tokens_folder=HERE,
    tokens_digest="u",
    extractors=extractor_specs("digits-24"),
    references=(HERE, HERE),
)
NETWORK = Network(
    model_folder=HERE, model="m", tokens_folder=HERE, tokens_digest="k", held_out=HELD_OUT
)
MEASURED = Evaluation(samples=100, nll_images=40, cfg=0.0, top_k=0, top_p=0.0, seed=0)
LOOKED_AT = MEASURED.model_copy(update={"samples": 0, "nll_images": 0, "select_images": 60})
EVALUATION = Measurement(unit=0, plan=HALF, evaluation=MEASURED)
SCORE = Scoring(unit=0, plan=HALF, evaluation=LOOKED_AT)
REAL = RealImages(unit=0, samples=100)
TRAINING = Training(
    unit=0,
    config=TrainingConfig(budget_images=640, batch=64, schedule=Schedule.full()),
    evaluate_images=500,
    evaluate_every=64,
)
SITE = Site(networks={0: NETWORK}, workspace=Workspace(folder=Path("w")), device="cpu", batch=250)


def test_where_and_how_it_runs_is_no_identity():
    elsewhere = Path("elsewhere")
    held_out = replace(HELD_OUT, tokens_folder=elsewhere, references=(elsewhere, elsewhere))
    network = replace(NETWORK, model_folder=elsewhere, tokens_folder=elsewhere, held_out=held_out)
    for task in (EVALUATION, SCORE, TRAINING, REAL):
        cell = SITE.cell(task)
        moved = replace(cell, network=network, batch=7, device="cuda")
        assert moved != cell
        assert moved.digest == cell.digest
    assert SITE.cell(replace(EVALUATION, plan=FULL)).digest != SITE.cell(EVALUATION).digest
    half = Site(**vars(SITE) | {"networks": {0: replace(NETWORK, precision="bfloat16")}})
    assert half.cell(EVALUATION).digest != SITE.cell(EVALUATION).digest
    assert half.cell(REAL).digest == SITE.cell(REAL).digest


def test_a_trained_network_is_its_training_s_cell():
    cell, training = SITE.cell(replace(EVALUATION, trained=TRAINING)), SITE.cell(TRAINING)
    assert cell.needs == (training.digest,)
    assert cell.network.model == f"cell {training.digest}"
    assert cell.network.model_folder == SITE.workspace.cell(training.digest)
    assert cell.digest != SITE.cell(EVALUATION).digest
    assert SITE.cell(EVALUATION).needs == ()


def test_what_a_plan_is_held_against():
    baseline = EVALUATION.baseline()
    assert baseline == replace(EVALUATION, plan=FULL), "the full network measured alike"
    assert baseline.baseline() is SCORE.baseline() is TRAINING.baseline() is None
    assert EVALUATION.floor() == REAL
    assert EVALUATION.untrained() == (None, None)
    trained = replace(EVALUATION, trained=TRAINING)
    assert trained.untrained() == (EVALUATION, replace(EVALUATION, plan=FULL))
    full, own = replace(trained, plan=FULL), replace(EVALUATION, plan=FULL)
    assert full.untrained() == (EVALUATION, own), "half the layers, at the switch trained for"
    later = replace(TRAINING, config=replace(TRAINING.config, switch=2))
    half = DepthPlan.two_zone(PATCH_NUMS, 4, subnet_depth=2, switch=2)
    assert replace(full, trained=later).untrained() == (replace(EVALUATION, plan=half), own)
    assert own.untrained() == (None, None)


def test_what_is_scored_depends_on_the_unit_s_images_and_every_space():
    others = [
        replace(HELD_OUT, tokens_digest="v"),
        replace(HELD_OUT, extractors=HELD_OUT.extractors[:1]),
        replace(HELD_OUT, reference_digest="r"),
    ]
    for task in (EVALUATION, REAL):
        cell = SITE.cell(task)
        digests = {replace(cell, network=replace(NETWORK, held_out=o)).digest for o in others}
        assert len(digests | {cell.digest}) == 4
    damaged = replace(REAL, rung="scale 1 of another image")
    assert len({SITE.cell(t).digest for t in (REAL, damaged, replace(damaged, draw=1))}) == 3


def test_expected_seconds_follow_images_and_flops():
    speed = Speed(
        training_images_per_second=10.0, nll_images_per_second=20.0, samples_per_second=5.0
    )
    evaluated = 11 * 500 / 20  # before the first step and after each
    assert TRAINING.seconds(speed, GEOMETRY) == pytest.approx(640 / 10 + evaluated)
    watched = replace(TRAINING, gradient_images=7).seconds(speed, GEOMETRY)
    assert watched == pytest.approx((640 + 11 * 7) / 10 + evaluated)
    full = replace(SCORE, plan=FULL).seconds(speed, GEOMETRY)
    assert full == pytest.approx(60 / 20)
    drawn = SCORE.evaluation.model_copy(update={"samples": 50})
    by_distance = replace(SCORE, plan=FULL, evaluation=drawn).seconds(speed, GEOMETRY)
    assert by_distance == pytest.approx(full + 50 / 5 + 50 / RECONSTRUCTED), "and its features"
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
            "nll/mean": Measurements(value=1.5, count=20, replicates=(1.0, 2.0), common=(1.2,)),
            "kv_bytes/peak": Measurements.exact(64),
        },
    )
    rows = list(measured.rows())
    assert [(r["metric"], r["group"], r["value"]) for r in rows] == [
        ("nll/mean", None, 1.5),
        ("nll/mean", 0, 1.0),
        ("nll/mean", 1, 2.0),
        ("nll/mean", COMMON_BLOCK, 1.2),
        ("kv_bytes/peak", None, 64.0),
    ]
    (row,) = CellResult(digest="d", status="failed", error="as planned").rows()
    assert row["metric"] == ""
    assert math.isnan(row["value"])


def test_scores_get_what_units_share_where_an_earlier_version_left_it_out(tmp_path, monkeypatch):
    cell, whole = SITE.cell(REAL), Measurements(value=1.0, count=100, common=(1.1, 0.9))
    alone = replace(whole, common=())
    old = {"fd/a/n100": whole, "mind/a/n100": alone, "kid/a/n100": alone, "class_accuracy": alone}
    known = CellResult(digest=cell.digest, metrics=old, facts={"scores": "mind"})
    assert REAL.lacks(known)
    unshared = dict.fromkeys(old, alone)
    assert not REAL.lacks(replace(known, metrics=unshared)), "nothing is shared"
    write_result(tmp_path, known)
    again = {name: replace(one, value=2.0) for name, one in old.items()}
    again |= {
        name: replace(again[name], common=(2.1, 1.9)) for name in ("mind/a/n100", "kid/a/n100")
    }
    monkeypatch.setattr(RealImages, "labels", lambda task, cell: np.zeros(100))
    monkeypatch.setattr("studies.cells.measuring.score_kept", lambda *of: again)
    found = run_cell(cell, tmp_path)
    assert found.metrics == old | {name: again[name] for name in ("mind/a/n100", "kid/a/n100")}
    assert not REAL.lacks(found)


def test_a_finished_cell_is_kept_where_what_it_lacks_cannot_be_added(tmp_path, monkeypatch):
    cell = SITE.cell(REAL)
    known = CellResult(
        digest=cell.digest, metrics={"fd/a/n100": Measurements(value=1.0, count=100)}
    )
    write_result(tmp_path, known)

    def unable(task, cell):
        raise ValueError("a class too small")

    monkeypatch.setattr(RealImages, "labels", unable)
    assert REAL.lacks(known) and run_cell(cell, tmp_path) == known
    assert read_result(tmp_path, cell.digest) == known
