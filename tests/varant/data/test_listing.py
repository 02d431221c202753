"""Which files a folder of images has: each once, and no content in two splits."""

import os

import pytest
from image_files import paint

from varant import UserError
from varant.data.folders import folder_dataset


@pytest.fixture
def folder(tmp_path):
    """Two classes of twelve different images."""
    for number, name in enumerate("ab"):
        for i in range(12):
            paint(tmp_path / "data" / name / f"{i:02d}.png", (9, 9), seed=12 * number + i)
    return tmp_path / "data"


def sizes(folder, **flags):
    return folder_dataset(folder, side=8, **flags).sizes


def paths(data, split):
    return {str(path.relative_to(path.parents[1])) for path in getattr(data, split).paths}


def test_links_that_lead_round_add_nothing(folder, capfd):
    before = folder_dataset(folder, side=8)
    (folder / "a" / "self").symlink_to(".")
    (folder / "a" / "self2").symlink_to(".")
    (folder / "a" / "up").symlink_to("..")
    (folder / "a" / "other").symlink_to("../b")
    (folder / "b" / "once more.png").symlink_to("00.png")
    os.link(folder / "a" / "00.png", folder / "b" / "hard.png")
    data = folder_dataset(folder, side=8)
    assert data.digest == before.digest
    assert sum(data.sizes.values()) == 24
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "left out 6 links to what is listed already" in said


def test_links_to_what_is_elsewhere_are_followed(folder, tmp_path):
    store = tmp_path / "store"
    for i in range(3):
        paint(store / "deep" / f"{i}.png", (9, 9), seed=100 + i)
    (folder / "a" / "deep").symlink_to(store / "deep")
    paint(tmp_path / "c" / "x.png", (9, 9), seed=200)
    (folder / "c").symlink_to(tmp_path / "c")
    data = folder_dataset(folder, side=8)
    assert data.class_names == ("a", "b", "c")
    assert sum(data.sizes.values()) == 24 + 3 + 1


@pytest.mark.parametrize("what", ["a link to nothing", "a pipe", "a lost class"])
def test_what_is_no_file_is_named_or_left_out_by_flag(folder, capfd, what):
    path = folder / "a" / "x.png"
    if what == "a pipe":
        os.mkfifo(path)
    else:
        path = folder / "c" if what == "a lost class" else path
        path.symlink_to("nowhere")
    with pytest.raises(UserError) as error:
        sizes(folder)
    said = "a pipe" if what == "a pipe" else "a link to nothing"
    assert f"--data-path {path}: is {said}" in str(error.value)
    assert "--skip-unreadable" in str(error.value)
    if what == "a lost class":
        with pytest.raises(UserError, match="a class folder without images"):
            sizes(folder, skip_unreadable=True)
    else:
        assert sum(sizes(folder, skip_unreadable=True).values()) == 24
    assert (
        f"left out 1 links to nothing, pipes or devices, such as {path}" in capfd.readouterr().err
    )


def test_two_names_of_one_class_folder_are_refused(folder):
    (folder / "c").symlink_to("a")
    with pytest.raises(UserError, match="c: a class folder without images"):
        sizes(folder)


def test_no_content_is_in_two_splits(tmp_path, capfd):
    for i in range(20):
        paint(tmp_path / "train" / "a" / f"{i:02d}.png", (9, 9), seed=i)
        paint(tmp_path / "train" / "b" / f"{i:02d}.png", (9, 9), seed=20 + i)
    for i in range(4):
        paint(tmp_path / "val" / "a" / f"{i}.png", (9, 9), seed=100 + i)
    paint(tmp_path / "val" / "a" / "0.png", (9, 9), seed=3)  # of a, and select
    paint(tmp_path / "val" / "a" / "1.png", (9, 9), seed=25)  # of b, and test
    paint(tmp_path / "val" / "a" / "2.png", (9, 9), seed=103)  # select, as 3.png of test
    data = folder_dataset(tmp_path, side=8)
    assert data.sizes == {"train": 38, "select": 1, "test": 2}
    assert not paths(data, "train") & {"a/03.png", "b/05.png"}
    said = capfd.readouterr().err.splitlines()
    assert "left out 1 select images with the content of a held-out one" in said[0]
    assert "left out 2 train images with the content of a held-out one" in said[1]
    assert f"{tmp_path}/train/a/03.png (the same as {tmp_path}/val/a/0.png)" in said[1]


def test_images_of_one_size_and_ending_are_told_apart_by_all_their_bytes(tmp_path):
    for i in range(20):
        path = paint(tmp_path / "a" / f"{i:02d}.bmp", (40, 40), seed=i)
        content = bytearray(path.read_bytes())
        content[-1000:] = bytes(1000)
        path.write_bytes(content)
    assert sizes(tmp_path) == {"train": 16, "select": 2, "test": 2}
    (tmp_path / "a" / "00.bmp").write_bytes((tmp_path / "a" / "08.bmp").read_bytes())
    assert sizes(tmp_path) == {"train": 15, "select": 2, "test": 2}


def test_a_class_that_is_all_held_out_is_refused(tmp_path):
    for part in ("train", "val"):
        for i in range(4):
            paint(tmp_path / part / "a" / f"{i}.png", (9, 9), seed=i)
    with pytest.raises(UserError, match="all training images of class a are held out"):
        sizes(tmp_path)
