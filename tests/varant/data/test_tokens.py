"""Token shards against the tokenizer itself; skipping, resuming, batches."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import paint
from small_networks import small_tokenizer

from varant import Tokenizer, UserError
from varant.data.batches import CachedBatches, OnlineBatches
from varant.data.datasets import ArraySplit, Dataset, images_to_float
from varant.data.folders import ReplacingSplit, UnreadableImage, folder_dataset
from varant.data.tokens import Tokenising, cache_tokens, read_tokens
from varant.randomness import batch_indices, stream


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    config = small_tokenizer((1, 2, 4), 32)
    return Tokenizer(config).eval()


def dataset(count=20) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8)
    split = ArraySplit(images_N3HW=images, labels_N=np.arange(count) % 5)
    return Dataset(
        name="noise",
        image_side=16,
        class_names=tuple("abcde"),
        digest="d",
        sizes=dict.fromkeys(("train", "select", "test"), count),
        make_split=lambda name: split,
    )


def test_shards_hold_the_tokenizer_s_tokens_and_flips_come_last(tmp_path):
    data, draw = dataset(), tokenizer()
    tokens = cache_tokens(tmp_path, data, draw, Tokenising(flips=True, shard_entries=7, batch=3))
    assert [len(shard) for shard in tokens.train.shards] == [7] * 5 + [5]
    assert tokens.train.shards[0].dtype == torch.int16
    assert len(tokens.select) == 20, "held-out images are not flipped"
    images = images_to_float(data.train.images_N3HW)
    expected = torch.cat([draw.encode(images), draw.encode(images.flip(3))])
    everything = tokens.train.rows(slice(None))
    assert torch.equal(everything.tokens_NL, expected)
    assert everything.tokens_NL.dtype == torch.int64
    assert everything.labels_N.tolist() == [i % 5 for i in range(20)] * 2
    chosen = np.array([39, 0, 7, 6, 7, 20])
    assert torch.equal(tokens.train.rows(chosen).tokens_NL, expected[chosen])
    assert tokens.train.rows(chosen).labels_N.tolist() == [4, 0, 2, 1, 2, 0]


def test_a_killed_tokenisation_goes_on_after_its_last_shard(tmp_path):
    done = []

    def stop(count):
        done.append(count)
        if sum(done) > 12:
            raise KeyboardInterrupt

    def progress(title, total, unit):
        assert total == 2 * 20
        return contextlib.nullcontext(stop)

    with pytest.raises(KeyboardInterrupt):
        cache_tokens(
            tmp_path,
            dataset(),
            tokenizer(),
            Tokenising(shard_entries=5, batch=2),
            progress=progress,
        )
    whole = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(whole) == 2
    assert not (tmp_path / "index.json").exists()
    cache_tokens(tmp_path, dataset(), tokenizer(), Tokenising(shard_entries=5, batch=2))
    assert all(path.stat().st_mtime_ns == time for path, time in whole.items())
    found = read_tokens(tmp_path).train.rows(slice(None)).tokens_NL
    assert torch.equal(found, tokenizer().encode(images_to_float(dataset().train.images_N3HW)))
    # A truncated shard is no whole one.
    victim = sorted(whole)[0]
    victim.write_bytes(victim.read_bytes()[:100])
    (tmp_path / "index.json").unlink()
    cache_tokens(tmp_path, dataset(), tokenizer(), Tokenising(shard_entries=5, batch=2))
    assert torch.equal(read_tokens(tmp_path).train.rows(slice(None)).tokens_NL, found)


def test_damaged_caches_are_refused(tmp_path):
    cache_tokens(tmp_path, dataset(), tokenizer())
    shard = tmp_path / "select-00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(UserError, match="damaged token cache"):
        read_tokens(tmp_path)
    (tmp_path / "index.json").write_text(json.dumps({"version": 2}))
    with pytest.raises(UserError, match="damaged token cache"):
        read_tokens(tmp_path)


def test_digest_names_tokenizer_data_and_preprocessing():
    other = replace(dataset(), digest="other")
    digests = [
        Tokenising().digest(dataset(), "weights"),
        Tokenising().digest(other, "weights"),
        Tokenising().digest(dataset(), "other"),
        Tokenising(flips=True).digest(dataset(), "weights"),
        Tokenising(splits=("select",)).digest(dataset(), "weights"),
    ]
    assert len(set(digests)) == 5
    assert Tokenising(skip_unreadable=True, batch=3).digest(dataset(), "weights") == digests[0]


@pytest.fixture
def photographs(tmp_path):
    for name in ("a", "b"):
        for j in range(10):
            paint(tmp_path / "photos" / name / f"{j}.png", (30, 24), seed=j + 10 * (name == "b"))
    return tmp_path / "photos"


def test_unreadable_images_stop_or_are_listed(photographs, tmp_path):
    bad = [photographs / "a" / "3.png", photographs / "b" / "0.png"]
    for path in bad:
        path.write_bytes(b"no image")
    data = folder_dataset(photographs, side=16)
    with pytest.raises(UnreadableImage, match=r"a/3.png"):
        cache_tokens(tmp_path / "strict", data, tokenizer())
    assert not (tmp_path / "strict" / "index.json").exists()
    tokens = cache_tokens(
        tmp_path / "lax", data, tokenizer(), Tokenising(skip_unreadable=True, flips=True)
    )
    assert tokens.skipped == tuple(str(path) for path in bad)
    assert len(tokens.train) == 2 * 14
    keep = np.array([i for i in range(16) if data.train.paths[i] not in bad])
    expected = tokenizer().encode(images_to_float(data.train.images(keep)))
    assert torch.equal(tokens.train.rows(slice(0, 14)).tokens_NL, expected)
    assert tokens.train.labels_N[:14].tolist() == data.train.labels_N[keep].tolist()


def test_cached_batches_are_a_function_of_seed_and_step(tmp_path):
    tokens = cache_tokens(tmp_path, dataset(), tokenizer(), Tokenising(shard_entries=6))
    batches = CachedBatches(tokens.train, seed=3, batch=8)
    whole = batches.batch(5, slice(None))
    chosen = batch_indices(3, 5, batch=8, images=20)
    assert whole.labels_N.tolist() == (chosen % 5).tolist()
    halves = [batches.batch(5, part) for part in (slice(0, 4), slice(4, 8))]
    assert torch.equal(torch.cat([h.tokens_NL for h in halves]), whole.tokens_NL)


def test_online_batches_crop_and_flip_as_a_function_of_seed_and_step(photographs):
    data = folder_dataset(photographs, side=16).train

    def make():
        split = ReplacingSplit(data)
        return OnlineBatches(split, tokenizer(), seed=3, batch=6, flips=True)

    one, other = make(), make()
    for step in (0, 1, 2):
        whole = one.batch(step, slice(None))
        halves = [other.batch(step, part) for part in (slice(0, 3), slice(3, 6))]
        assert torch.equal(torch.cat([h.tokens_NL for h in halves]), whole.tokens_NL)
        chosen = batch_indices(3, step, batch=6, images=len(data))
        places = stream(3, "crop", step).random((6, 2))
        images = images_to_float(data.images(chosen, places))
        mirror = torch.from_numpy(stream(3, "flip", step).random(6) < 0.5)
        images[mirror] = images[mirror].flip(3)
        assert torch.equal(whole.tokens_NL, tokenizer().encode(images))
        assert whole.labels_N.tolist() == data.labels_N[chosen].tolist()
    # A step that was not the next one, as after a resume.
    assert torch.equal(make().batch(2, slice(None)).tokens_NL, whole.tokens_NL)


def test_online_batches_replace_what_cannot_be_read(photographs):
    bad = folder_dataset(photographs, side=16).train.paths[2]
    bad.write_bytes(b"no image")
    data = folder_dataset(photographs, side=16).train
    strict, lax = (
        OnlineBatches(ReplacingSplit(data, skip), tokenizer(), seed=0, batch=16, flips=False)
        for skip in (False, True)
    )
    with pytest.raises(UnreadableImage):
        strict.batch(0, slice(None))
    found = lax.batch(0, slice(None))
    chosen = batch_indices(0, 0, batch=16, images=16)
    expected = np.where(chosen == 2, 3, chosen)
    assert found.labels_N.tolist() == data.labels_N[expected].tolist()
    assert lax.skipped == (str(bad),)
