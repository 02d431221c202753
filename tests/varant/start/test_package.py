"""The packaged base networks, and how a package is made, read and refused."""

import json
from dataclasses import replace

import pytest
import torch

from varant.errors import UserError
from varant.files import sha256_file
from varant.flags import flags_of
from varant.presets import BaseRecipe, presets
from varant.progress import silent
from varant.sample import SampleConfig, main as sample
from varant.start import package as packages
from varant.start.config import DataConfig, PackagedConfig, StartConfig, TrainStartConfig
from varant.start.given import network_of
from varant.start.package import Package
from varant.start.preparation import tokenizer_recipe
from varant.start.sources import materialise, resolve
from varant.store.checkpoint import load, read_tensors
from varant.store.workspace import Workspace
from varant.train import TrainConfig
from varant.train_base import BaseTrainingConfig, main, recipe_of_training
from varant.training.config import TrainingFlags
from varant.training.schedule import ScheduleFlags


def small_preset():
    tiny = presets()["tiny"]
    return replace(
        tiny,
        depth=2,
        width=16,
        heads=1,
        images={"train": 64, "select": 32, "test": 32},
        tokenizer=replace(tiny.tokenizer, channels=16, steps=10),
        base=BaseRecipe(budget=320, batch=16, lr=3e-3, lr_schedule="wsd"),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A package of two seeds, of a preset that trains in a second."""
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(presets(), "tiny", small_preset())
        patched.setattr("varant.train_base.EVALUATIONS", 10)
        for seed in (0, 3):
            main(config_of(folder, "one", seed))
        yield folder


@pytest.fixture
def package(made, monkeypatch):
    monkeypatch.setattr(packages, "WEIGHTS", made)
    return Package.of("tiny")


def config_of(folder, workspace, seed=0):
    return BaseTrainingConfig(preset="tiny", seed=seed, workspace=folder / workspace, out=folder)


def start_of(workspace, **flags):
    resolved = resolve(StartConfig(**{"preset": "tiny"} | flags), DataConfig(), seeds=(0, 1, 3))
    return materialise(resolved, Workspace(folder=workspace), silent)


def test_a_start_takes_what_is_packaged_and_trains_the_rest(package, tmp_path):
    start = start_of(tmp_path)
    assert start.resolved.trained_here == (1,)
    folders = {network.seed: network.folder for network in start.networks}
    assert list(folders) == [0, 1, 3]
    for seed in package.bases:
        state = load(folders[seed]).model.state_dict()
        halves = read_tensors(package.base_file(seed))
        assert {tensor.dtype for tensor in halves.values()} == {torch.float16}
        assert all(torch.equal(state[name], halves[name].float()) for name in state)
    trained = json.loads((folders[1] / "training.json").read_text())
    assert trained["identity"]["training"]["batch"] == 16
    assert start.splits == ("train",)
    assert start.psnr_db == package.tokenizer_facts["psnr_db"]
    alone = resolve(StartConfig(preset="tiny", base="packaged"), DataConfig(), seeds=(0, 3))
    assert materialise(alone, Workspace(folder=tmp_path), silent).splits == ()


def test_a_network_made_again_is_the_same_to_the_bit(made, capsys):
    before = sha256_file(made / "tiny-0.safetensors")
    main(config_of(made, "two"))
    assert "; the same bits as the packaged one" in capsys.readouterr().out
    assert sha256_file(made / "tiny-0.safetensors") == before


def test_a_training_from_scratch_by_the_same_recipe_is_the_same_network(package, tmp_path):
    """So that `varant.train` can make a base network as well."""
    from varant.train import main as train

    out = tmp_path / "out"
    flags = TrainingFlags(budget_images=320, batch=16, lr=3e-3, lr_schedule="wsd")
    train(
        replace(
            TrainConfig.quick_defaults(),
            schedule=ScheduleFlags(kind="full"),
            start=TrainStartConfig(preset="tiny", from_scratch=True),
            training=flags,
            run=replace(TrainConfig().run, workspace=tmp_path, evaluate_images=10),
            out=out,
            seed=3,
        )
    )
    assert sha256_file(out / "model.safetensors") == package.bases[3]["trained_sha256"]


@pytest.mark.parametrize(
    ("flags", "seeds", "said"),
    [
        ({"base": "packaged"}, (0, 1, 2, 3), "the package has 0, 3 of preset tiny, not 1, 2"),
        ({"base": "packaged", "preset": "ten"}, (0,), "the package has none of preset ten, not 0"),
    ],
)
def test_networks_that_are_not_packaged(package, flags, seeds, said):
    with pytest.raises(UserError, match=f"--base packaged: {said}; use --base train"):
        resolve(StartConfig(**{"preset": "tiny"} | flags), DataConfig(), seeds=seeds)


@pytest.mark.parametrize(
    ("flags", "data", "quick"),
    [
        ({"base": "train"}, {}, False),
        ({"base_budget": 640}, {}, False),
        ({}, {"dataset": "digits"}, False),
        ({}, {}, True),
    ],
)
def test_what_asks_for_other_networks_trains_them(package, flags, data, quick):
    found = resolve(
        StartConfig(**{"preset": "tiny"} | flags), DataConfig(**data), seeds=(0,), quick=quick
    )
    assert found.package is None
    assert found.trained_here == (0,)


def test_a_damaged_package_is_refused(package, tmp_path, monkeypatch):
    for path in package.folder.glob("tiny*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damaged = tmp_path / "tiny-3.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    monkeypatch.setattr(packages, "WEIGHTS", tmp_path)
    with pytest.raises(UserError, match=r"tiny-3.safetensors: SHA-256 .*; install varant again"):
        start_of(tmp_path / "w")


@pytest.mark.parametrize(
    "path", sorted(packages.WEIGHTS.glob("*.json")), ids=lambda path: path.stem
)
def test_what_is_packaged_is_whole_and_of_the_recipe(path):
    found = Package.of(path.stem)
    resolved = resolve(StartConfig(preset=path.stem, base="train"), DataConfig())
    assert found.tokenizer_facts["recipe"] == json.loads(
        json.dumps(tokenizer_recipe(resolved.base, resolved.dataset))
    )
    assert sum(file.stat().st_size for file in packages.WEIGHTS.iterdir()) < 10e6
    recipe = json.loads(json.dumps(recipe_of_training(resolved)))
    for seed, facts in found.bases.items():
        found.load(seed)
        assert facts["recipe"] == recipe
        assert facts["plateau_nats"] < 0.05  # 0.01 is wanted: docs/training.md
        assert abs(facts["select_nll"] - facts["train_nll"]) < 0.02


def test_a_sheet_of_a_packaged_network(package, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    sample(SampleConfig(start=PackagedConfig(preset="tiny"), plan="d1@3", rows=1, out=out))
    assert "10 images under d1@3" in capsys.readouterr().out
    assert out.exists()


def test_a_preset_without_networks_has_no_sheet():
    with pytest.raises(UserError, match="no network of preset ten is packaged; give a checkpoint"):
        network_of(PackagedConfig(preset="ten"))
    with pytest.raises(UserError, match="--preset tiny: --model x has sizes of its own"):
        flags_of(SampleConfig, None, ["--preset", "tiny", "--model", "x"])


def test_only_a_rate_that_stays_says_whether_a_network_converges():
    with pytest.raises(UserError, match="--preset ten: its rate decays from the first step"):
        flags_of(BaseTrainingConfig, None, ["--preset", "ten"])


def test_a_device_that_is_not_there_makes_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    config = BaseTrainingConfig(preset="small", out=tmp_path / "out", device="cuda")
    with pytest.raises(UserError, match="--device cuda: no CUDA device"):
        main(config)
    assert not (tmp_path / "out").exists()
