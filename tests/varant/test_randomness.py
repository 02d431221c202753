"""The order of the data and the streams of random numbers."""

import numpy as np

from varant.randomness import batch_indices, stream


def test_every_epoch_sees_every_image_once():
    drawn = np.concatenate([batch_indices(3, step, batch=7, images=20) for step in range(20)])
    for epoch in range(7):
        assert sorted(drawn[epoch * 20 : (epoch + 1) * 20]) == list(range(20))
    assert not np.array_equal(drawn[:20], drawn[20:40])
    assert not np.array_equal(drawn[:20], batch_indices(4, 0, batch=20, images=20))
    # A batch larger than the data set takes several epochs.
    assert np.bincount(batch_indices(0, 0, batch=50, images=20)).tolist().count(2) == 10


def test_streams_are_apart():
    draws = {
        (seed, purpose, step): stream(seed, purpose, step).random()
        for seed in (0, 1)
        for purpose in ("data order", "class drop")
        for step in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert stream(0, "class drop", 1).random() == draws[0, "class drop", 1]
