"""The embedded data sets are functions of their names."""

import hashlib

import numpy as np
import pytest

from varant import UserError
from varant.data import shapes
from varant.data.datasets import load_dataset
from varant.presets import presets

PIXELS = "cf873841fcac83282979f08ee50b0ef5ce33cfa0c9913e04d0e246c2b4ef2350"

DIGESTS = {
    ("shapes", None): "e68f668c4dc109d35ab0f7ea976d043e910bb12114d240739fb46dc952fb37f3",
    ("shapes", 2_000): "8323dbb93199ab2402490ec7cd966beb05832c55d54f42007ac9f52e932cfc7f",
    ("digits", None): "ec73d952875a86d1783741f9cbbfab21c536f144d8e158e066902e134ffac725",
}


def test_pixels_are_pinned():
    digest = hashlib.sha256()
    for stream in range(3):
        digest.update(shapes.render(0, stream, range(256), side=24).tobytes())
    assert digest.hexdigest() == PIXELS


@pytest.mark.parametrize("side", [24, 32, 40])
def test_an_image_does_not_depend_on_what_it_is_rendered_with(side):
    together = shapes.render(0, 1, range(100, 400), side=side)
    assert together.shape == (300, 3, side, side)
    for chosen in ([100], [117, 118, 119], [399], [250, 101, 102, 250, 399]):
        alone = shapes.render(0, 1, np.array(chosen), side=side)
        assert np.array_equal(alone, together[np.array(chosen) - 100])


def test_one_scene_at_every_side():
    """Images of 48 pixels, averaged over 2 x 2, differ from those of 24 at edges alone."""
    small, large = (shapes.render(0, 0, range(200), side=side) for side in (24, 48))
    averaged = large.reshape(200, 3, 24, 2, 24, 2).mean((3, 5))
    difference = np.abs(averaged - small)
    assert np.median(difference) <= 1
    assert difference.mean() < 6
    assert np.abs(averaged - np.roll(small, 10, axis=0)).mean() > 20, "the next of its class"


def test_a_split_renders_what_is_asked_for():
    split = load_dataset("shapes", side=32, limit=600).train
    every = split.images(slice(None))
    assert every.shape == (600, 3, 32, 32)
    chosen = np.array([599, 3, 4, 3])
    assert np.array_equal(split.images(chosen), every[chosen])
    assert np.array_equal(split.images(slice(10, 700, 7)), every[10:700:7])
    assert split.images(slice(0)).shape == (0, 3, 32, 32)


def test_seeds_and_streams_give_other_images():
    images = [
        shapes.render(seed, stream, range(20), side=24) for seed in (0, 1) for stream in (0, 1)
    ]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert not (one == other).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("name", ["digits", "shapes"])
def test_splits(name):
    dataset = load_dataset(name, limit=600)
    side = dataset.image_side
    assert len(dataset.train) == 600
    assert dataset.num_classes == 10
    seen = set()
    for split in (dataset.train, dataset.select, dataset.test):
        pixels = split.images(slice(None))
        assert pixels.shape == (len(split), 3, side, side)
        assert pixels.dtype == np.uint8
        assert split.labels_N.dtype == np.int64
        assert set(split.labels_N) == set(range(10))
        images = {image.tobytes() for image in pixels}
        assert not images & seen, "an image is in two splits"
        seen |= images


def test_shapes_are_balanced_and_held_out_splits_keep_500():
    dataset = load_dataset("shapes", limit=2_000)
    assert np.bincount(dataset.train.labels_N).tolist() == [200] * 10
    assert len(dataset.select) == len(dataset.test) == 500


@pytest.mark.parametrize(("name", "limit"), DIGESTS)
def test_digests_are_pinned(name, limit):
    """Workspaces know tokenizers and tokens by them."""
    assert load_dataset(name, limit=limit).digest == DIGESTS[name, limit]


@pytest.mark.parametrize("preset", presets().values(), ids=presets())
def test_shapes_follow_the_preset_of_their_side(preset):
    dataset = load_dataset("shapes", side=preset.image_side)
    assert dataset.sizes == preset.images
    assert dataset.key == f"shapes-{preset.image_side}"
    assert len(dataset.train) == preset.images["train"]
    assert load_dataset("shapes", side=12).sizes == presets()["tiny"].images


def test_digits_have_one_side():
    with pytest.raises(UserError, match="digits: has 24 px images; the tokenizer takes 32 px"):
        load_dataset("digits", side=32)


def test_digest_names_the_content():
    assert load_dataset("shapes", side=32).digest != load_dataset("shapes").digest
    assert load_dataset("shapes", limit=600).digest == load_dataset("shapes", limit=600).digest
    assert load_dataset("shapes", limit=600).digest != load_dataset("shapes", limit=700).digest
    assert load_dataset("digits").digest != load_dataset("shapes", limit=600).digest


def test_class_is_in_the_pixels():
    """Nearest class mean of a colour-free outline is far above chance: shape carries the class."""
    dataset = load_dataset("shapes", limit=2_000)

    def outline(images_N3HW):
        grey = images_N3HW.max(axis=1).astype(float)
        return (grey > grey.mean(axis=(1, 2), keepdims=True)).reshape(len(grey), -1).astype(float)

    train, test = (outline(split.images(slice(None))) for split in (dataset.train, dataset.test))
    means = np.stack([train[dataset.train.labels_N == c].mean(0) for c in range(10)])
    nearest = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == dataset.test.labels_N).mean() > 0.6


def test_unknown_name():
    with pytest.raises(UserError, match="--dataset imagenet: use one of digits, shapes"):
        load_dataset("imagenet")
