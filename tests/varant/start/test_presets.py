"""Presets are data that hold to the geometry's own rules, and a flag of every command."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest

from studies.ladder import LadderConfig
from studies.sensitivity import SensitivityConfig
from varant import UserError
from varant.files import digest_of
from varant.flags import flags_of
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256, windows_of
from varant.presets import PresetName, preset_at, preset_of, presets
from varant.start.calibration import Speed
from varant.start.config import DataConfig, StartConfig, TrainStartConfig
from varant.start.presets import BaseConfig, base_geometry, light_tokenizer
from varant.start.sources import resolve
from varant.train import TrainConfig, main
from varant.training.config import TrainingConfig, TrainingFlags, default_switch
from varant.training.schedule import Schedule

# Of all that fixes tokenizer and base network of `tiny`, as the workspaces of users know them.
TINY = {
    False: "f0e2999bb5817871f5b474e45756e8d99bc24764ee74b0997694401facce587f",
    True: "ebe331aad1e07f9ff3a548eb5185606bf2caf4c8c3d70b1b66cf74bdc0f01227",
}
EACH = pytest.mark.parametrize("name", get_args(PresetName))


def test_the_file_holds_the_presets_that_the_flag_knows():
    assert tuple(presets()) == get_args(PresetName)


@EACH
def test_a_preset_is_of_one_piece(name):
    preset = presets()[name]
    assert preset.windows == windows_of(preset.patch_nums)
    assert light_tokenizer(preset).image_side == preset.image_side
    assert preset.switch < len(preset.patch_nums)
    assert preset_of(preset.patch_nums) is preset
    assert preset_at(preset.image_side) is preset
    geometry = base_geometry(preset)
    assert (geometry.depth, geometry.width) == (preset.depth, preset.width)


def test_sizes_that_were_asked_for():
    tiny, small, ten = (presets()[name] for name in ("tiny", "small", "ten"))
    assert (tiny.patch_nums, tiny.depth, tiny.width) == ((1, 2, 3, 4, 6), 8, 48)
    assert (small.patch_nums, small.depth, small.width) == (tuple(range(1, 9)), 16, 32)
    assert ten.patch_nums == tuple(range(1, 11))
    assert [one.image_side for one in (tiny, small, ten)] == [24, 32, 40]
    assert tiny.images["train"] == 25_000
    assert min(small.images["train"], ten.images["train"]) >= 100_000


@pytest.mark.parametrize(
    ("patch_nums", "ends"),
    [
        ((1, 2, 3, 4, 6), (1, 2)),
        (tuple(range(1, 9)), (2, 4)),
        (OFFICIAL_PATCH_NUMS_256, (3, 6)),
        (tuple(range(1, 11)), (3, 6)),  # as published, though 1-3, 4-5, 6-10 would be nearer
        ((1, 2, 3), (1, 2)),
        ((1, 2, 3, 4, 5, 6, 8), (1, 3)),
    ],
)
def test_windows_by_hand(patch_nums, ends):
    windows = windows_of(patch_nums)
    assert list(windows) == ["early", "middle", "late"]
    assert (windows["early"][-1], windows["middle"][-1]) == ends
    assert sum(windows.values(), ()) == tuple(range(1, len(patch_nums) + 1))


def test_two_scales_have_no_windows():
    with pytest.raises(UserError, match="a network of 2 scales: early, middle and late need three"):
        windows_of((1, 2))


def test_switch_is_the_preset_s_or_six_tenths_of_the_scales():
    assert [default_switch(preset.patch_nums) for preset in presets().values()] == [3, 4, 6]
    assert default_switch(OFFICIAL_PATCH_NUMS_256) == 6
    assert default_switch((1, 2, 3, 4, 5, 6, 7, 9)) == 5
    geometry = base_geometry(presets()["small"])
    flags, schedule = TrainingFlags(), Schedule.full()
    assert TrainingConfig.of(flags, geometry, schedule, lr=1e-3).switch == 4
    assert TrainingConfig.of(replace(flags, switch=2), geometry, schedule, lr=1e-3).switch == 2


@pytest.mark.parametrize("quick", [False, True])
def test_tiny_is_what_it_was(quick):
    base = BaseConfig.of(presets()["tiny"], quick=quick)
    content = {
        "t": asdict(base.tokenizer),
        "tt": asdict(base.tokenizer_training),
        "g": asdict(base.geometry),
        "tr": base.training.as_dict(),
    }
    assert digest_of(content) == TINY[quick]
    images = resolve(StartConfig(preset="tiny"), DataConfig(), quick=quick).dataset.sizes["train"]
    assert (images == 2_000) is quick


@EACH
def test_a_start_follows_the_preset(name):
    preset = presets()[name]
    found = resolve(StartConfig(preset=name), DataConfig())
    assert found.geometry == base_geometry(preset)
    assert found.dataset.image_side == preset.image_side
    assert found.training_images == preset.base.budget // preset.base.batch * preset.base.batch
    assert resolve(StartConfig(preset=name, base_budget=640), DataConfig()).training_images == 640
    scratch = resolve(TrainStartConfig(preset=name, from_scratch=True, depth=3), DataConfig())
    assert scratch.geometry == replace(found.geometry, depth=3)


@EACH
def test_quick_is_a_smaller_network_of_the_same_scales(name):
    preset = presets()[name]
    found = resolve(StartConfig(preset=name), DataConfig(), quick=True)
    assert found.geometry.patch_nums == preset.patch_nums
    assert found.geometry.depth == preset.depth // 2
    assert found.dataset.sizes == {"train": 2_000, "select": 500, "test": 500}


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--preset", "huge"], "--preset huge: use one of tiny, small, ten"),
        (["--preset", "ten", "--model", "x"], "--preset ten: --model x has sizes of its own"),
        (
            ["--preset", "small", "--vae", "v.pth", "--from-scratch"],
            "--preset small: --vae v.pth has sizes of its own; drop one of them",
        ),
    ],
)
def test_flags_that_do_not_fit(argv, said):
    with pytest.raises(UserError, match=said):
        flags_of(TrainConfig, None, argv)


def test_dry_run_of_small(tmp_path, capsys, monkeypatch):
    speed = Speed(training_images_per_second=40, nll_images_per_second=100, samples_per_second=50)
    monkeypatch.setattr("varant.start.calibration.calibrate", lambda *_, **__: speed)
    argv = ["--preset", "small", "--dry-run", "--workspace", str(tmp_path / "runs")]
    main(flags_of(TrainConfig, None, argv))
    said = capsys.readouterr().out
    assert "preset = small" in said
    assert "patch_nums=(1, 2, 3, 4, 5, 6, 7, 8)" in said
    assert "depth 8: 348 passes of 64 images" in said
    assert not Path(tmp_path / "runs").exists()


def test_small_is_the_default_and_tiny_the_quick_one():
    by_default, quick = (resolve(StartConfig(), DataConfig(), quick=q) for q in (False, True))
    assert by_default.geometry == base_geometry(presets()["small"])
    assert by_default.package is not None
    assert quick.geometry.patch_nums == presets()["tiny"].patch_nums
    named = resolve(StartConfig(preset="small"), DataConfig(), quick=True)
    assert named.geometry.patch_nums == presets()["small"].patch_nums


@pytest.mark.parametrize(
    ("argv", "preset"),
    [
        ([], "small"),
        (["--preset", "small"], "small"),
        (["--quick"], "tiny"),
        (["--model", "mine"], None),
    ],
)
def test_what_a_run_is_known_by_has_the_preset_that_is_meant(argv, preset):
    assert flags_of(SensitivityConfig, None, argv).measured["preset"] == preset
    assert flags_of(TrainConfig, None, argv).identity["preset"] == preset
    assert flags_of(LadderConfig, None, argv).measured["preset"] == preset


def test_digits_have_one_side_and_the_message_says_which_preset_has_it():
    digits = DataConfig(dataset="digits")
    with pytest.raises(UserError, match=r"has 24 px images; .* give --preset tiny"):
        resolve(StartConfig(), digits)
    assert resolve(StartConfig(preset="tiny"), digits).dataset.image_side == 24
