"""Many images in one file, in little memory."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from npz_files import declaring

from varant import UserError
from varant.store.image_set import ImageSet, StoredImages

SHAPE = (2560, 64, 64, 3)  # 31 MB


def test_writing_and_reading_hold_a_batch_and_not_the_set(tmp_path: Path) -> None:
    images = ImageSet(path=tmp_path / "samples.npz", shape=SHAPE, facts={"seed": 0})
    tracemalloc.start()
    try:
        images.write(
            lambda indices: np.full((len(indices), *SHAPE[1:]), indices.start % 256, np.uint8),
            batch=16,
            advance=lambda count: None,
        )
        parts = StoredImages.of(images.path, "--out").parts()
        seen = [int(first) for part in parts for first in part[:, 0, 0, 0]]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == [index // 16 * 16 % 256 for index in range(SHAPE[0])]
    assert peak < 16e6  # a copy's buffer of 4 MB, and a few parts of 250 images, 3 MB


def test_labels_that_declare_terabytes_are_refused_by_their_header(tmp_path: Path) -> None:
    path, images = tmp_path / "samples.npz", np.zeros((4, 8, 8, 3), np.uint8)
    declaring(path, arr_1=(1 << 40,), arr_0=images)
    with pytest.raises(
        UserError, match=r"--samples .*samples.npz: cannot be read \(arr_1 declares"
    ):
        StoredImages.of(path, "--samples")
    np.savez(path, arr_0=images, arr_1=np.arange(4))
    np.testing.assert_array_equal(StoredImages.of(path, "--samples").labels_N, np.arange(4))
