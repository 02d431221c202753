"""Class folders: what is read, how it is cropped, and what is said of bad ones."""

import itertools

import numpy as np
import pytest
from image_files import paint
from PIL import Image

from varant import UserError
from varant.data.datasets import SPLITS
from varant.data.folders import FolderSplit, UnreadableImage, folder_dataset


@pytest.fixture
def imagenet(tmp_path):
    """`train/` and `val/` with two classes, in files of several kinds and depths."""
    for i, name in enumerate(("n02", "n01")):
        for j in range(4):
            paint(tmp_path / "train" / name / "deep" / f"{j}.JPEG", colour=(40 * i, 60 * j, 9))
        for j in range(6):
            paint(tmp_path / "val" / name / f"{j}.png", seed=j + 10 * i)
    (tmp_path / "train" / "n01" / "notes.txt").write_text("no image")
    return tmp_path


def test_classes_are_sorted_and_val_is_shared_out(imagenet):
    data = folder_dataset(imagenet, side=16)
    assert data.class_names == ("n01", "n02")
    assert data.sizes == {"train": 8, "select": 6, "test": 6}
    assert data.train.labels_N.tolist() == [0, 1] * 4
    assert {p.name for p in data.train.paths} == {f"{j}.JPEG" for j in range(4)}
    assert not set(data.select.paths) & set(data.test.paths)
    assert data.select.labels_N.tolist() == [0, 1, 0, 1, 0, 1]
    images = data.test.images(slice(0, 2))
    assert images.shape == (2, 3, 16, 16)
    assert images.dtype == np.uint8


def test_any_first_images_are_of_all_classes(tmp_path):
    seeds = itertools.count()
    for split in ("train", "val"):
        for label, count in (("a", 8), ("b", 4), ("c", 6)):
            for i in range(count):
                paint(tmp_path / split / label / f"{i}.png", (20, 20), seed=next(seeds))
    test = folder_dataset(tmp_path, side=16).test
    assert test.labels_N.tolist() == [0, 1, 2, 0, 1, 2, 0, 2, 0]
    assert [path.parent.name for path in test.paths] == ["abc"[i] for i in test.labels_N]


def test_class_folders_alone_are_split_by_turns(tmp_path):
    for name in ("a", "b"):
        for j in range(20):
            paint(tmp_path / name / f"{j:02d}.png", seed=j)
    data = folder_dataset(tmp_path, side=8)
    assert data.sizes == {"train": 32, "select": 4, "test": 4}
    held = {p.name for split in ("select", "test") for p in getattr(data, split).paths}
    assert held == {"08.png", "18.png", "09.png", "19.png"}


def test_held_out_images_are_the_centre_of_the_resized_image(tmp_path):
    path = paint(tmp_path / "x.png", (60, 36), seed=3)
    split = FolderSplit(paths=(path,), labels_N=np.zeros(1, int), side=32, random_crop=False)
    small = Image.open(path).resize((60, 36), Image.Resampling.LANCZOS)  # 36 = 1.125 x 32
    expected = np.asarray(small)[2:34, 14:46].transpose(2, 0, 1)
    np.testing.assert_array_equal(split.images(slice(None))[0], expected)


def test_random_crops_cover_the_image_and_follow_their_places(tmp_path):
    path = paint(tmp_path / "x.png", (36, 54), seed=3)
    split = FolderSplit(paths=(path,) * 3, labels_N=np.zeros(3, int), side=32, random_crop=True)
    whole = np.asarray(Image.open(path)).transpose(2, 0, 1)  # 36 is the resized side already
    corners = np.array([[0.0, 0.0], [0.999, 0.999], [0.5, 0.5]])
    first, last, middle = split.images(np.arange(3), corners)
    np.testing.assert_array_equal(first, whole[:, :32, :32])
    np.testing.assert_array_equal(last, whole[:, -32:, -32:])
    np.testing.assert_array_equal(middle, whole[:, 11:43, 2:34])
    own = split.images(np.arange(3))
    np.testing.assert_array_equal(own[1:], split.images(np.array([1, 2])))
    assert not np.array_equal(own[0], own[1]), "every image has a place of its own"


def test_digest_names_files_sizes_side_and_classes(imagenet):
    digest = folder_dataset(imagenet, side=16).digest
    assert digest == folder_dataset(imagenet, side=16).digest
    assert digest != folder_dataset(imagenet, side=24).digest
    paint(imagenet / "val" / "n01" / "0.png", (41, 30))
    assert digest != folder_dataset(imagenet, side=16).digest


@pytest.mark.parametrize("damage", ["truncated", "no image", "empty"])
def test_an_unreadable_image_is_named(imagenet, damage):
    path = imagenet / "train" / "n02" / "deep" / "1.JPEG"
    content = {"truncated": path.read_bytes()[:200], "no image": b"hello", "empty": b""}[damage]
    path.write_bytes(content)
    data = folder_dataset(imagenet, side=16)
    with pytest.raises(UnreadableImage, match=r"n02/deep/1.JPEG: cannot be read as an image") as e:
        data.train.images(slice(None))
    assert e.value.index == 3  # classes come by turns
    assert "--skip-unreadable" in str(e.value)


def test_bad_folders(imagenet, tmp_path):
    def refused(path):
        with pytest.raises(UserError) as error:
            folder_dataset(path, side=16)
        return str(error.value)

    assert "no such folder" in refused(tmp_path / "nowhere")
    (imagenet / "train" / "n03").mkdir()
    assert f"{imagenet / 'train' / 'n03'}: a class folder without images" in refused(imagenet)
    (imagenet / "train" / "n03").rmdir()
    paint(imagenet / "val" / "n09" / "0.png")
    assert f"{imagenet / 'val' / 'n09'}: no such class in train/" in refused(imagenet)
    lonely = tmp_path / "lonely"
    paint(lonely / "train" / "a" / "0.png")
    assert "has a train/ folder and no val/" in refused(lonely)
    (tmp_path / "void").mkdir()
    assert "holds no class folders" in refused(tmp_path / "void")
    paint(tmp_path / "few" / "a" / "0.png")
    assert "too few images for a select split" in refused(tmp_path / "few")


def test_splits_are_the_three():
    assert SPLITS == ("train", "select", "test")
