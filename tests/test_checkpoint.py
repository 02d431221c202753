"""Official files and our own folders, both ways, and what is said of damaged ones."""

import json
import pickle

import pytest
import reference
import torch

import varant
from varant import UserError
from varant.checkpoint import _official_geometry, load_tokenizer

CASES = ["tiny", "shared_adaln", "ten_scales"]


@pytest.mark.parametrize("case", CASES)
def test_official_round_trip(case, tmp_path):
    vae, var = reference.official_files(case, tmp_path)
    state = torch.load(vae, weights_only=True)
    state["quantize.ema_vocab_hit_SV"] += torch.rand(state["quantize.ema_vocab_hit_SV"].shape)
    torch.save(state, vae)
    tokenizer, model = varant.load_official(vae=vae, var=var)
    varant.save_official(tokenizer, model, vae=tmp_path / "vae2.pth", var=tmp_path / "var2.pth")
    for kind in ("vae", "var"):
        before = torch.load(tmp_path / f"{kind}.pth", weights_only=True)
        after = torch.load(tmp_path / f"{kind}2.pth", weights_only=True)
        listed = {key.name for key in reference.keys(f"{case}_{kind}_keys.txt")}
        assert set(after) == set(before) == listed
        for name, tensor in before.items():
            assert after[name].dtype == tensor.dtype, name
            assert torch.equal(after[name], tensor), name


@pytest.mark.parametrize("depth", [16, 20, 24, 30, 36])
def test_geometry_is_read_off_the_published_tensors(depth):
    geometry = varant.Geometry.official(depth)
    state = {
        key.name: torch.empty(key.shape, device="meta")
        for key in reference.keys(f"official_var_d{depth}_keys.txt")
    }
    levels = [k for k, count in enumerate(geometry.scale_tokens) for _ in range(count)]
    state["lvl_1L"] = torch.tensor([levels])
    assert _official_geometry(state, "var.pth") == geometry


def test_the_network_has_the_published_names_and_shapes():
    for depth in (16, 36):
        with torch.device("meta"):
            model = varant.VAR(varant.Geometry.official(depth))
        found = {name: tuple(p.shape) for name, p in model.named_parameters()}
        keys = reference.keys(f"official_var_d{depth}_keys.txt")
        assert found == {key.name: key.shape for key in keys if key.is_parameter}
    with torch.device("meta"):
        config = varant.TokenizerConfig.official(varant.Geometry.official(16).patch_nums)
        encoder = varant.backbones.OfficialEncoder(160, config.multipliers, 2, 32)
    keys = reference.keys("official_vae_keys.txt")
    expected = {k.name.removeprefix("encoder."): k.shape for k in keys if "encoder" in k.name}
    assert {name: tuple(p.shape) for name, p in encoder.named_parameters()} == expected


def break_official(tmp_path, kind: str, change):
    """Files of the tiny case with the state dict of `kind` changed."""
    files = dict(zip(("vae", "var"), reference.official_files("tiny", tmp_path), strict=True))
    state = torch.load(files[kind], weights_only=True)
    change(state)
    torch.save(state, files[kind])
    return files


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("var", lambda s: s.pop("head.bias"), r"var.pth: missing head.bias$"),
        ("var", lambda s: s.pop("lvl_1L"), r"var.pth: not an official VAR file: missing lvl_1L"),
        ("var", lambda s: s.update(extra=torch.zeros(1)), r"var.pth: surplus extra$"),
        (
            "var",
            lambda s: s.update({"blocks.2.attn.q_bias": torch.zeros(3)}),
            r"var.pth: misshapen blocks.2.attn.q_bias \(3,\) instead of \(64,\)$",
        ),
        (
            "var",
            lambda s: s["blocks.1.attn.zero_k_bias"].add_(1),
            r"zero_k_bias is not zero",
        ),
        ("vae", lambda s: s.pop("quant_conv.bias"), r"vae.pth: missing quant_conv.bias$"),
        ("vae", lambda s: s.pop("quantize.embedding.weight"), r"not an official VAE file"),
        (
            "vae",
            lambda s: [s.pop(k) for k in list(s) if "decoder.mid" in k],
            r"vae.pth: missing .* and \d+ more$",
        ),
        ("vae", lambda s: s.update(x=torch.ones(2)), r"vae.pth: surplus x$"),
    ],
)
def test_troubles_of_official_files_are_named_in_one_line(tmp_path, kind, change, message):
    files = break_official(tmp_path, kind, change)
    with pytest.raises(UserError, match=message) as error:
        varant.load_official(**files)
    assert "\n" not in str(error.value)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_files_that_are_no_checkpoint(tmp_path, capsys):
    vae, var = reference.official_files("tiny", tmp_path)
    whole = var.read_bytes()

    def message() -> str:
        with pytest.raises(UserError) as error:
            varant.load_official(vae=vae, var=var)
        assert "\n" not in str(error.value)
        return str(error.value)

    for content in (whole[: len(whole) // 2], whole[:100], b"", b"hello", b"PK\x03\x04 not a zip"):
        var.write_bytes(content)
        assert "truncated, or not a PyTorch checkpoint" in message()
    var.write_bytes(pickle.dumps(Evil()))
    assert "not a PyTorch checkpoint" in message()
    torch.save({"model": Evil()}, var)
    assert "not a PyTorch checkpoint" in message()
    assert "code ran" not in capsys.readouterr().out
    torch.save({"trainer": {"x": torch.zeros(1)}}, var)
    assert "not a flat dictionary" in message()
    var.unlink()
    assert "cannot be read (No such file" in message()
    var.mkdir()
    assert "cannot be read" in message()


@pytest.fixture
def ours(tmp_path):
    torch.manual_seed(0)
    config = varant.TokenizerConfig(
        patch_nums=(1, 2), vocab_size=9, code_channels=4, backbone="light", channels=8, phis=0
    )
    geometry = varant.Geometry(
        depth=2, width=8, heads=2, patch_nums=(1, 2), vocab_size=9, code_channels=4, num_classes=3
    )
    tokenizer, model = varant.Tokenizer(config), varant.VAR(geometry)
    folder = tmp_path / "checkpoint"
    varant.save(folder, tokenizer, model, note={"seed": 3})
    return folder, tokenizer, model


def test_our_round_trip(ours):
    folder, tokenizer, model = ours
    loaded_tokenizer, loaded_model = varant.load(folder)
    assert loaded_model.geometry == model.geometry
    assert loaded_tokenizer.config == tokenizer.config
    for one, other in ((tokenizer, loaded_tokenizer), (model, loaded_model)):
        assert one.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(other.state_dict()[k], v) for k, v in one.state_dict().items())
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    tokens = loaded_tokenizer.encode(images)
    inputs = loaded_tokenizer.teacher_inputs(tokens)
    labels = torch.tensor([1])
    assert torch.equal(loaded_model(inputs, labels), model(inputs, labels))
    assert json.loads((folder / "config.json").read_text())["note"] == {"seed": 3}


def test_a_tokenizer_alone(ours, tmp_path):
    varant.save(tmp_path / "alone", ours[1])
    assert load_tokenizer(tmp_path / "alone").config == ours[1].config
    with pytest.raises(UserError, match="a tokenizer without a network"):
        varant.load(tmp_path / "alone")


def test_damaged_and_foreign_folders(ours, tmp_path):
    folder = ours[0]

    def message() -> str:
        with pytest.raises(UserError) as error:
            varant.load(folder)
        assert "\n" not in str(error.value)
        return str(error.value)

    for name in ("model.safetensors", "tokenizer.safetensors"):
        path = folder / name
        whole = path.read_bytes()
        flipped = bytearray(whole)
        flipped[-3] ^= 1
        for content in (bytes(flipped), whole[:-7]):
            path.write_bytes(content)
            assert f"{name}: damaged" in message()
        path.unlink()
        assert f"{name}: cannot be read" in message()
        path.write_bytes(whole)
    varant.load(folder)
    for content in ("{", "{}", '{"format": "other", "version": 1}'):
        (folder / "config.json").write_text(content)
        assert "not a varant-checkpoint config of version 1" in message()
    (folder / "config.json").unlink()
    assert "no config.json" in message()


def test_a_light_tokenizer_has_no_official_form(ours, tmp_path):
    with pytest.raises(UserError, match="light tokenizer backbone has no official form"):
        varant.save_official(ours[1], ours[2], vae=tmp_path / "a.pth", var=tmp_path / "b.pth")
    assert not (tmp_path / "a.pth").exists()
