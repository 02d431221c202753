"""`python -m varant.train`: from flags to a folder, and what it says of bad ones."""

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
import torch
from command_lines import config_of
from image_files import paint

import varant
from varant.errors import exit_codes
from varant.presets import presets
from varant.start import sources
from varant.train import TrainConfig, main
from varant.training.run import TIMES, read_metrics

ROOT = Path(__file__).parents[2]
LEFT = ("config.json", "model.safetensors", "tokenizer.safetensors", "metrics.jsonl")
LEFT += ("training.json", "curves.svg", "curves.png")


def command(line: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *line.split()],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )


def train(**flags: object) -> None:
    main(config_of(TrainConfig, **flags))


def files_of(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()
    }


def test_the_folder_is_whole_and_a_second_run_does_nothing(quick_workspace, capsys):
    out = quick_workspace / "supernet"
    assert all((out / name).exists() for name in LEFT)
    assert list((out / "checkpoints").glob("step-*/state.safetensors"))
    before = files_of(quick_workspace)
    train(quick=True, workspace=quick_workspace)
    assert "finished already; nothing to do" in capsys.readouterr().out
    assert files_of(quick_workspace) == before
    for name in ("model.safetensors", "metrics.jsonl"):
        whole = (out / name).read_bytes()
        (out / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(varant.UserError, match=rf"{re.escape(name)}: damaged"):
            train(quick=True, workspace=quick_workspace)
        (out / name).write_bytes(whole)
    (base,) = (quick_workspace / "models").glob("*/model.safetensors")
    assert not (base.parent / "checkpoints").exists(), "a base is not gone on from"


def test_a_killed_command_goes_on_to_the_same_end(quick_workspace, tmp_path):
    out, whole = tmp_path / "out", quick_workspace / "supernet"
    line = f"varant.train --quick --workspace {quick_workspace} --out {out}"
    process = subprocess.Popen(
        [sys.executable, "-m", *line.split(), "--checkpoint-every", "0.3"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.kill()
    process.wait()
    assert not (out / "config.json").exists()
    done = command(line)
    assert done.returncode == 0, done.stderr
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    without_times = [
        [{k: v for k, v in line.items() if k not in TIMES} for line in read_metrics(folder)]
        for folder in (out, whole)
    ]
    assert without_times[0] == without_times[1]


def test_training_lowers_the_subnets_loss_and_draws_as_scheduled(quick_workspace):
    lines = read_metrics(quick_workspace / "supernet")
    first, last = lines[0], lines[-1]
    for plan in ("full", "d1@3", "d2@3", "d3@3"):
        key = f"select/nll/mean/{plan}"
        assert last[key] < first[key] - 0.05, plan
    assert last["share/realised"] == pytest.approx(2 / 3, abs=0.02)
    assert last["images_seen"] == 3200
    noted = json.loads((quick_workspace / "supernet" / "config.json").read_text())["note"]
    assert noted["identity"]["training"]["schedule"]["name"] == "progressive"


def test_a_study_and_a_sampler_take_the_supernet(quick_workspace, tmp_path):
    model = f"--model {quick_workspace / 'supernet'}"
    sheet = f"--plan d2@3 --out {tmp_path / 'sheet.png'} --precision bfloat16"
    done = command(f"varant.sample {model} {sheet}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "sheet.png").exists()
    assert 85 < float(re.search(r"\(([\d.]+)% of the first", done.stdout)[1]) <= 100
    small = "--depths 2 --samples 80 --nll-images 40 --workers 1"
    done = command(f"studies.sensitivity --quick {model} --workspace {tmp_path / 'runs'} {small}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "sensitivity-quick" / "report.pdf").exists()


@pytest.mark.parametrize(
    "flags",
    [
        {"schedule": "full"},
        {"schedule": "fixed", "share": 0.5, "draw": "independent"},
        {"schedule": "reversed", "lr_schedule": "constant"},
        {"schedule": "sandwich", "distill": True},
        {"from_scratch": True, "depth": 3, "width": 16, "ema": 0.9},
        {"online": True, "flip": True},
        {"dataset": "digits", "base_budget": 640},
    ],
    ids=["full", "fixed", "reversed", "sandwich", "scratch", "online", "digits"],
)
def test_every_schedule_and_start(quick_workspace, tmp_path, flags):
    small = {"quick": True, "budget": 1_280, "evaluate_every": 1_280, "evaluate_images": 20}
    train(workspace=quick_workspace, out=tmp_path / "out", **small | flags)
    model = varant.load(tmp_path / "out").model
    assert model.depth == flags.get("depth", 4)
    lines = read_metrics(tmp_path / "out")
    passes = 3 if flags.get("schedule") == "sandwich" else 1
    assert lines[-1]["images_seen"] == 1280 // (64 * passes) * 64 * passes
    subnet = {line["depth"] for line in lines[1:]} != {4}
    assert subnet == (flags.get("schedule") != "full")
    assert (tmp_path / "out" / "curves.png").stat().st_size > 10_000


def test_official_files_in_and_out(quick_workspace, tmp_path):
    vae, var = reference.official_files("tiny", tmp_path)
    for label in range(10):
        for i in range(10):
            paint(tmp_path / "photos" / f"{label}" / f"{i}.png", (80, 72), seed=label * 10 + i)
    start = f"--vae {vae} --var {var} --dataset folder --data-path {tmp_path / 'photos'}"
    small = "--budget 64 --batch 8 --flip --evaluate-images 4"
    where = f"--workspace {tmp_path / 'runs'} --out {tmp_path / 'out'}"
    done = command(f"varant.train {start} {small} {where}")
    assert done.returncode == 0, done.stderr
    tokenizer, model = varant.load(tmp_path / "out")
    lines = read_metrics(tmp_path / "out")
    assert max(line.get("lr", 0) for line in lines) <= 1e-6, "the paper's rate"
    varant.save_official(tokenizer, model, vae=tmp_path / "vae2.pth", var=tmp_path / "var2.pth")
    before, after = (torch.load(tmp_path / f, weights_only=True) for f in ("var.pth", "var2.pth"))
    assert before.keys() == after.keys()
    assert not torch.equal(before["head.weight"], after["head.weight"]), "it was trained"
    again, _ = varant.load_official(vae=tmp_path / "vae2.pth", var=tmp_path / "var2.pth")
    for name, tensor in again.state_dict().items():
        assert torch.equal(tensor, tokenizer.state_dict()[name]), name


def test_a_folder_of_images_from_nothing(tmp_path, monkeypatch):
    tiny = presets()["tiny"]
    brief = replace(tiny, tokenizer=replace(tiny.tokenizer, steps=30))  # of 800: a minute
    monkeypatch.setattr(sources, "presets", lambda: {"tiny": brief})
    for label in ("cat", "dog"):
        for i in range(40):
            paint(tmp_path / "photos" / label / f"{i:02d}.png", (32, 27), seed=i)
    (tmp_path / "photos" / "dog" / "05.png").write_bytes(b"")
    flags = {
        "dataset": "folder",
        "data_path": tmp_path / "photos",
        "workspace": tmp_path / "runs",
        "budget": "256",
        "preset": "tiny",
        "base_budget": "256",
        "batch": 32,
        "patch_nums": "1,2,3",
        "evaluate_images": 4,
    }
    with pytest.raises(varant.UserError, match=r"dog/05.png: cannot be read"):
        train(**flags)
    train(**flags, skip_unreadable=True)
    tokenizer, model = varant.load(tmp_path / "runs" / "supernet")
    assert model.num_classes == 2
    assert tokenizer.image_side == 12


def test_torchrun(quick_workspace, tmp_path):
    out = tmp_path / "two"
    tokens = next(quick_workspace.glob("tokens/*/train.json")).parent
    made = {path: path.read_bytes() for path in tokens.glob("*-0*.safetensors")}
    for path in (*made, *tokens.glob("*.json")):
        path.unlink()  # both ranks make them again
    done = command(
        "torch.distributed.run --standalone --nproc-per-node 2 -m varant.train --shard-optimiser "
        f"--quick --workspace {quick_workspace} --out {out}"
    )
    assert done.returncode == 0, done.stderr
    assert len(made) == 2 and {path: path.read_bytes() for path in made} == made
    one, two = read_metrics(quick_workspace / "supernet"), read_metrics(out)
    for a, b in list(zip(one, two, strict=True))[1:6]:
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
    assert one[-1]["select/nll/mean/full"] == pytest.approx(
        two[-1]["select/nll/mean/full"], abs=0.02
    )


def refused(capsys, **flags) -> str:
    with pytest.raises(SystemExit) as ended, exit_codes():
        train(**flags)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"budget": "10"}, "--budget 10: below one batch of 64 images; give at least 64"),
        ({"budget": "lots"}, "--budget lots: give a number of images"),
        ({"phases": "5,15,10"}, "--phases 5:15:10: sum to 30; must sum to 1"),
        ({"phases": "0.5,0.5"}, "--phases 0.5,0.5: give three fractions"),
        ({"schedule": "cyclic"}, "--schedule cyclic: use one of full, fixed"),
        ({"schedule": "fixed", "share": 1.5}, "--share 1.5: must be from 0 to 1"),
        ({"start_share": -0.1}, "--start-share -0.1: must be from 0 to 1"),
        ({"depths": "2,16"}, "--depths 16: subnets of this network have 1 to 15 of its 16 layers"),
        ({"switch": 9}, "--switch 9: the network has 8 scales"),
        ({"selector": "best"}, "best"),
        ({"batch": 0}, "--batch 0: must be at least 1"),
        ({"batch": 9, "accumulate": 2}, "--batch 9: must be a multiple of --accumulate (2)"),
        ({"lr": -1.0}, "--lr -1.0"),
        ({"lr_schedule": "linear"}, "--lr-schedule linear: use one of cosine, constant"),
        ({"precision": "float16"}, "--precision float16: needs --device cuda"),
        ({"dataset": "imagenet"}, "--dataset imagenet: use one of shapes, digits, folder"),
        ({"dataset": "folder"}, "--data-path: goes with --dataset folder"),
        ({"data_path": Path("x")}, "--data-path: goes with --dataset folder"),
        ({"dataset": "folder", "data_path": Path("none")}, "--data-path none: no such folder"),
        ({"model": Path("none")}, "none"),
        ({"var": Path("x.pth")}, "--var x.pth: give its tokenizer as --vae"),
        ({"vae": Path("x.pth")}, "--vae x.pth: give --var to start from, or --from-scratch"),
        ({"vae": Path("x.pth"), "var": Path("y.pth")}, "y.pth: cannot be read"),
        ({"depth": 4}, "--depth 4: sizes a network --from-scratch only"),
        ({"patch_nums": "2,1"}, "--patch-nums 2,1: give growing sides from 1"),
        ({"scale_weights": "1,x"}, "--scale-weights 1,x: give numbers"),
        ({"evaluate_every": "0"}, "--evaluate-every 0: give a number"),
        ({"device": "cuda:7"}, "--device cuda:7"),
        ({"threads": 0}, "--threads 0: must be at least 1"),
        ({"checkpoint_every": -1.0}, "--checkpoint-every -1.0: must be 0 or more"),
        ({"distill": True}, "--distill: needs --schedule sandwich"),
        ({"ema": 1.0}, "--ema 1.0"),
        ({"shard_optimiser": True}, "--shard-optimiser: there is one process; start several"),
    ],
    ids=str,
)
def test_bad_flags_are_refused_before_anything_is_written(capsys, tmp_path, flags, message):
    if torch.cuda.is_available() and "device" in flags:
        pytest.skip("this machine has CUDA")
    assert message in refused(capsys, workspace=tmp_path / "runs", **flags)
    assert not (tmp_path / "runs").exists(), "something was written"


def test_flags_that_change_when_a_run_goes_on_are_refused(quick_workspace, capsys):
    said = refused(capsys, quick=True, workspace=quick_workspace, schedule="full")
    assert "holds a finished run of other flags (schedule was progressive, is full)" in said
    (quick_workspace / "supernet" / "config.json").rename(quick_workspace / "aside.json")
    try:
        said = refused(capsys, quick=True, workspace=quick_workspace, seed=3, from_scratch=True)
        assert "holds another run (" in said
        assert "seed" in said
    finally:
        (quick_workspace / "aside.json").rename(quick_workspace / "supernet" / "config.json")


def test_a_start_that_does_not_fit_the_data(quick_workspace, capsys, tmp_path):
    for label in ("a", "b"):
        for i in range(10):
            paint(tmp_path / "photos" / label / f"{i}.png", seed=i)
    said = refused(
        capsys,
        model=quick_workspace / "supernet",
        dataset="folder",
        workspace=tmp_path / "runs",
        data_path=tmp_path / "photos",
    )
    assert "has 2 classes; the network that you start from has 10" in said


def test_dry_run_trains_nothing_and_adds_up(tmp_path, capsys):
    train(dry_run=True, workspace=tmp_path / "runs", budget="64k", preset="tiny")
    said = capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    counts = {
        int(d): int(n.replace(",", ""))
        for d, n in re.findall(r"depth (\d+): ([\d,]+) passes of 64", said)
    }
    assert sum(counts.values()) == 1000
    assert counts[8] == pytest.approx(1000 / 3, abs=2)
    subnets = [counts[d] for d in (2, 4, 6)]
    assert np.ptp(subnets) <= 1
    assert "learning rate 0.001" in said
