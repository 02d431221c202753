"""Bad input gives one line that names flag or file, value and remedy, and exit code 2."""

import pytest
from image_files import paint
from inception_stand_in import StandIn, saved
from study_commands import Command

from studies.grid.flags import StudyRunConfig
from studies.sensitivity import Sensitivity, SensitivityConfig
from varant.errors import UserError
from varant.values import cores

SENSITIVITY = Command(study=Sensitivity, config=SensitivityConfig)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"depths": "2,9"}, "--depths 9: the network has 8 layers; use 1 to 8"),
        ({"depths": "0"}, "--depths 0: the network has 8 layers; use 1 to 8"),
        ({"depths": "two"}, "--depths two: not a whole number"),
        ({"depths": "4,4"}, "--depths 4,4: 4 given twice"),
        ({"depths": ""}, "--depths '': give at least one value"),
        ({"dataset": "imagenet"}, "--dataset imagenet: use one of shapes, digits, folder"),
        ({"samples": -5}, "--samples -5: must be at least 1"),
        ({"samples": 1}, "--samples 1: a distance needs at least 2"),
        ({"samples": 19}, "--samples 19: use at least 20, two of each class"),
        ({"nll_images": -40}, "--nll-images -40: must be at least 1"),
        ({"nll_images": 400_000}, "--nll-images 400000: shapes has 5000 test images"),
        ({"units": 0}, "--units 0: must be at least 1"),
        ({"workers": 0}, "--workers 0: must be at least 1"),
        ({"seed": -1}, "--seed -1: must be at least 0"),
        ({"top_k": -1}, "--top-k -1: must be at least 0"),
        ({"top_p": 1.5}, "--top-p 1.5: must be from 0 to 1"),
        ({"cfg": "nan"}, "--cfg nan: must be a finite number"),
        ({"selectors": "best"}, "--selectors best: use one of equidistant, nested, first, last"),
        ({"base_budget": "lots"}, "--base-budget lots: give a number of images such as 100k"),
        ({"base_budget": -5}, "--base-budget -5: give a number of images such as 100k"),
        ({"base_budget": 10}, "budget 10: below one batch of 64 images"),
        ({"device": "tpu"}, "--device tpu: use cpu, cuda or cuda:0"),
        ({"model": "nowhere"}, "checkpoint nowhere: no config.json"),
        ({"model": "nowhere", "units": 2}, "--units 2: --model gives one network"),
        ({"no_such_flag": True}, "--no-such-flag"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in SENSITIVITY.refused(capsys, tmp_path / "runs", **flags)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_class_that_test_images_miss(tmp_path, monkeypatch):
    """Of each class's four images in `val/` two are for test; of `cats` there is one. Inception is
    that of clean-fid's cache, in the temporary folder."""
    for label in ("birds", "cats"):
        for i in range(6 if label == "birds" else 4):
            split = "train" if i < 2 else "val"
            paint(tmp_path / "photos" / split / label / f"{i}.png", (24, 24), seed=i)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    saved(StandIn(), tmp_path / "inception-2015-12-05.pt")
    flags = {"dataset": "folder", "data_path": tmp_path / "photos", "extractor": "inception"}
    with pytest.raises(UserError, match=r"^--dataset folder: class cats has too .* \(1\): "):
        SENSITIVITY.of(workspace=tmp_path / "runs", **flags).run()
    assert not (tmp_path / "runs").exists()


def test_cuda_asked_for_and_absent(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    line = SENSITIVITY.refused(capsys, tmp_path / "runs", device="cuda")
    assert line == "error: --device cuda: no CUDA device on this machine; use --device cpu"


def test_unwritable_workspace(capsys, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    line = SENSITIVITY.refused(capsys, tmp_path / "file")
    assert f"--workspace {tmp_path / 'file'}: cannot write there" in line


def test_foreign_and_truncated_checkpoints(capsys, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for content in ('{"format": "other"}', '{"format": "varant-checkpoint", "vers'):
        (foreign / "config.json").write_text(content)
        line = SENSITIVITY.refused(capsys, tmp_path / "runs", model=foreign)
        assert "not a varant-checkpoint config" in line


def test_command_line_exit_code(tmp_path):
    bad = SENSITIVITY.start(tmp_path / "runs", depths=99)
    _, said = bad.communicate(timeout=120)
    assert bad.returncode == 2
    assert said == "error: --depths 99: the network has 8 layers; use 1 to 8\n"
    assert not (tmp_path / "runs").exists()


def test_dry_run(capsys, tmp_path):
    assert SENSITIVITY.of(workspace=tmp_path / "runs", dry_run=True, depths=4).run() is None
    said = capsys.readouterr().out
    for expected in ("depths = 4", "d4@2", "d4 on early", "34 cells", "CPU-s"):
        assert expected in said
    assert (
        SENSITIVITY.of(workspace=tmp_path / "runs", dry_run=True, depths=4, full=True).run() is None
    )
    assert "70 cells" in capsys.readouterr().out, "all plans in all of five units"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "not a study folder"),
        (
            lambda folder: (folder / "study.json").write_text("{}"),
            "study.json: not in manifest.json",
        ),
    ],
)
def test_reports_on_a_folder_that_is_no_study(capsys, tmp_path, make, message):
    from reports.__main__ import main as report

    make(tmp_path)
    assert report([str(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(("device", "workers"), [("cpu", cores()), ("cuda", 1), ("cuda:1", 1)])
def test_as_many_workers_as_cores(device, workers):
    config = SensitivityConfig(run=StudyRunConfig(device=device))
    assert config.workers == workers >= 1
    assert SensitivityConfig(run=StudyRunConfig(workers=3)).workers == 3
