"""Images for evaluators: one by one in an NPZ file, the same however they were drawn."""

import numpy as np
import pytest
import torch
from PIL import Image
from small_networks import small_geometry, small_tokenizer

import varant
from varant import VAR, Tokenizer
from varant.errors import UserError
from varant.flags import flags_of
from varant.sample import SampleConfig, main
from varant.start.config import PackagedConfig, SamplingConfig
from varant.store.image_set import ImageSet, read_facts

SIDES = (1, 2, 3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tokenizer = Tokenizer(small_tokenizer(SIDES, 16))
        network = VAR(small_geometry(SIDES, 16, depth=3))
    varant.save(folder, tokenizer, network)
    return folder


def config_of(model, out, **flags):
    sampling = SamplingConfig(cfg=1.5, top_k=12, top_p=0.9)
    flags = {"per_class": 3, "plan": "d1@1"} | flags
    return SampleConfig(start=PackagedConfig(model=model), sampling=sampling, out=out, **flags)


def images_in(path):
    with np.load(path, allow_pickle=False) as file:
        return file["arr_0"]


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "samples.npz"
    main(config_of(model, out, batch=9))
    return images_in(out)


@pytest.mark.parametrize("batch", [1, 4])
def test_images_do_not_depend_on_the_batch(model, whole, batch, tmp_path, capsys):
    out = tmp_path / "samples.npz"
    main(config_of(model, out, batch=batch, png=tmp_path / "png"))
    images = images_in(out)
    assert (images.dtype, images.shape) == (np.uint8, (9, 12, 12, 3))
    assert np.abs(images.astype(int) - whole.astype(int)).max() <= 1
    assert "9 images under d1@1, seed 0, 3 of each of 3 classes" in capsys.readouterr().out
    pngs = sorted((tmp_path / "png").iterdir())
    assert [path.name for path in pngs] == [f"{index:06d}.png" for index in range(9)]
    assert all((np.asarray(Image.open(p)) == i).all() for p, i in zip(pngs, images, strict=True))
    assert {path.name for path in tmp_path.iterdir()} == {"png", "samples.npz"}


def test_images_are_in_class_order(model, tmp_path):
    tokenizer, network = varant.load(model)
    out = tmp_path / "samples.npz"
    main(config_of(model, out, classes=(0, 2)))
    how = {"cfg": 1.5, "top_k": 12, "top_p": 0.9, "plan": "d1@1"}
    labels = torch.tensor([0, 0, 0, 2, 2, 2])
    expected = varant.generate(network, tokenizer, labels, seed=0, **how).images
    assert np.array_equal(images_in(out), (expected * 255).round().byte().permute(0, 2, 3, 1))
    facts = read_facts(out)
    assert (facts["plan"], facts["classes"], facts["cfg"]) == ("d1@1", [0, 2], 1.5)


class Killed(BaseException):
    pass


def test_stopped_it_goes_on_after_the_last_whole_batch(model, whole, tmp_path, monkeypatch, capsys):
    out, drawn = tmp_path / "samples.npz", []
    write = ImageSet.write

    def watched(self, draw, *, stop=None, **how):
        def one(indices):
            if indices.start == stop:
                raise Killed
            drawn.append(indices)
            return draw(indices)

        write(self, one, **how)

    monkeypatch.setattr(
        ImageSet, "write", lambda self, draw, **how: watched(self, draw, stop=4, **how)
    )
    with pytest.raises(Killed):
        main(config_of(model, out, batch=2))
    assert not out.exists()
    raw = tmp_path / "samples.npz.part" / "images.u8"
    raw.write_bytes(raw.read_bytes() + b"torn")
    with pytest.raises(
        UserError, match=r"samples.npz.part: holds images of seed 0, not 1; delete it"
    ):
        main(config_of(model, out, seed=1))
    monkeypatch.setattr(ImageSet, "write", watched)
    main(config_of(model, out, batch=3))
    assert drawn == [range(2), range(2, 4), range(4, 7), range(7, 9)]
    assert np.abs(images_in(out).astype(int) - whole.astype(int)).max() <= 1
    drawn.clear()
    raw.parent.mkdir()
    raw.write_bytes(b"left by a kill after the last image")
    main(config_of(model, out))
    assert not raw.parent.exists()
    assert drawn == []
    main(config_of(model, out, png=tmp_path / "png"))  # of all parts, whoever drew them
    pngs = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "png").iterdir())]
    assert np.array_equal(np.stack(pngs), images_in(out))
    assert drawn == []
    assert "samples.npz: finished already" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"samples.npz: holds images of plan d1@1, not full; delete"
    ):
        main(config_of(model, out, plan="full"))


def test_a_damaged_part_is_named(model, tmp_path):
    part = tmp_path / "samples.npz.part"
    part.mkdir()
    (part / "state.json").write_text("{")
    with pytest.raises(UserError, match=r"state.json: damaged; delete .*\.part to begin again"):
        main(config_of(model, tmp_path / "samples.npz"))


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ("--rows 3 --out x.npz", "--rows 3: is for a sheet; --out is x.npz"),
        ("--per-class 3", "--per-class 3: is for an NPZ file; --out is samples.png"),
        ("--png y --out x.png", "--png y: is for an NPZ file; --out is x.png"),
    ],
)
def test_flags_of_the_other_kind(argv, said):
    with pytest.raises(UserError, match=said):
        flags_of(SampleConfig, None, argv.split())


def test_a_foreign_file_is_not_overwritten(model, tmp_path):
    out = tmp_path / "samples.npz"
    np.savez(out, arr_0=np.zeros(3))
    with pytest.raises(UserError, match=r"samples.npz: is no images of this command; name"):
        main(config_of(model, out))
