"""Folders of ours, both ways, and what is said of damaged ones."""

import contextlib
import hashlib
import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_networks import small_geometry, small_tokenizer

import varant
from varant import UserError
from varant.store.checkpoint import TYPE_NAMES, load_tokenizer, noted, read_sizes, write_tensors


@pytest.fixture
def ours(tmp_path):
    torch.manual_seed(0)
    config = small_tokenizer((1, 2), 9)
    geometry = small_geometry((1, 2), 9, depth=2, width=8)
    tokenizer, model = varant.Tokenizer(config), varant.VAR(geometry)
    folder = tmp_path / "checkpoint"
    varant.save(folder, tokenizer, model, note={"seed": 3})
    (folder / "manifest.json").unlink()  # as of a folder from elsewhere
    return folder, tokenizer, model


def edit(folder, change):
    """Have `change` done to what the config says."""
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


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


def test_a_flipped_bit_of_the_config_is_named(ours, tmp_path):
    varant.save(tmp_path / "own", ours[1], note={"psnr_db": 26.5})
    path = tmp_path / "own" / "config.json"
    path.write_text(path.read_text().replace("26.5", "22.5"))
    with pytest.raises(UserError, match=r"own/config\.json: damaged .*; put it back, or delete"):
        load_tokenizer(tmp_path / "own")


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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("geometry", "x"),
        ("geometry", {"depth": 2}),
        ("geometry", {"depth": 0}),
        ("geometry", {"surplus": 1}),
        ("geometry", {"depth": "2"}),
        ("tokenizer", None),
        ("tokenizer", {"backbone": "x"}),
        ("tokenizer", {"surplus": 1}),
        ("sha256", []),
        ("sha256", None),
        ("sha256", {}),
    ],
)
def test_a_config_that_was_edited(ours, field, value):
    def change(content):
        more = isinstance(value, dict) and value not in ({}, {"depth": 2})
        content[field] = content[field] | value if more else value

    edit(ours[0], change)
    with pytest.raises(UserError, match=str(ours[0])) as error:
        varant.load(ours[0])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("field", ["format", "version", "geometry", "tokenizer", "sha256"])
def test_a_config_that_lacks_a_field(ours, field):
    edit(ours[0], lambda content: content.pop(field))
    with pytest.raises(UserError, match=r"config.json: not a varant-checkpoint config"):
        varant.load(ours[0])


def test_a_network_of_another_geometry_is_named(ours):
    edit(ours[0], lambda content: content["geometry"].update(vocab_size=10))
    with pytest.raises(UserError, match=r"model.safetensors: misshapen head.weight"):
        varant.load(ours[0])


def test_a_file_that_is_no_safetensors_but_has_the_digest(ours):
    folder = ours[0]
    for damaged in (b"", b"this is a text of forty characters or so", b"\x0a" + bytes(7) + b"xx"):
        (folder / "model.safetensors").write_bytes(damaged)
        digest = {"model.safetensors": hashlib.sha256(damaged).hexdigest()}
        edit(folder, lambda content, new=digest: content["sha256"].update(new))
        with pytest.raises(UserError, match=r"model.safetensors: cannot be read") as error:
            varant.load(folder)
        assert "\n" not in str(error.value)


def test_a_light_tokenizer_has_no_official_form(ours, tmp_path):
    with pytest.raises(UserError, match="light tokenizer backbone has no official form"):
        varant.save_official(ours[1], ours[2], vae=tmp_path / "a.pth", var=tmp_path / "b.pth")
    assert not (tmp_path / "a.pth").exists()


def test_tensors_are_written_as_the_library_does_and_hashed_on_the_way(tmp_path):
    tensors = {
        f"{kind}/{name}": torch.arange(4).to(kind).reshape(shape)
        for kind in TYPE_NAMES
        for name, shape in (("b", (2, 2)), ("a", (4,)))
    }
    tensors |= {
        "scalar": torch.tensor(2.0),
        "none": torch.zeros(0, 3),
        "turned": torch.rand(2, 3).T,
    }
    path = tmp_path / "x.safetensors"
    for metadata in (None, {"recipe": '"é"'}):
        digest = write_tensors(path, tensors, metadata)
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        assert path.read_bytes() == safetensors.torch.save(whole, metadata)


HOSTILE = {
    "geometry": {
        "depth": [10**9, 1000, 2.0, True, float("nan")],
        "width": [10**12, 8 * 10**5],
        "heads": [0],
        "patch_nums": [[1, 10**6], list(range(1, 10**5)), {"1": 2}, 7],
        "vocab_size": [10**6],
        "num_classes": [-1],
        "mlp_ratio": [10**30],
        "code_channels": [None],
    },
    "tokenizer": {
        "patch_nums": [[1, 64], []],
        "vocab_size": [10**6],
        "channels": [10**6],
        "blocks": [10**9, 64],
        "phis": [1.5],
        "multipliers": [[64] * 10**5, "1122"],
        "backbone": [["official"]],
    },
}


@pytest.mark.parametrize(
    ("part", "field", "value"),
    [(part, field, v) for part, of in HOSTILE.items() for field, vs in of.items() for v in vs],
    ids=lambda value: str(value)[:20],
)
def test_sizes_that_are_not_those_of_the_weights_are_refused_unmade(ours, part, field, value):
    edit(ours[0], lambda content: content[part].update({field: value}))
    for read in (varant.load, read_sizes):
        with held_memory(2**31), pytest.raises(UserError) as error:
            read(ours[0])
            read_sizes(ours[0])
            load_tokenizer(ours[0])
        said = str(error.value)
        assert str(ours[0]) in said and "\n" not in said and len(said) < 600


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"format": "varant-checkpoint", "version": 1, "x": \xff}', b"\0", b"1e400"],
    ids=["nested", "not UTF-8", "binary", "a number"],
)
def test_what_is_no_config_is_refused(ours, content):
    (ours[0] / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json: not a varant-checkpoint config"):
        varant.load(ours[0])


def test_a_pipe_and_an_absurdly_large_file_are_no_config(ours, monkeypatch):
    path = ours[0] / "config.json"
    monkeypatch.setattr("varant.files.MOST_JSON_BYTES", 100)
    with pytest.raises(UserError, match="not a varant-checkpoint config"):
        varant.load(ours[0])
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UserError, match=r"config\.json.* regular file"):
        varant.load(ours[0])


def test_a_note_of_any_kind_is_no_trouble(ours):
    for note in (None, [], "x", {"identity": 3}, {"identity": {"training": []}}):
        assert noted({"note": note}, "identity", "training", "switch") is None
    assert noted({"note": {"identity": {"training": {"switch": 2}}}}, "identity", "training") == {
        "switch": 2
    }


def test_weights_that_are_whole_numbers_are_refused(ours):
    path = ours[0] / "model.safetensors"
    state = safetensors.torch.load_file(path)
    digest = write_tensors(path, {name: t.to(torch.int64) for name, t in state.items()})
    edit(ours[0], lambda content: content["sha256"].update({path.name: digest}))
    with pytest.raises(UserError, match=r"model\.safetensors: .* holds no floating-point"):
        varant.load(ours[0])


@contextlib.contextmanager
def held_memory(more: int) -> Iterator[None]:
    """This process may take so many bytes more than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + more
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
