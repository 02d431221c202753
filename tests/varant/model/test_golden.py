"""Parity with the reference implementation, on weights that follow a formula."""

import numpy as np
import pytest
import reference
import torch

import varant


@pytest.fixture(scope="module", params=["tiny", "shared_adaln", "ten_scales"])
def case(request, tmp_path_factory):
    vae, var = reference.official_files(request.param, tmp_path_factory.mktemp("official"))
    tokenizer, model = varant.load_official(vae=vae, var=var)
    stored = np.load(reference.GOLDEN / f"{request.param}.npz")
    return request.param, tokenizer, model, {k: torch.from_numpy(v) for k, v in stored.items()}


def assert_near(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=0)


def test_inputs_are_the_reference_s(case):
    name, _, _, stored = case
    assert torch.equal(reference.inputs(name).labels_B, stored["labels"])


def test_tokens_match_exactly(case):
    name, tokenizer, _, stored = case
    tokens = tokenizer.encode(reference.inputs(name).images_B3HW)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, stored["tokens"])


def test_teacher_inputs(case):
    _, tokenizer, _, stored = case
    assert_near(tokenizer.teacher_inputs(stored["tokens"]), stored["teacher_inputs"])


@torch.no_grad()
def test_logits(case):
    _, _, model, stored = case
    assert_near(model(stored["teacher_inputs"], stored["labels"]), stored["logits"])
    unconditional = torch.full_like(stored["labels"], model.num_classes)
    assert_near(model(stored["teacher_inputs"], unconditional), stored["logits_uncond"])


def test_reconstruction(case):
    _, tokenizer, _, stored = case
    images = tokenizer.decode(stored["tokens"])
    assert_near(images.mean((2, 3)), stored["reconstruction_mean"])
    assert_near(images[:, :, :8, :8], stored["reconstruction_patch"])


def test_greedy_generation(case):
    _, tokenizer, model, stored = case
    sample = varant.generate(
        model, tokenizer, stored["labels"], cfg=1.5, top_k=1, top_p=0.0, seed=7
    )
    assert torch.equal(sample.tokens, stored["greedy_tokens"])
    assert_near(sample.images.mean((2, 3)), stored["greedy_image_mean"])
    assert_near(sample.images[:, :, :8, :8], stored["greedy_image_patch"])
