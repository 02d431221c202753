"""A run that is stopped in any way ends as the run that was not."""

import errno
import json
import random
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest
import small_run
import torch
from safetensors.torch import load_file

import varant
from varant import UserError
from varant.errors import Diverged
from varant.training import resume as checkpoints, trainer as trainer_module
from varant.training.resume import CheckpointFolder, DamagedCheckpoint, RunState
from varant.training.run import TIMES, RunFolder, read_metrics

SELDOM = 1000.0  # seconds between checkpoints: one at the end


def lines_of(folder: Path) -> list[dict]:
    """Metric lines but for times."""
    return [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(folder)]


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    name = f"step-{small_run.STEPS:08d}"
    return load_file(folder / "checkpoints" / name / "state.safetensors")


def assert_same_run(folder: Path, other: Path) -> None:
    assert lines_of(folder) == lines_of(other)
    state, expected = final_state(folder), final_state(other)
    assert state.keys() == expected.keys()
    assert any(name.startswith("optimiser/exp_avg_sq/") for name in state)
    for name, tensor in state.items():
        assert torch.equal(tensor, expected[name]), name
    facts, others = (
        json.loads((f / f"checkpoints/step-{small_run.STEPS:08d}/facts.json").read_text())
        for f in (folder, other)
    )
    assert facts["recent"] == others["recent"]
    assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    small_run.run(folder)
    return folder


def kill_at_random(folder: Path, rng: random.Random, moments: int) -> None:
    """Start, kill at a random step and moment of it, again and again, then let it end."""
    for _ in range(moments):
        # A write after every step, or seldom, so that metric lines run ahead of checkpoints.
        seconds = rng.choice([0, 0.1])
        process = small_run.Process(folder, slow_step=0.005, checkpoint_seconds=seconds)
        metrics = folder / "metrics.jsonl"
        wanted = rng.randrange(small_run.STEPS)
        pause = rng.random() * 0.03  # about a step: the kill lands in training or in a write
        while process.running:
            if metrics.exists() and metrics.read_bytes().count(b"\n") > wanted:
                break
            time.sleep(0.002)
        time.sleep(pause)
        if process.running:
            process.send(signal.SIGKILL)
        process.end()
    code, text = small_run.Process(folder, checkpoint_seconds=SELDOM).end()
    assert code == 0, text


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_a_random_moment_and_resumed(whole, tmp_path, seed):
    kill_at_random(tmp_path / "run", random.Random(seed), 1)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 106))
def test_killed_at_five_random_moments_of_one_run(whole, tmp_path, seed):
    kill_at_random(tmp_path / "run", random.Random(seed), 5)
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.parametrize("file", ["state.safetensors", "facts.json", "manifest.json", "rename"])
def test_killed_inside_a_checkpoint_write(whole, tmp_path, monkeypatch, file):
    """At each point of a write what is on the disk leads to the same end."""
    folder, writes = tmp_path / "run", 0

    class Killed(BaseException):
        pass

    def dying(path: Path) -> None:
        nonlocal writes
        writes += path.name == "state.safetensors"
        if writes == 7 and (path.name == file or (file == "rename" and path.name == "checkpoints")):
            raise Killed

    # SIGKILL runs no clean-up.
    monkeypatch.setattr(checkpoints, "sync", dying)
    with monkeypatch.context() as within:
        within.setattr(checkpoints.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(Killed):
            small_run.run(folder)
    monkeypatch.undo()
    small_run.run(folder, checkpoint_seconds=SELDOM)
    assert_same_run(folder, whole)


def test_a_finished_run_loads_and_its_parts_are_there(whole):
    tokenizer, model = varant.load(whole)
    averaged = final_state(whole)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, averaged[f"averaged/{name}"]), "EMA weights are the result"
    sample = varant.generate(model, tokenizer, torch.tensor([0, 1]), plan="d1@1", seed=0)
    assert sample.images.shape[0] == 2
    lines = read_metrics(whole)
    assert [line["step"] for line in lines] == list(range(small_run.STEPS + 1))
    assert "select/nll/mean/d1@1" in lines[0], "evaluated before training"
    evaluated = [line["images_seen"] for line in lines if "select/nll/mean/full" in line]
    assert evaluated == [0, 104, 200, 304, 400, 480], "after every 100 images, and at the end"
    assert all(0 < line["time_share/checkpoint"] < 1 for line in lines[2:])
    kept = sorted(path.name for path in (whole / "checkpoints").iterdir())
    assert kept == ["latest", "step-00000059", "step-00000060"]


def test_evaluations_are_logged_between_logged_steps(whole, tmp_path):
    small_run.run(tmp_path, log_every=25, checkpoint_seconds=SELDOM)
    every = {line["step"]: line for line in lines_of(whole)}
    lines = lines_of(tmp_path)
    assert [line["step"] for line in lines] == [0, 13, 25, 38, 50, 60]
    assert all(line == every[line["step"]] for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_signals_save_within_a_step_and_exit_with_75(whole, tmp_path, number):
    folder = tmp_path / "run"
    process = small_run.Process(folder, slow_step=0.02, checkpoint_seconds=SELDOM)
    metrics = folder / "metrics.jsonl"
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 10):
        assert process.running
        time.sleep(0.005)
    before = metrics.read_bytes().count(b"\n")
    process.send(number)
    code, text = process.end()
    assert code == 75, text
    saved = CheckpointFolder(folder=folder / "checkpoints").latest(pytest.fail)
    assert f"stopped after step {saved.step} of 60" in text
    assert saved.step <= before + 1, "within one step"
    assert not (folder / "config.json").exists()
    small_run.run(folder, checkpoint_seconds=SELDOM)
    assert_same_run(folder, whole)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    """A run that ended after 20 steps, both newest checkpoints whole."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(small_run.Stop):
        small_run.run(folder, stop_step=20)
    return folder


DAMAGES = {
    "flipped bit": lambda p: p.write_bytes(p.read_bytes()[:-9] + b"\x07" + p.read_bytes()[-8:]),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
    "missing": lambda p: p.unlink(),
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.parametrize("file", ["state.safetensors", "facts.json", "manifest.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    whole, stopped, tmp_path, capsys, damage, file
):
    folder = shutil.copytree(stopped, tmp_path / "run")
    DAMAGES[damage](folder / "checkpoints" / "step-00000019" / file)
    small_run.run(folder, checkpoint_seconds=SELDOM)
    said = capsys.readouterr().err
    assert "warning: " in said
    assert "step-00000019" in said
    if damage != "missing" and file == "state.safetensors":
        assert "step-00000019/state.safetensors: damaged (its SHA-256" in said
    if damage == "missing":
        assert f"step-00000019/{file}: missing" in said
    assert_same_run(folder, whole)


def test_no_good_checkpoint_is_an_error_and_nothing_is_lost(stopped, tmp_path):
    folder = shutil.copytree(stopped, tmp_path / "run")
    for state in folder.glob("checkpoints/step-*/state.safetensors"):
        state.write_bytes(b"")
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    with pytest.raises(UserError, match="no checkpoint in it is whole; delete"):
        small_run.run(folder)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before


def test_a_full_disk_leaves_the_last_good_checkpoint(whole, tmp_path, monkeypatch):
    folder, saves = tmp_path / "run", 0
    real = checkpoints.write_tensors

    def full(path, tensors):
        nonlocal saves
        saves += 1
        if saves == 15:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return real(path, tensors)

    with monkeypatch.context() as within:
        within.setattr(checkpoints, "write_tensors", full)
        with pytest.raises(OSError, match="No space left"):
            small_run.run(folder)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["latest", "step-00000013", "step-00000014"]
    small_run.run(folder, checkpoint_seconds=SELDOM)
    assert_same_run(folder, whole)


def test_damage_does_not_make_good_checkpoints_go(tmp_path):
    """A damaged newest one must not count as one of the two that are kept."""
    store = CheckpointFolder(folder=tmp_path)
    for step in (10, 20):
        store.save(RunState(step=step, tensors={"x": torch.ones(3)}, facts={}))
    (tmp_path / "step-00000020" / "state.safetensors").write_bytes(b"")
    warned = []
    assert store.latest(warned.append).step == 10
    for step in (11, 12):
        store.save(RunState(step=step, tensors={"x": torch.ones(3)}, facts={}))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "latest",
        "step-00000011",
        "step-00000012",
    ]
    shutil.rmtree(tmp_path / "step-00000012")
    assert store.latest(warned.append).step == 11
    assert f"{tmp_path / 'step-00000012'}: missing" in warned[-1]
    shutil.rmtree(tmp_path / "step-00000011")
    with pytest.raises(DamagedCheckpoint, match="no checkpoint"):
        store.latest(warned.append)


def test_divergence_keeps_the_last_good_state(tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Diverged, match="diverged at step 13"):
        small_run.run(folder, nan_step=12, checkpoint_seconds=SELDOM)
    saved = CheckpointFolder(folder=folder / "checkpoints").latest(pytest.fail)
    assert saved.step == 12
    assert not (folder / "config.json").exists()
    assert lines_of(folder)[-1]["step"] == 12


def test_a_run_that_ends_worse_than_it_began_says_so_in_its_record(
    whole, tmp_path, capfd, monkeypatch
):
    note = json.loads((whole / "config.json").read_text())["note"]
    assert "worse" not in note
    monkeypatch.setattr(trainer_module, "DIVERGENCE_NATS", 1e9)
    trainer = small_run.run(tmp_path / "run", lr=3.0, checkpoint_seconds=SELDOM)
    said = capfd.readouterr().err
    assert said.count("warning:") == 1
    note = json.loads((tmp_path / "run" / "config.json").read_text())["note"]
    assert f"{tmp_path / 'run'}: {note['worse']}" in said
    first, last = (lines_of(tmp_path / "run")[i]["select/nll/mean/d1@1"] for i in (0, -1))
    assert f"d1@1 {first:.3f} -> {last:.3f}" in note["worse"]
    began, ended = trainer.losses  # which speak for a run without evaluations
    assert ended.keys() == {"full", "d1@1", "d2@1"}
    assert all(loss > began[plan] + 1 for plan, loss in ended.items())


def test_a_folder_is_one_run_s(whole, tmp_path):
    identity = json.loads((whole / "training.json").read_text())["identity"]
    run = RunFolder(folder=whole, identity=identity)
    run.claim()
    changed = json.loads(json.dumps(identity))
    changed["training"]["schedule"]["end_share"] = 0.5
    message = r"holds another run \(training.schedule.end_share was 1.0, is 0.5\)"
    with pytest.raises(UserError, match=message):
        RunFolder(folder=whole, identity=changed).claim()
    with run.locked(), pytest.raises(UserError, match="another process is training there"):  # noqa: SIM117
        with run.locked():
            pass
    foreign = tmp_path / "foreign"
    tokenizer, model = varant.load(whole)
    varant.save(foreign, tokenizer, model)
    with pytest.raises(UserError, match="holds a checkpoint that was not trained there"):
        RunFolder(folder=foreign, identity={}).claim()
    (tmp_path / "training.json").write_text("{")
    with pytest.raises(UserError, match=r"training.json: damaged"):
        RunFolder(folder=tmp_path, identity={}).claim()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def run_ranks(folder: Path, options: list[dict[str, object]]) -> list[tuple[int | None, str]]:
    """One process a rank; exit code and stderr of each."""
    common = {
        "WORLD_SIZE": str(len(options)),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": free_port(),
    }
    processes = [
        small_run.Process(folder, common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}, **each)
        for rank, each in enumerate(options)
    ]
    return [process.end() for process in processes]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"schedule": "sandwich", "switch": 0},
        {"switch": 0, "schedule": "fixed"},
        {"accumulate": 2},
    ],
    ids=["progressive", "layers not in the last pass", "layers without gradient", "accumulate"],
)
def test_two_ranks_give_the_losses_of_one(tmp_path, options):
    options = options | {"checkpoint_seconds": SELDOM}
    found = run_ranks(tmp_path / "two", [options] * 2)
    assert [code for code, _ in found] == [0, 0], found
    small_run.run(tmp_path / "one", **options)
    one, two = lines_of(tmp_path / "one"), lines_of(tmp_path / "two")
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        assert a == pytest.approx(b, rel=2e-3, abs=1e-5), a["step"]
        if a["step"] <= 10 and a["step"] > 0:
            assert a["loss"] == pytest.approx(b["loss"], rel=2e-6)


def test_a_sharded_optimiser_goes_on_from_a_whole_one_and_changes_no_bit(stopped, tmp_path):
    folders = {sharded: shutil.copytree(stopped, tmp_path / str(sharded)) for sharded in (0, 1)}
    for sharded, folder in folders.items():
        options = {"shard_optimiser": bool(sharded), "checkpoint_seconds": SELDOM}
        assert [code for code, _ in run_ranks(folder, [options] * 2)] == [0, 0]
    assert_same_run(*folders.values())


def test_ranks_that_disagree_are_told(tmp_path):
    found = run_ranks(tmp_path / "run", [{}, {"lr": 0.1}])
    for code, text in found:
        assert code == 2
        line = next(line for line in text.splitlines() if line.startswith("error:"))
        assert line.startswith("error: ranks disagree: lr is 0.1 on rank 1 and 0.005 on rank 0")
    assert not (tmp_path / "run").exists()
