"""Each rung damages what it names, as much as it says, and nothing else."""

import numpy as np
import pytest
import torch

from varant.data.tokens import TokenBatch
from varant.evaluation.ladder import REAL, REPEATED, Rung, rungs

PATCH_NUMS, VOCABULARY, CLASSES = (1, 2, 3), 50, 4
COLUMNS = {1: slice(0, 1), 2: slice(1, 5), 3: slice(5, 14)}


@pytest.fixture
def real() -> TokenBatch:
    """Images with tokens that tell image and column: no two alike in any column."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.randperm(1_000, generator=generator)[:200] for _ in range(14)], 1)
    return TokenBatch(tokens_NL=tokens, labels_N=torch.arange(200) % CLASSES)


def named(part: str) -> Rung:
    (found,) = (rung for rung in rungs(PATCH_NUMS, VOCABULARY) if part in rung.name)
    return found


def damaged(rung: Rung, real: TokenBatch, seed: int = 0) -> TokenBatch:
    before = real.tokens_NL.clone()
    found = rung.damage(real, np.random.default_rng(seed))
    assert torch.equal(real.tokens_NL, before), "the real tokens were written to"
    assert torch.equal(found.labels_N, real.labels_N)
    assert found.tokens_NL.shape == real.tokens_NL.shape
    return found


def test_names_and_scales():
    found = list(rungs(PATCH_NUMS, VOCABULARY))
    assert found[0].name == REAL
    assert len({rung.name for rung in found}) == len(found) == 1 + 3 + 2 + 3
    assert [rung.scale for rung in found] == [None, 1, 2, 3, 3, 3, None, None, None]


def test_real_is_left_alone(real):
    assert torch.equal(damaged(named(REAL), real).tokens_NL, real.tokens_NL)


@pytest.mark.parametrize("scale", COLUMNS)
def test_a_scale_of_another_image_of_the_class(real, scale):
    found = damaged(named(f"scale {scale} of another"), real)
    columns = COLUMNS[scale]
    others = np.setdiff1d(np.arange(14), np.arange(14)[columns])
    assert torch.equal(found.tokens_NL[:, others], real.tokens_NL[:, others])
    # Each image's map is whole, another image's, of its class, and used once.
    rows = (found.tokens_NL[:, None, columns] == real.tokens_NL[None, :, columns]).all(2)
    assert torch.equal(rows.sum(1), torch.ones(200, dtype=torch.long))
    source = rows.int().argmax(1)
    assert (source != torch.arange(200)).all()
    assert torch.equal(real.labels_N[source], real.labels_N)
    assert len(set(source.tolist())) == 200


@pytest.mark.parametrize(("name", "share"), [("5% random", 0.05), ("50% random", 0.5)])
def test_random_tokens(name, share):
    tokens = torch.randint(0, VOCABULARY, (4_000, 14), generator=torch.Generator().manual_seed(1))
    real = TokenBatch(tokens_NL=tokens, labels_N=torch.arange(4_000) % CLASSES)
    found = damaged(named(name), real).tokens_NL
    assert torch.equal(found[:, :5], tokens[:, :5])
    changed = found[:, 5:] != tokens[:, 5:]
    assert changed.float().mean().item() == pytest.approx(share, abs=0.01)
    assert found.min() >= 0 and found.max() < VOCABULARY


def test_a_class_left_out(real):
    found = damaged(named("left out"), real)
    places = {tuple(row): i for i, row in enumerate(real.tokens_NL.tolist())}
    shown = real.labels_N[[places[tuple(row)] for row in found.tokens_NL.tolist()]]
    assert len(set(shown.tolist())) == CLASSES - 1


def test_images_repeated(real):
    found = damaged(named("times"), real)
    distinct, counts = found.tokens_NL.unique(dim=0, return_counts=True)
    assert len(distinct) == 200 // REPEATED
    assert (counts == REPEATED).all()


def test_blur_keeps_flat_images_and_takes_edges():
    rung = named("blur")
    flat = torch.full((2, 3, 12, 12), 0.3)
    assert torch.allclose(rung.seen(flat), flat, atol=1e-6)
    edge = torch.zeros(1, 3, 12, 12)
    edge[..., 6:] = 1.0
    seen = rung.seen(edge)
    assert seen[0, 0, 6, 6].item() == pytest.approx(0.69, abs=0.02)  # Phi(0.5), sampled
    assert named(REAL).seen(edge) is edge


def test_damage_is_a_function_of_the_seed(real):
    rung = named("scale 3 of another")
    one, again, other = (damaged(rung, real, seed).tokens_NL for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
