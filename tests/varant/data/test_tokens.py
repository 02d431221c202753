"""Token shards against the tokenizer itself; skipping, resuming, batches."""

import contextlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from image_files import paint
from small_networks import small_tokenizer

from varant import Tokenizer, UserError, devices
from varant.data.batches import CachedBatches, OnlineBatches
from varant.data.datasets import ArraySplit, Dataset, images_to_float
from varant.data.folders import ReplacingSplit, UnreadableImage, folder_dataset
from varant.data.tokens import (
    MIRRORED,
    Tokenising,
    Tokens,
    TokenSplit,
    cache_tokens,
    read_split,
    tokens_digest,
)
from varant.devices import images_at_once
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


def cached(folder, data, splits=("train", "select"), how=Tokenising()) -> Tokens:  # noqa: B008
    cache_tokens(folder, data, tokenizer(), splits, how)
    return Tokens(folder=folder)


def all_tokens(split: TokenSplit) -> torch.Tensor:
    return split.rows(slice(None)).tokens_NL


def test_shards_hold_the_tokenizer_s_tokens_and_mirrored_ones_are_a_split(tmp_path):
    data, draw = dataset(), tokenizer()
    how = Tokenising(shard_images=7, batch=3)
    tokens = cached(tmp_path, data, ("train", MIRRORED, "select"), how)
    assert [len(shard) for shard in tokens.train.shards] == [7, 7, 6]
    assert tokens.train.shards[0].dtype == torch.int16
    images = images_to_float(data.train.images_N3HW)
    expected = torch.cat([draw.encode(images), draw.encode(images.flip(3))])
    assert torch.equal(all_tokens(tokens.select), expected[:20])
    both = tokens.train.followed_by(tokens.mirrored)
    everything = both.rows(slice(None))
    assert torch.equal(everything.tokens_NL, expected)
    assert everything.tokens_NL.dtype == torch.int64
    assert everything.labels_N.tolist() == [i % 5 for i in range(20)] * 2
    chosen = np.array([39, 0, 7, 6, 7, 20])
    assert torch.equal(both.rows(chosen).tokens_NL, expected[chosen])
    assert both.rows(chosen).labels_N.tolist() == [4, 0, 2, 1, 2, 0]


class Counting:
    """A split that counts how often each image is read."""

    def __init__(self, split):
        self.split, self.labels_N, self.reads = split, split.labels_N, np.zeros(len(split), int)

    def __len__(self):
        return len(self.split)

    def images(self, chosen, places_N2=None):
        self.reads[chosen] += 1
        return self.split.images(chosen)


def test_only_what_is_read_is_tokenised_and_once(tmp_path):
    splits = {name: Counting(dataset().make_split(name)) for name in ("train", "select")}
    data = replace(dataset(), make_split=splits.__getitem__)
    reads = lambda: [splits[name].reads.tolist() for name in ("train", "select")]  # noqa: E731
    cached(tmp_path, data, ("select",))
    assert reads() == [[0] * 20, [1] * 20]
    cached(tmp_path, data, ("train", MIRRORED, "select"))
    assert reads() == [[1] * 20, [1] * 20], "both orientations of one reading"
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(all_tokens(cached(tmp_path, data, ("train",)).train)) == 20
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times


def test_ranks_share_the_shards_and_one_writes_the_index(tmp_path):
    data, how = dataset(), Tokenising(shard_images=6, batch=4)
    for rank in (1, 0):
        cached(tmp_path, data, how=replace(how, rank=rank, ranks=2))
        assert len(list(tmp_path.glob("*.safetensors"))) == (4 if rank == 1 else 8)
    assert not list(tmp_path.glob("*.json")), "until all are there"
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    together = cached(tmp_path, data, how=how)
    assert times.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}.items()
    alone = cached(tmp_path / "alone", data)
    assert torch.equal(all_tokens(together.train), all_tokens(alone.train))


def test_batches_are_of_what_memory_allows_and_change_no_token(tmp_path, monkeypatch):
    assert [images_at_once(side) for side in (24, 40, 256, 512)] == [250, 250, 8, 2]
    seen, encode = [], Tokenizer.encode

    def watched(tokenizer, images):
        seen.append(len(images))
        return encode(tokenizer, images)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    whole = cached(tmp_path / "whole", dataset(), ("select",))
    monkeypatch.setattr(devices, "WORKING_BYTES", 3 * devices.PIXEL_BYTES * 16 * 16)
    parts = cached(tmp_path / "parts", dataset(), ("select",))
    assert seen == [20, *[3] * 6, 2]
    assert torch.equal(all_tokens(parts.select), all_tokens(whole.select))


def test_no_tf32_where_tokens_are_made(tmp_path, monkeypatch):
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    seen, encode = [], Tokenizer.encode

    def watched(tokenizer, images):
        seen.append([backend.fp32_precision for backend in backends])
        return encode(tokenizer, images)

    monkeypatch.setattr(Tokenizer, "encode", watched)
    before = [backend.fp32_precision for backend in backends]
    cached(tmp_path, dataset(), ("select",))
    split = ReplacingSplit(dataset().train)
    OnlineBatches(split, tokenizer(), seed=0, batch=4, flips=False).batch(0, slice(None))
    assert seen == [["ieee", "ieee"]] * 2
    assert [backend.fp32_precision for backend in backends] == before != ["ieee", "ieee"]


def test_a_killed_tokenisation_goes_on_after_its_last_shard(tmp_path):
    done = []

    def stop(count):
        done.append(count)
        if sum(done) > 12:
            raise KeyboardInterrupt

    def progress(title, total, unit):
        assert total == 2 * 20
        return contextlib.nullcontext(stop)

    splits, how = ("train", "select"), Tokenising(shard_images=5, batch=2)
    with pytest.raises(KeyboardInterrupt):
        cache_tokens(tmp_path, dataset(), tokenizer(), splits, how, progress=progress)
    whole = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert len(whole) == 2
    assert not list(tmp_path.glob("*.json"))
    found = all_tokens(cached(tmp_path, dataset(), how=how).train)
    assert all(path.stat().st_mtime_ns == time for path, time in whole.items())
    assert torch.equal(found, tokenizer().encode(images_to_float(dataset().train.images_N3HW)))
    # A truncated shard is no whole one.
    victim = sorted(whole)[0]
    victim.write_bytes(victim.read_bytes()[:100])
    (tmp_path / "train.json").unlink()
    assert torch.equal(all_tokens(cached(tmp_path, dataset(), how=how).train), found)


def test_damage_is_refused_and_made_again_by_the_next_run(tmp_path, capsys):
    """One flipped bit of a shard, and another index."""
    found = all_tokens(cached(tmp_path, dataset()).select)
    shard, index = tmp_path / "select-00000.safetensors", tmp_path / "train.json"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    index.write_text(json.dumps({"version": 2}))
    for name, said in (
        ("select", "select-00000.safetensors: damaged"),
        ("train", "train.json: damaged"),
        ("test", "test.json: no such file"),
    ):
        with pytest.raises(UserError, match=said):
            read_split(tmp_path, name)
    again = cached(tmp_path, dataset())
    assert torch.equal(all_tokens(again.select), found)
    assert len(again.train) == len(dataset().train)
    said = capsys.readouterr().err
    assert f"warning: {shard}: damaged" in said and f"warning: {index}: damaged" in said


def test_digest_names_tokenizer_and_data():
    other = replace(dataset(), digest="other")
    found = [("weights", dataset()), ("weights", other), ("other", dataset())]
    assert len({tokens_digest(data, weights) for weights, data in found}) == 3


@pytest.fixture
def photographs(tmp_path):
    for name in ("a", "b"):
        for j in range(10):
            paint(tmp_path / "photos" / name / f"{j}.png", (30, 24), seed=j + 10 * (name == "b"))
    return tmp_path / "photos"


def test_unreadable_images_stop_or_are_listed(photographs, tmp_path):
    bad = [photographs / "b" / "0.png", photographs / "a" / "3.png"]
    for path in bad:
        path.write_bytes(b"no image")
    data = folder_dataset(photographs, side=16)
    with pytest.raises(UnreadableImage, match=r"b/0.png"):  # the first: classes come by turns
        cached(tmp_path / "strict", data)
    assert not list((tmp_path / "strict").glob("*.json"))
    how = Tokenising(skip_unreadable=True)
    tokens = cached(tmp_path / "lax", data, ("train", MIRRORED), how)
    assert tokens.train.skipped == tokens.mirrored.skipped == tuple(str(path) for path in bad)
    assert len(tokens.train) == len(tokens.mirrored) == 14
    keep = np.array([i for i in range(16) if data.train.paths[i] not in bad])
    expected = tokenizer().encode(images_to_float(data.train.images(keep)))
    assert torch.equal(all_tokens(tokens.train), expected)
    assert tokens.train.labels_N.tolist() == data.train.labels_N[keep].tolist()


def test_cached_batches_are_a_function_of_seed_and_step(tmp_path):
    tokens = cached(tmp_path, dataset(), how=Tokenising(shard_images=6))
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
