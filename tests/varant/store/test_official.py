"""Official files, both ways, and what is said of damaged ones."""

import pickle
import re

import numpy as np
import pytest
import reference
import torch

import varant
from varant import UserError
from varant.store.official import _official_geometry, _official_tokenizer_config, _read_official

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
        ("var", lambda s: s["blocks.1.attn.zero_k_bias"].add_(1), r"zero_k_bias is not zero"),
        ("vae", lambda s: s.pop("quant_conv.bias"), r"vae.pth: missing quant_conv.bias$"),
        ("vae", lambda s: s.pop("quantize.embedding.weight"), r"not an official VAE file"),
        (
            "vae",
            lambda s: [s.pop(k) for k in list(s) if "decoder.mid" in k],
            r"vae.pth: missing .* and \d+ more$",
        ),
        ("vae", lambda s: s.update(x=torch.ones(2)), r"vae.pth: surplus x$"),
        ("var", lambda s: s.clear(), "missing pos_start"),
        ("var", lambda s: s.update(lvl_1L=torch.zeros(1, 0, dtype=torch.long)), "misshapen"),
        ("var", lambda s: s.update(lvl_1L=torch.zeros(1, 5)), "misshapen"),
        ("var", lambda s: s.update(pos_start=torch.zeros(1, 1, 0)), "misshapen"),
        ("var", lambda s: s.update(pos_start=torch.tensor(1.0)), "misshapen"),
        (
            "var",
            lambda s: s.update({"blocks.0.attn.scale_mul_1H11": torch.zeros(1, 3, 1, 1)}),
            r"misshapen \(width 64: must be a multiple of heads \(3\)\)",
        ),
        ("var", lambda s: s.update({1: torch.zeros(1)}), "not a flat dictionary"),
        (
            "var",
            lambda s: [s.pop(k) for k in list(s) if k.startswith("blocks.1.")],
            r"missing blocks.1.\S+, .* and \d+ more$",
        ),
        (
            "var",
            lambda s: s.update({"blocks.99999999.x": torch.zeros(1)}),
            r"surplus blocks.99999999.x$",
        ),
        ("vae", lambda s: s.clear(), "missing encoder.conv_in.weight"),
        (
            "vae",
            lambda s: s.update({"encoder.conv_in.weight": torch.zeros(0, 3, 3, 3)}),
            "misshapen",
        ),
        ("vae", lambda s: s.update({"quantize.embedding.weight": torch.zeros(5)}), "misshapen"),
    ],
)
def test_troubles_of_official_files_are_named_in_one_line(tmp_path, kind, change, message):
    files = dict(zip(("vae", "var"), reference.official_files("tiny", tmp_path), strict=True))
    state = torch.load(files[kind], weights_only=True)
    change(state)
    torch.save(state, files[kind])
    with pytest.raises(UserError, match=message) as error:
        varant.load_official(**files)
    assert str(error.value).startswith(str(files[kind]))
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


def test_the_tokenizer_has_the_published_names_and_shapes():
    """The whole published tokenizer but its codebook's buffers, without allocating it."""
    keys = reference.keys("official_vae_keys.txt")
    with torch.device("meta"):
        encoder = varant.model.backbones.OfficialEncoder(160, (1, 1, 2, 2, 4), 2, 32)
        decoder = varant.model.backbones.OfficialDecoder(160, (1, 1, 2, 2, 4), 2, 32)
    found = {
        f"{name}.{key}": tuple(tensor.shape)
        for name, module in (("encoder", encoder), ("decoder", decoder))
        for key, tensor in module.state_dict().items()
    }
    assert found == {k.name: k.shape for k in keys if k.name.startswith(("encoder", "decoder"))}
    state = {key.name: torch.empty(key.shape, device="meta") for key in keys}
    for depth in (16, 36):
        patch_nums = varant.Geometry.official(depth).patch_nums
        config = _official_tokenizer_config(state, "vae.pth", patch_nums)
        assert config == varant.TokenizerConfig.official(patch_nums)


@pytest.mark.parametrize("shared", [False, True])
def test_a_geometry_that_was_never_published(tmp_path, shared):
    """Every size is read off the tensors: none is the published one here."""
    torch.manual_seed(2)
    config = varant.TokenizerConfig(
        patch_nums=(1, 3, 4),
        vocab_size=11,
        code_channels=4,
        backbone="official",
        channels=32,
        multipliers=(1, 2),
        blocks=1,
        phis=3,
    )
    geometry = varant.Geometry(
        depth=3,
        width=12,
        heads=3,
        patch_nums=(1, 3, 4),
        vocab_size=11,
        code_channels=4,
        num_classes=5,
        mlp_ratio=3,
        shared_adaln=shared,
    )
    tokenizer, model = varant.Tokenizer(config).eval(), varant.VAR(geometry).eval()
    files = {"vae": tmp_path / "vae.pth", "var": tmp_path / "var.pth"}
    varant.save_official(tokenizer, model, **files)
    loaded_tokenizer, loaded_model = varant.load_official(**files)
    assert loaded_tokenizer.config == config
    assert loaded_model.geometry == geometry
    tokens = tokenizer.encode(torch.rand(2, 3, 8, 8))
    assert torch.equal(loaded_tokenizer.decode(tokens), tokenizer.decode(tokens))


def test_swapped_files_and_a_codebook_of_another_size(tmp_path):
    vae, var = reference.official_files("tiny", tmp_path)
    with pytest.raises(UserError, match=r"vae.pth: not an official VAR file: missing pos_start"):
        varant.load_official(vae=var, var=vae)
    state = torch.load(vae, weights_only=True)
    for name in ("quantize.embedding.weight", "quantize.ema_vocab_hit_SV"):
        dim = 0 if "embedding" in name else 1
        state[name] = torch.cat([state[name]] * 2, dim=dim)
    torch.save(state, vae)
    with pytest.raises(UserError, match=r"vae.pth: \d+ codes; .*var.pth predicts \d+"):
        varant.load_official(vae=vae, var=var)


def test_half_precision_files_load_in_float32(tmp_path):
    vae, var = reference.official_files("tiny", tmp_path)
    state = torch.load(var, weights_only=True)
    halved = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(halved, var)
    _, model = varant.load_official(vae=vae, var=var)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == torch.float32, name
        assert torch.equal(parameter, halved[name].float()), name


def test_no_damage_to_a_file_escapes_as_a_traceback(tmp_path):
    """Overwritten bytes, truncations in both of PyTorch's formats, a storage that is not there."""
    path = tmp_path / "damaged.pth"
    state = {"a": torch.zeros(3, 2), "b": torch.ones(4, dtype=torch.long)}

    def is_refused(content: bytes) -> bool:
        path.write_bytes(content)
        try:
            _read_official(path)
        except UserError as error:
            assert "\n" not in str(error)
            return True
        return False  # damage that leaves a dictionary of tensors

    torch.save(state, path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), size=rng.integers(1, 20)):
            damaged[place] = rng.integers(0, 256)
        refused += is_refused(bytes(damaged))
    assert refused > 50
    assert all(is_refused(whole[:length]) for length in range(0, len(whole), 97))
    torch.save(state, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    assert all(is_refused(whole[:length]) for length in range(0, len(whole), 29))
    keys = list(re.finditer(rb"\d{9,}", whole))
    last = keys[-1].span()
    assert is_refused(whole[: last[0]] + b"9" * (last[1] - last[0]) + whole[last[1] :])


def test_tensors_larger_than_their_file_are_refused(tmp_path):
    """One stored number that claims to be a billion: stride zero."""
    path = tmp_path / "expanded.pth"
    torch.save({"lvl_1L": torch.zeros(1).expand(10**9)}, path)
    with pytest.raises(UserError, match=r"expanded\.pth: its tensors say that they are larger"):
        varant.load_official(vae=path, var=path)
