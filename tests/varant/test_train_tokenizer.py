"""A tokenizer of one's own: trained, measured scale by scale, stopped and gone on with."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from varant import train_tokenizer
from varant.errors import Preempted, UserError
from varant.files import sha256_file
from varant.flags import flags_of
from varant.start.config import DataConfig, StartConfig, TrainStartConfig
from varant.start.sources import resolve
from varant.store.checkpoint import load_tokenizer
from varant.store.official import load_official_tokenizer
from varant.train_tokenizer import TrainTokenizerConfig, main
from varant.training import tokenizer
from varant.training.tokenizer import TokenizerTrainer, perplexities

SIDES = (1, 2, 4)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Forty images of two classes, of 20 pixels."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for index in range(40):
        path = folder / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        ramp = np.add.outer(np.arange(20), np.arange(20))[..., None] * rng.integers(1, 7, 3)
        Image.fromarray((ramp % 256).astype(np.uint8)).save(path)
    return folder


def config_of(images, out, **flags):
    sizes = {"patch_nums": SIDES, "vocab_size": 16, "code_channels": 4, "channels": 8}
    data = DataConfig(dataset="folder", data_path=images)
    return TrainTokenizerConfig(data=data, out=out, **({"steps": 30, "batch": 8} | sizes | flags))


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    main(config_of(images, out))
    return out


def test_it_is_measured_scale_by_scale(images, whole, capsys):
    main(config_of(images, whole))  # finished: only measured
    said = capsys.readouterr().out.splitlines()
    assert "PSNR" in said[0] and "reconstructed select images" in said[0]
    assert "FD" in said[0] and "(patches-" in said[0]
    rows = [line.split() for line in said[2:]]
    assert [(row[0], row[1]) for row in rows] == [("1", "1"), ("2", "2"), ("3", "4")]
    assert all(1 <= float(row[3]) <= int(row[2].split("/")[0]) <= 16 for row in rows)
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert 1 <= lines[-1]["perplexity/scale_03"] <= 16


def test_stopped_it_goes_on_exactly(images, whole, tmp_path, monkeypatch):
    advance = TokenizerTrainer.advance

    def stopping(self):
        if self.step == 13:
            signal.raise_signal(signal.SIGTERM)
        return advance(self)

    monkeypatch.setattr(TokenizerTrainer, "advance", stopping)
    with pytest.raises(Preempted, match="stopped after step 14 of 30; saved in"):
        main(config_of(images, tmp_path))
    monkeypatch.undo()
    main(config_of(images, tmp_path))
    for name in ("tokenizer.safetensors", "metrics.jsonl"):
        assert sha256_file(tmp_path / name) == sha256_file(whole / name)


def test_a_scale_that_collapses_is_named_once(images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_tokenizer, "SETTLED_STEPS", 10)
    found = iter([[9.0, 9.0, 9.0], [1.2, 9.0, 9.0], [1.1, 9.0, 1.9], [9.0, 9.0, 9.0]])
    monkeypatch.setattr(tokenizer, "perplexities", lambda used_KV: next(found))
    main(config_of(images, tmp_path))
    said = [line for line in capsys.readouterr().err.splitlines() if "collapse" in line]
    assert [line[line.index("warning:") :].split(" (")[0] for line in said] == [
        "warning: step 20: the codes of scale 1 collapse",
        "warning: step 30: the codes of scale 3 collapse",
    ]


def test_perplexity_says_how_many_codes_are_in_use():
    used_KV = torch.zeros(3, 16)
    used_KV[0, 3] = 1.0
    used_KV[1, :4] = 0.25
    used_KV[2] = 2.0
    assert perplexities(used_KV) == pytest.approx([1, 4, 16])


def test_a_network_from_scratch_reads_its_tokens(images, whole, tmp_path):
    flags = TrainStartConfig(vae=whole, from_scratch=True, depth=2, width=16, heads=1)
    data = DataConfig(dataset="folder", data_path=images)
    found = resolve(flags, data)
    assert (found.geometry.patch_nums, found.geometry.vocab_size) == (SIDES, 16)
    assert found.tokenizer_digest == sha256_file(whole / "tokenizer.safetensors")
    with pytest.raises(UserError, match=r"--patch-nums: --vae .* has 1,2,4 of its own; drop"):
        resolve(replace(flags, patch_nums=(1, 2, 3)), data)
    with pytest.raises(UserError, match=r"--vae .*: a folder; --var .* needs the published"):
        resolve(StartConfig(vae=whole, var=tmp_path / "x.pth"), data)


def test_an_official_one_is_exported_as_published_files_are(tmp_path, images):
    flags = {"backbone": "official", "channels": 32, "steps": 1, "batch": 2, "patch_nums": (1, 2)}
    out = tmp_path / "vae.pth"
    main(config_of(images, tmp_path / "out", export=out, **flags))
    ours, theirs = load_tokenizer(tmp_path / "out"), load_official_tokenizer(out, (1, 2))
    states = (ours.state_dict(), theirs.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--export x.pth", "--export x.pth: the light backbone has no official form"),
        ("--dataset folder", "--data-path: goes with --dataset folder"),
        ("--patch-nums 2,3", "--patch-nums 2,3: give growing sides from 1"),
    ],
)
def test_bad_flags(argv, said):
    with pytest.raises(UserError, match=said):
        flags_of(TrainTokenizerConfig, None, argv.split())


def test_another_run_is_not_overwritten(images, whole):
    with pytest.raises(UserError, match=r"holds another run \(training.steps was 30, is 31\)"):
        main(config_of(images, whole, steps=31))
