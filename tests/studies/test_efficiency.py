"""The efficiency study: what it measures, writes and refuses."""

import json
import signal
from dataclasses import replace

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fake_cuda import fake_cuda, on_cuda
from mlflow_runs import artifacts, finished_runs
from small_networks import small_geometry, small_tokenizer
from torch.overrides import TorchFunctionMode

from analysis.efficiency_file import OURS, REFERENCE, EfficiencyFile, load_measured
from analysis.errors import FrameError
from reports import build
from reports.build import load_study
from studies.cells import samplers, tracing
from studies.cells.gauge import run_gauge
from studies.cells.result import kept_result
from studies.cells.samplers import stand_ins
from studies.efficiency import EfficiencyConfig, gauges_of, main, subject_of
from studies.grid import forecast
from studies.grid.costs import plan_facts
from studies.rehearsal import write_pareto
from varant import DepthPlan, UserError, plan_cost
from varant.flags import flags_of
from varant.manifest import record
from varant.model.precision import hold
from varant.signals import Stopped, raised_signals, taken
from varant.store.workspace import Workspace

PARTS = ["--part", "sampling,training"]


def config_of(*flags):
    return flags_of(EfficiencyConfig, None, list(map(str, flags)))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A quick study's workspace."""
    workspace = tmp_path_factory.mktemp("runs")
    config = config_of("--quick", *PARTS, "--repeats", 1, "--workspace", workspace)
    main(config, "test")
    return workspace


def test_what_was_measured_is_not_measured_again(study, monkeypatch):
    config = config_of("--quick", *PARTS, "--repeats", 1)
    gauges = gauges_of(config, subject_of(config))
    assert len(gauges) == 6
    for gauge in gauges:
        monkeypatch.setattr(type(gauge), "measure", None)
        result = run_gauge(gauge, Workspace(folder=study))
        assert {row["part"] for row in result.facts["rows"]} == {gauge.part}
        other = replace(gauge, subject=replace(gauge.subject, code="other"))
        assert other.digest != gauge.digest


def test_a_cell_that_fails_is_a_result_until_it_is_asked_for_again(tmp_path, monkeypatch):
    config = config_of("--quick")
    machine, workspace = gauges_of(config, subject_of(config))[0], Workspace(folder=tmp_path)
    monkeypatch.setattr(type(machine), "measure", lambda self: [1 / 0])
    found = run_gauge(machine, workspace)
    assert found.status == "failed" and found.error == "ZeroDivisionError: division by zero"
    monkeypatch.setattr(type(machine), "measure", lambda self: [])
    assert run_gauge(machine, workspace) == found
    assert run_gauge(machine, workspace, again=True).status == "finished"


def test_a_signal_that_an_extension_made_an_error_of_is_no_failure(tmp_path, monkeypatch):
    config = config_of("--quick")
    machine, workspace = gauges_of(config, subject_of(config))[0], Workspace(folder=tmp_path)

    def measure(gauge):
        try:
            signal.raise_signal(signal.SIGTERM)
        except Stopped:
            raise RuntimeError("an extension's") from None

    monkeypatch.setattr(type(machine), "measure", measure)
    with raised_signals():
        with pytest.raises(Stopped):
            run_gauge(machine, workspace)
        assert taken() == signal.SIGTERM, "or whoever asks next is stopped, too"
    assert kept_result(workspace.cell(machine.digest), machine.digest) is None


def test_the_quick_study_leaves_its_numbers(study, capsys):
    folder = study / "efficiency-quick"
    file = EfficiencyFile.load(folder / "study.json")
    frame = load_measured(folder / "frame.parquet")
    assert file.quick and file.failed == {} and list(file.plans) == ["full", "d2@3"]
    sampling = frame[frame["part"] == "sampling"]
    drawn = set(sampling[["style", "subject"]].itertuples(index=False, name=None))
    assert drawn == {(REFERENCE, "full"), (OURS, "full"), (OURS, "d2@3")}
    wholes = sampling[sampling["stage"].isna()].pivot_table(
        index=["style", "subject"], columns="metric", values="value"
    )
    stages = sampling[sampling["stage"].notna()].pivot_table(
        index=["style", "subject"], columns="metric", values="value", aggfunc=["sum", "max"]
    )
    # Stages are all of a generation, but for what lies before the first and after the last.
    assert (stages["sum", "seconds"] <= wholes["seconds"]).all()
    assert (stages["sum", "seconds"] > 0.7 * wholes["seconds"]).all()
    # Tensors without content hold what real ones do, but for what kernels choose.
    peak, predicted = stages["max", "bytes/peak"], stages["max", "bytes/predicted"]
    assert (abs(predicted / peak - 1) < 0.05).all()
    for plan in file.plans:
        assert wholes.loc[(OURS, plan), "bytes/kv"] == file.plans[plan].kv_bytes
    reference = wholes.loc[(REFERENCE, "full"), "bytes/kv"]
    assert reference == file.plans["full"].kv_bytes_reference
    assert peak[REFERENCE, "full"] > peak[OURS, "full"] > peak[OURS, "d2@3"]
    trained = frame[(frame["part"] == "training") & (frame["metric"] == "bytes/fixed")]
    fixed = trained.set_index("stage")["value"]
    assert fixed["optimiser"] > 2 * fixed["parameters"] == 2 * fixed["gradients"]


def test_it_is_recorded_with_its_answer(study):
    runs = finished_runs(study, "efficiency-quick")
    parents = [run for run in runs if "config_digest" in run.data.tags]
    assert len(parents) == 1 and len(runs) == 7  # cells, each once
    assert parents[0].data.tags["verdict C5"] == "reproduced"
    assert {"report.pdf", "study.json", "figures"} <= artifacts(study, parents[0])
    latency = next(run for run in runs if run.info.run_name == "latency, batch 1")
    assert latency.data.metrics["seconds/ours d2 at 3"] > 0


def test_its_report_is_rebuilt_the_same_and_says_the_setting(study):
    folder = study / "efficiency-quick"
    before = (folder / "report.pdf").read_bytes()
    paths = build(folder)
    assert paths.pdf.read_bytes() == before
    names = {path.stem for path in paths.figures}
    assert names == {"latency", "speedup", "memory_course", "memory"}
    record = json.loads(paths.answer.read_text())["record"]
    assert record["geometry"] == "tiny" and record["sampling"]["1"]["d2@3"]["peak_bytes"] > 0
    with pytest.raises(FrameError, match="study efficiency has no units to pool or compare"):
        load_study(folder)


def test_a_damaged_frame_is_named(study, tmp_path):
    frame = pd.read_parquet(study / "efficiency-quick" / "frame.parquet")
    for change, said in (
        (lambda f: f.drop(columns="stage"), "missing columns stage"),
        (lambda f: f.assign(metric="speed"), "metric 'speed' is not one"),
        (lambda f: pd.concat([f, f]), "has two values"),
    ):
        change(frame).to_parquet(tmp_path / "frame.parquet")
        record(tmp_path / "frame.parquet", fresh=True)
        with pytest.raises(FrameError, match=said):
            load_measured(tmp_path / "frame.parquet")


def test_a_dry_run_predicts_bytes_and_seconds_of_every_stage(tmp_path, capsys):
    flags = ["--quick", *PARTS, "--workspace", tmp_path / "runs", "--dry-run"]
    main(config_of(*flags), "test")
    said, err = capsys.readouterr()
    assert "warning: --repeats 2: no verdict on C7b below 5 turns\n" in err
    assert not (tmp_path / "runs").exists()
    for word in ("condition", "decode", "reference style, batch 1", "d2@3, batch 1", "tokenising"):
        assert word in said
    assert "calibrated: matrix" in said and "training: at least" in said


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--part", "memory"], "--part memory: use one of sampling, training, overheads"),
        (["--repeats", "0"], "--repeats 0: must be at least 1"),
        (["--batch", "4,0"], "--batch 0: must be at least 1"),
        (["--geometry", "d12"], "--geometry d12: use one of tiny, small, d16"),
        (["--device", "tpu"], "--device tpu: use cpu"),
        (["--device", "cuda:7"], "--device cuda:7: "),
        (["--precision", "float16"], "--precision float16: "),
        (["--precision", "int8"], "--precision int8: use one of"),
        (["--plans", "d40@3"], "--plans d40@3: depth 40"),
        (["--plans", "1,2"], "--plans 1,2: "),
    ],
)
def test_bad_flags(tmp_path, flags, message):
    with pytest.raises(UserError, match=message):
        main(config_of("--workspace", tmp_path / "runs", *flags), "test")
    assert not (tmp_path / "runs").exists()


def test_a_plan_of_another_network_is_refused(tmp_path):
    DepthPlan.full((1, 2, 3), 4).save(tmp_path / "plan.json")
    flags = ["--plans", tmp_path / "plan.json", "--workspace", tmp_path / "runs"]
    with pytest.raises(UserError, match="made for depth 4 and scales 1,2,3; the network has"):
        main(config_of(*flags), "test")


def test_a_batch_that_cannot_fit_is_refused_and_the_largest_named(tmp_path, monkeypatch):
    subject = subject_of(config_of("--geometry", "tiny"))
    monkeypatch.setattr(forecast, "free_bytes", lambda device: 2**30)
    with pytest.raises(
        UserError, match=r"--batch 10000: needs .* the largest that fits is "
    ) as bad:
        forecast.check_fits(subject, 10_000)
    fits = int(str(bad.value).split()[-1])
    assert 100 < fits < 10_000
    forecast.check_fits(subject, fits)
    monkeypatch.setattr(forecast, "free_bytes", lambda device: 1000)
    with pytest.raises(UserError, match="not even one image fits"):
        forecast.check_fits(subject, 1)
    with pytest.raises(UserError, match=r"--part training: needs at least .* leave it out"):
        forecast.check_training_fits(subject, 1)


@pytest.fixture(scope="module")
def published():
    """VAR-d30 in half precision and its samplers by plan, on tensors without content."""
    subject = subject_of(config_of("--geometry", "d30", "--precision", "bfloat16"))
    return subject, {one.plan.name: one for one in stand_ins(subject) if one.style == OURS}


PUBLISHED_MIB = {"full": 11_925, "d16@6": 6_360, "d8@6": 3_180, "d4@6": 1_590, "d2@6": 1_580.625}


@pytest.mark.parametrize(("plan", "mib"), PUBLISHED_MIB.items())
def test_kv_of_the_published_network_in_half_precision(published, plan, mib):
    """At batch 64, as `generate` holds it (PAPER's table)."""
    subject, ours = published
    assert ours.keys() == PUBLISHED_MIB.keys()
    sampler = ours[plan]
    stages = forecast.predicted_stages(sampler, 64)
    cost = plan_cost(subject.geometry, sampler.plan, batch=64, kv_bytes=2)
    assert cost.kv_bytes_peak == mib * 2**20
    assert plan_facts(subject.geometry, sampler.plan, "bfloat16").kv_bytes * 64 == mib * 2**20
    # Between scales nothing but the cache is of its size: within one layer's scratch.
    held = max(one.peak_bytes for one in stages if one.stage == "map")
    assert 0 <= held - cost.kv_bytes_peak <= cost.kv_bytes_scratch


class FusedAttention(TorchFunctionMode):
    """As a fused kernel does it, on whatever tensors: its output and nothing else."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            return torch.add(args[0], 0)
        return func(*args, **(kwargs or {}))


def test_a_card_holds_what_is_predicted_for_it(monkeypatch):
    """Stage by stage, on fake tensors; what the reference's style casts is foretold by a CPU's."""
    monkeypatch.setattr(tracing, "_MetaAttention", FusedAttention)
    sides = (1, 2, 3)
    subject = replace(
        subject_of(config_of("--geometry", "tiny", "--precision", "bfloat16")),
        geometry=small_geometry(sides, 16, depth=2),
        tokenizer=small_tokenizer(sides, 16, phis=2),
        plans=(DepthPlan.full(sides, 2), DepthPlan.parse("d1@1", sides, 2)),
    )
    predicted = [samplers.predicted_stages(one, 3) for one in stand_ins(subject)]
    ours, reference = samplers._made(subject, "meta"), samplers._made(subject, "meta")
    with fake_cuda():
        ours, reference = on_cuda(*ours), on_cuda(*reference)
        hold(*ours, "bfloat16")
        there = samplers._samplers(subject, ours, reference)
        held = [samplers.predicted_stages(one, 3) for one in there]
    assert [one.style for one in there] == [REFERENCE, OURS, OURS]
    for found, expected, within in zip(held, predicted, (0.005, 0, 0), strict=True):
        peaks, foretold = ([(s.stage, s.peak_bytes) for s in of] for of in (found, expected))
        assert [stage for stage, _ in peaks] == [stage for stage, _ in foretold]
        for (stage, peak), (_, before) in zip(peaks, foretold, strict=True):
            assert peak == pytest.approx(before, rel=within), stage


def test_a_rehearsal_is_a_study_that_reports_take(tmp_path):
    folder = write_pareto(tmp_path / "made up", 60)
    assert load_study(folder).units == (0,)
