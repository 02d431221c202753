"""The multi-scale tokenizer against plain code, and its training."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from varant import Tokenizer, TokenizerConfig, UserError, shapes
from varant.tokenizer_training import (
    Codebook,
    TokenizerTraining,
    reconstruction_psnr,
    train_tokenizer,
)

PATCH_NUMS = (1, 2, 3, 5)


def light(phis: int = 4, patch_nums=PATCH_NUMS) -> Tokenizer:
    torch.manual_seed(0)
    config = TokenizerConfig(
        patch_nums=patch_nums, vocab_size=31, code_channels=6, backbone="light", channels=12,
        phis=phis,
    )  # fmt: skip
    return Tokenizer(config).eval()


def phi(tokenizer: Tokenizer, maps, scale_index: int):
    """phi of a scale by the rule of the paper's code, with NumPy."""
    convs = tokenizer.quantize.quant_resi.qresi_ls
    if not len(convs):
        return maps
    margin = 1 / (3 if len(convs) == 4 else 2) / len(convs)
    ticks = np.linspace(margin, 1 - margin, len(convs))
    place = scale_index / (len(tokenizer.patch_nums) - 1)
    return 0.5 * maps + 0.5 * convs[int(np.argmin(np.abs(ticks - place)))](maps)


@pytest.mark.parametrize("phis", [0, 1, 3, 4])
@torch.no_grad()
def test_teacher_inputs_and_decode_against_interpolate(phis):
    tokenizer = light(phis)
    side = PATCH_NUMS[-1]
    tokens = torch.randint(0, 31, (2, sum(p * p for p in PATCH_NUMS)))
    starts = [0, *itertools.accumulate(p * p for p in PATCH_NUMS)]
    total, parts = 0, []
    for k, p in enumerate(PATCH_NUMS):
        codes = tokenizer.quantize.embedding(tokens[:, starts[k] : starts[k + 1]])
        maps = codes.transpose(1, 2).reshape(2, 6, p, p)
        if p != side:
            maps = F.interpolate(maps, size=(side, side), mode="bicubic")
        total = total + phi(tokenizer, maps, k)
        if k + 1 < len(PATCH_NUMS):
            following = F.interpolate(total, size=(PATCH_NUMS[k + 1],) * 2, mode="area")
            parts.append(following.flatten(2).transpose(1, 2))
    expected = torch.cat(parts, dim=1)
    found = tokenizer.teacher_inputs(tokens)
    assert found.shape == (2, starts[-1] - 1, 6)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    images = tokenizer.decoder(tokenizer.post_quant_conv(total)).clamp(-1, 1)
    torch.testing.assert_close(tokenizer.decode(tokens), images, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encode_snaps_the_residual_to_the_nearest_code():
    tokenizer = light().double()
    images = torch.rand(3, 3, 20, 20).double() * 2 - 1
    tokens = tokenizer.encode(images)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (3, sum(p * p for p in PATCH_NUMS))
    residual = tokenizer.encoder(images)
    start, side = 0, PATCH_NUMS[-1]
    for k, p in enumerate(PATCH_NUMS):
        vectors = F.interpolate(residual, size=(p, p), mode="area").flatten(2).transpose(1, 2)
        codes = tokenizer.quantize.embedding.weight
        nearest = ((vectors[:, :, None] - codes) ** 2).sum(-1).argmin(-1)
        assert torch.equal(tokens[:, start : start + p * p], nearest)
        maps = tokenizer.quantize.embedding(nearest).transpose(1, 2).reshape(3, 6, p, p)
        if p != side:
            maps = F.interpolate(maps, size=(side, side), mode="bicubic")
        residual = residual - phi(tokenizer, maps, k)
        start += p * p


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"takes \(B, 3, 20, 20\)"):
        light().encode(torch.zeros(1, 3, 24, 24))


def test_training_is_a_function_of_its_arguments_and_learns():
    images = shapes.render(0, 0, 0, 400)
    config = TokenizerConfig(
        patch_nums=(1, 2, 3, 4, 6), vocab_size=32, code_channels=8, backbone="light", channels=16,
        phis=0,
    )  # fmt: skip
    training = TokenizerTraining(steps=40, batch=32)
    state_before = torch.random.get_rng_state()
    first = train_tokenizer(images, config, training)
    assert torch.equal(torch.random.get_rng_state(), state_before), "the caller's generator moved"
    again = train_tokenizer(images, config, training)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    untrained = train_tokenizer(images, config, TokenizerTraining(steps=1, batch=32))
    held_out = shapes.render(0, 2, 0, 100)
    assert reconstruction_psnr(first, held_out) > reconstruction_psnr(untrained, held_out) + 3


def test_codebook_keeps_running_means_and_restarts_dead_codes():
    quantizer = light().quantize
    codebook = Codebook(quantizer, TokenizerTraining(codebook_decay=0.5, restart_below=0.4))
    rng = np.random.default_rng(0)
    vectors = torch.randn(200, 6) + 3
    before = quantizer.embedding.weight[0].clone()
    codebook.update(torch.zeros(200, dtype=torch.long), vectors, rng)
    expected = (0.5 * before + 0.5 * vectors.sum(0)) / (0.5 + 0.5 * 200)
    torch.testing.assert_close(quantizer.embedding.weight[0], expected)
    codebook.update(torch.zeros(200, dtype=torch.long), vectors, rng)
    restarted = quantizer.embedding.weight.detach()[1:]
    on_a_vector = (restarted[:, None] == vectors).all(-1).any(-1)
    assert on_a_vector.all(), "a dead code was not put on a vector of the batch"
