"""The KV cache of generation: it holds a pair only while a later scale will read it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from varant.model.plan import DepthPlan


class KeysValues(NamedTuple):
    k_BHLc: Tensor
    v_BHLc: Tensor


class KVCache:
    """K and V of one generation, one chunk a (scale, layer) pair, sized by the plan.

    Chunks are stored as they are computed and concatenated into a scratch tensor for the one
    layer that runs, so that a layer never holds an old and a grown copy, and the peak is the
    lower bound "freed per layer". Pairs that no later scale reads are never stored.

    Args:
        plan: decides which pairs are stored, and until when.

    Attributes:
        bytes_held: sum of stored tensors, in bytes, read off the tensors.
        bytes_peak: the largest that it was so far.
    """

    def __init__(self, plan: DepthPlan) -> None:
        self.plan = plan
        self.bytes_held = self.bytes_peak = 0
        self._chunks: dict[int, list[KeysValues]] = {}

    def attend(
        self, scale_index: int, layer: int, q_BHTc: Tensor, k_BHTc: Tensor, v_BHTc: Tensor
    ) -> Tensor:
        """(B, H, T, c) what the tokens of a scale see in `layer`: their own scale and what is kept
        of earlier ones."""
        context = self.extend(scale_index, layer, k_BHTc, v_BHTc)
        attended_BHTc = F.scaled_dot_product_attention(q_BHTc, *context, scale=1.0)
        self.release(scale_index, layer)
        return attended_BHTc

    def extend(self, scale_index: int, layer: int, k_BHLc: Tensor, v_BHLc: Tensor) -> KeysValues:
        """K and V of all tokens so far that pass `layer`; stores the new ones if needed."""
        chunks = self._chunks.setdefault(layer, [])
        new = KeysValues(k_BHLc, v_BHLc)
        context = [*chunks, new]
        if self.plan.keeps(scale_index, layer):
            # V is a strided view of the layer's q-k-v product: without the copy it would keep
            # all of that tensor alive.
            chunks.append(KeysValues(k_BHLc.contiguous(), v_BHLc.contiguous()))
            self.bytes_held += _bytes_of(chunks[-1:])
            self.bytes_peak = max(self.bytes_peak, self.bytes_held)
        return _joined(context)

    def joined(self, layer: int) -> KeysValues:
        """All that is stored of a layer, at least one pair."""
        return _joined(self._chunks[layer])

    def replace(self, layer: int, kept: KeysValues) -> None:
        """Store `kept` in place of what is stored of a layer."""
        self.bytes_held += _bytes_of([kept]) - _bytes_of(self._chunks[layer])
        self._chunks[layer] = [kept]

    def release(self, scale_index: int, layer: int) -> None:
        """Say that `layer` has run at `scale_index`; frees its pairs after their last reader."""
        if self.plan.last_reader[layer] == scale_index:
            self.bytes_held -= _bytes_of(self._chunks.pop(layer, []))


def _joined(chunks: Sequence[KeysValues]) -> KeysValues:
    if len(chunks) == 1:
        return chunks[0]
    return KeysValues(*(torch.cat(parts, dim=2) for parts in zip(*chunks, strict=True)))


def _bytes_of(chunks: Iterable[KeysValues]) -> int:
    return sum(t.numel() * t.element_size() for chunk in chunks for t in chunk)
