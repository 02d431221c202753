"""The embedded data sets are functions of their names."""

import hashlib

import numpy as np
import pytest

from varant import UserError
from varant.data import shapes
from varant.data.datasets import DATASETS, load_dataset

PIXELS = "cf873841fcac83282979f08ee50b0ef5ce33cfa0c9913e04d0e246c2b4ef2350"


def test_pixels_are_pinned():
    digest = hashlib.sha256()
    for stream in range(3):
        digest.update(shapes.render(0, stream, 0, 256).tobytes())
    assert digest.hexdigest() == PIXELS


def test_an_image_does_not_depend_on_the_range_it_is_rendered_in():
    together = shapes.render(0, 1, 100, 50)
    for first, count in ((100, 1), (117, 3), (149, 1)):
        alone = shapes.render(0, 1, first, count)
        assert np.array_equal(alone, together[first - 100 : first - 100 + count])


def test_seeds_and_streams_give_other_images():
    images = [shapes.render(seed, stream, 0, 20) for seed in (0, 1) for stream in (0, 1)]
    for i, one in enumerate(images):
        for other in images[:i]:
            assert not (one == other).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("name", DATASETS)
def test_splits(name):
    dataset = load_dataset(name, limit=600)
    side = dataset.image_side
    assert len(dataset.train) == 600
    assert dataset.num_classes == 10
    seen = set()
    for split in (dataset.train, dataset.select, dataset.test):
        assert split.images_N3HW.shape == (len(split), 3, side, side)
        assert split.images_N3HW.dtype == np.uint8
        assert split.labels_N.dtype == np.int64
        assert set(split.labels_N) == set(range(10))
        images = {image.tobytes() for image in split.images_N3HW}
        assert not images & seen, "an image is in two splits"
        seen |= images


def test_shapes_are_balanced_and_held_out_splits_keep_500():
    dataset = load_dataset("shapes", limit=2_000)
    assert np.bincount(dataset.train.labels_N).tolist() == [200] * 10
    assert len(dataset.select) == len(dataset.test) == 500


def test_digest_names_the_content():
    assert load_dataset("shapes", limit=600).digest == load_dataset("shapes", limit=600).digest
    assert load_dataset("shapes", limit=600).digest != load_dataset("shapes", limit=700).digest
    assert load_dataset("digits").digest != load_dataset("shapes", limit=600).digest


def test_class_is_in_the_pixels():
    """Nearest class mean of a colour-free outline is far above chance: shape carries the class."""
    dataset = load_dataset("shapes", limit=2_000)

    def outline(images_N3HW):
        grey = images_N3HW.max(axis=1).astype(float)
        return (grey > grey.mean(axis=(1, 2), keepdims=True)).reshape(len(grey), -1).astype(float)

    train, test = outline(dataset.train.images_N3HW), outline(dataset.test.images_N3HW)
    means = np.stack([train[dataset.train.labels_N == c].mean(0) for c in range(10)])
    nearest = ((test[:, None] - means) ** 2).sum(-1).argmin(1)
    assert (nearest == dataset.test.labels_N).mean() > 0.6


def test_unknown_name():
    with pytest.raises(UserError, match="--dataset imagenet: use one of digits, shapes"):
        load_dataset("imagenet")
