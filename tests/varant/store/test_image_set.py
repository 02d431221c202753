"""Many images in one file, in little memory."""

import tracemalloc
from pathlib import Path

import numpy as np

from varant.store.image_set import ImageSet, StoredImages

SHAPE = (640, 128, 128, 3)  # 31 MB


def test_writing_and_reading_hold_a_batch_and_not_the_set(tmp_path: Path) -> None:
    images = ImageSet(path=tmp_path / "samples.npz", shape=SHAPE, facts={"seed": 0})
    tracemalloc.start()
    try:
        images.write(
            lambda indices: np.full((len(indices), *SHAPE[1:]), indices.start % 256, np.uint8),
            batch=16,
            advance=lambda count: None,
        )
        seen = [part[0, 0, 0, 0] for part in StoredImages.of(images.path, "--out").parts(16)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seen == [start % 256 for start in range(0, 640, 16)]
    assert peak < 12e6  # a copy's buffer of 4 MB, and a few batches of 0.8 MB
