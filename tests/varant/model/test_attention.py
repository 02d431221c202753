"""One call a scale and one masked call against each other and against plain slices."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from varant.model import attention
from varant.model.attention import block_causal_attention, visible

LENGTHS = [1, 4, 9]


def query_key_value(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(3, 2, 2, sum(LENGTHS), 4, generator=generator, dtype=torch.float64)
    q, k, v = (part.to(dtype).requires_grad_() for part in parts)
    return q, k, v


def sliced(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same, and autograd adds up the gradients of the slices."""
    outputs = [
        F.scaled_dot_product_attention(
            q[:, :, end - length : end], k[:, :, :end], v[:, :, :end], scale=1.0
        )
        for length, end in zip(LENGTHS, itertools.accumulate(LENGTHS), strict=True)
    ]
    return torch.cat(outputs, dim=2)


@pytest.fixture
def call_a_scale(monkeypatch):
    monkeypatch.setattr(attention, "MASKED_ATTENTION_TOKENS", 0)


def test_gradients_are_the_numerical_ones(call_a_scale):
    parts = query_key_value(torch.float64)
    assert torch.autograd.gradcheck(lambda *qkv: block_causal_attention(*qkv, LENGTHS), parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_of_prefixes_are_those_of_slices_bit_for_bit(call_a_scale, dtype):
    parts = query_key_value(dtype)
    found, expected = block_causal_attention(*parts, LENGTHS), sliced(*parts)
    assert torch.equal(found, expected)
    weights = torch.linspace(-1, 1, found.numel(), dtype=dtype).view_as(found)
    grads = (torch.autograd.grad(out, parts, weights) for out in (found, expected))
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_the_mask_is_made_once_and_serves_every_mode():
    visible.cache_clear()
    parts = query_key_value()
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        q, k, v = (fake.from_tensor(part) for part in parts)
        block_causal_attention(q, k, v, LENGTHS)
    with torch.inference_mode():
        block_causal_attention(*parts, LENGTHS)
    block_causal_attention(*parts, LENGTHS).sum().backward()
    assert visible.cache_info().misses == 1
    assert visible.cache_info().hits == 1
