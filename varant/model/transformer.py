"""The VAR transformer (Tian et al., arXiv 2404.02905) with a depth plan as an argument.

Shape suffixes: B images, L tokens of all scales, T tokens of one scale, C width, V vocabulary,
v channels of a code, 6 AdaLN vectors of a block.

Parameters carry the names and shapes of the official checkpoints, so `state_dict` needs no
translation. Buffers that the reference stores and that follow from the geometry are made by
`varant.store.official` when an official file is written.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from varant.devices import check_compile
from varant.model.attention import AttentionConstants, SelfAttention, block_causal_attention
from varant.model.cache import KVCache
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

NORM_EPS = 1e-6


class Modulation(NamedTuple):
    """Gain and bias of a layer norm, each (B, 1, C), by AdaLN."""

    gain_B1C: Tensor
    bias_B1C: Tensor


class LayerConstants(NamedTuple):
    """What a layer needs beside its tokens, of attention branch and MLP branch."""

    attention: AttentionConstants
    norm1: Modulation
    gamma1_B1C: Tensor
    norm2: Modulation
    gamma2_B1C: Tensor


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the same classes need at every scale, made once a forward pass or generation.

    Attributes:
        class_BC: class embedding, the first token.
        positions_1LC: position and level embeddings.
        layers: of each layer that runs.
        head: of the norm before the head.
    """

    class_BC: Tensor
    positions_1LC: Tensor
    layers: dict[int, LayerConstants]
    head: Modulation


class MLP(nn.Module):
    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        hidden = geometry.width * geometry.mlp_ratio
        self.fc1 = nn.Linear(geometry.width, hidden)
        self.fc2 = nn.Linear(hidden, geometry.width)

    def forward(self, x_BLC: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x_BLC), approximate="tanh"))


class AdaLN(nn.Sequential):
    """`vectors` modulation vectors from the class condition: (B, C) to (B, 1, vectors, C)."""

    def __init__(self, width: int, vectors: int) -> None:
        super().__init__(nn.SiLU(), nn.Linear(width, vectors * width))
        self.vectors = vectors

    @property
    def weight(self) -> Tensor:
        return cast(nn.Linear, self[1]).weight

    def forward(self, class_BC: Tensor) -> Tensor:
        return self[1](self[0](class_BC)).view(len(class_BC), 1, self.vectors, -1)


class Block(nn.Module):
    """Attention and MLP, each modulated by AdaLN: x + gamma * f(norm(x) * (1 + scale) + shift)."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width = geometry.width
        if geometry.shared_adaln:
            self.ada_gss = nn.Parameter(torch.empty(1, 1, 6, width))
        else:
            self.ada_lin = AdaLN(width, 6)
        self.attn = SelfAttention(geometry)
        self.ffn = MLP(geometry)

    def constants(self, class_BC: Tensor, shared_B16C: Tensor | None) -> LayerConstants:
        own = self.ada_lin(class_BC) if shared_B16C is None else self.ada_gss + shared_B16C
        gamma1, gamma2, scale1, scale2, shift1, shift2 = own.unbind(2)
        attention = self.attn.constants()
        norm1, norm2 = Modulation(1 + scale1, shift1), Modulation(1 + scale2, shift2)
        return LayerConstants(attention, norm1, gamma1, norm2, gamma2)

    def project(self, x_BLC: Tensor, constants: LayerConstants) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v of tokens, see `SelfAttention.project`."""
        return self.attn.project(modulated_norm(x_BLC, constants.norm1), constants.attention)

    def finish(self, x_BLC: Tensor, attended_BHLc: Tensor, constants: LayerConstants) -> Tensor:
        """Add the attention branch, then the MLP branch."""
        attended_BLC = self.attn.merge(attended_BHLc)
        x_BLC = torch.addcmul(x_BLC, constants.gamma1_B1C, attended_BLC)
        out_BLC = self.ffn(modulated_norm(x_BLC, constants.norm2))
        return torch.addcmul(x_BLC, constants.gamma2_B1C, out_BLC)


class Embedding(nn.Embedding):
    """`nn.Embedding`, without torch's two seconds of imports to initialise a meta tensor."""

    def reset_parameters(self) -> None:
        if not self.weight.is_meta:
            super().reset_parameters()


class VAR(nn.Module):
    """A VAR transformer whose depth a plan sets, scale by scale, at call time.

    The initialisation is the official one; see `reset_parameters`.
    """

    level_L: Tensor

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.depth, self.patch_nums = geometry.depth, geometry.patch_nums
        self.num_classes, self.vocab_size = geometry.num_classes, geometry.vocab_size
        width = geometry.width
        self.word_embed = nn.Linear(geometry.code_channels, width)
        self.class_emb = Embedding(geometry.num_classes + 1, width)
        self.pos_start = nn.Parameter(torch.empty(1, geometry.scale_tokens[0], width))
        self.pos_1LC = nn.Parameter(torch.empty(1, geometry.tokens, width))
        self.lvl_embed = Embedding(len(geometry.patch_nums), width)
        if geometry.shared_adaln:
            self.shared_ada_lin = AdaLN(width, 6)
        layers = nn.ModuleList(Block(geometry) for _ in range(geometry.depth))
        self.blocks = cast(Sequence[Block], layers)
        self.head_nm = nn.ModuleDict({"ada_lin": AdaLN(width, 2)})  # (scale, shift) of the norm
        self.head = nn.Linear(width, geometry.vocab_size)
        self.register_buffer("level_L", token_levels(geometry), persistent=False)
        self._project, self._finish = Block.project, Block.finish
        if not self.pos_1LC.is_meta:
            self.reset_parameters()

    @classmethod
    def from_state(cls, geometry: Geometry, state: dict[str, Tensor]) -> VAR:
        """A network that takes over the tensors of a complete state dict, uninitialised before."""
        with torch.device("meta"):
            model = cls(geometry)
        model.load_state_dict(state, strict=True, assign=True)
        model.level_L = token_levels(geometry)
        return model

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise as the official training code does.

        - Linear weights, embeddings and positions: truncated normal (cut at +-2), standard
          deviation sqrt(1/(3 W)); all biases zero.
        - head weight x 0.02; head AdaLN weight x 0.5.
        - Attention output and second MLP layer / sqrt(2 D).
        - AdaLN of a block: the rows of gamma1 and gamma2 x 1e-5, the other four x 0.5. Shared
          form: `ada_gss` normal / sqrt(W), then the same two factors.
        - Attention scale: ln 4 for every head.
        """
        width, depth = self.geometry.width, self.geometry.depth
        std = math.sqrt(1 / width / 3)

        def truncated(tensor: Tensor) -> None:
            nn.init.trunc_normal_(tensor, std=std, a=-2, b=2)

        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                truncated(module.weight)
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()
        truncated(self.pos_start)
        truncated(self.pos_1LC)
        self.head.weight.mul_(0.02)
        cast(AdaLN, self.head_nm["ada_lin"]).weight.mul_(0.5)
        for block in self.blocks:
            block.attn.scale_mul_1H11.fill_(math.log(4))
            block.attn.q_bias.zero_()
            block.attn.v_bias.zero_()
            block.attn.proj.weight.div_(math.sqrt(2 * depth))
            block.ffn.fc2.weight.div_(math.sqrt(2 * depth))
            if self.geometry.shared_adaln:
                block.ada_gss.normal_().div_(math.sqrt(width))
                block.ada_gss[:, :, :2].mul_(1e-5)
                block.ada_gss[:, :, 2:].mul_(0.5)
            else:
                block.ada_lin.weight[: 2 * width].mul_(1e-5)
                block.ada_lin.weight[2 * width :].mul_(0.5)

    def forward(
        self,
        inputs_BLC: Tensor,
        labels_B: Tensor,
        plan: DepthPlan | None = None,
        *,
        activation_checkpointing: bool = False,
    ) -> Tensor:
        """Teacher-forced logits of all scales.

        Args:
            inputs_BLC: (B, L - patch_nums[0]**2, Cvae), from `Tokenizer.teacher_inputs`.
            labels_B: (B,) int64; `num_classes` is the unconditional class.
            plan: None runs every layer at every scale.
            activation_checkpointing: keep only each layer's input for the backward pass and run
                the layer again there. Same numbers, less memory, a third more time.

        Returns:
            (B, L, V) logits.

        Raises:
            UserError: a plan made for another network.
        """
        plan = plan or DepthPlan.full(self.patch_nums, self.depth)
        plan.check_fits(self.patch_nums, self.depth)
        condition = self.condition(labels_B, plan)
        first = self._first_tokens(condition.class_BC)
        x_BLC = torch.cat([first, self._embed(inputs_BLC)], dim=1) + condition.positions_1LC
        places = {
            scales: self._places(scales) for scales in set(map(plan.scales_of, condition.layers))
        }
        for layer, constants in condition.layers.items():
            scales = plan.scales_of(layer)
            arguments = (self.blocks[layer], x_BLC, constants, scales, places[scales])
            if activation_checkpointing:
                x_BLC = checkpoint(
                    self._run_layer, *arguments, use_reentrant=False, preserve_rng_state=False
                )
            else:
                x_BLC = self._run_layer(*arguments)
        return self.head(self.head_input(x_BLC, condition))

    def _run_layer(
        self,
        block: Block,
        x_BLC: Tensor,
        constants: LayerConstants,
        scales: tuple[int, ...],
        places_L: Tensor | None,
    ) -> Tensor:
        """Send the tokens of `scales` through one block; the others keep their value."""
        lengths = [self.geometry.scale_tokens[k] for k in scales]
        if len(scales) == len(self.patch_nums):
            return self._run_tokens(block, x_BLC, constants, lengths)
        if places_L is None:
            passing, rest = x_BLC.split([sum(lengths), x_BLC.shape[1] - sum(lengths)], dim=1)
            out_BLC = self._run_tokens(block, passing, constants, lengths)
            return torch.cat([out_BLC, rest], dim=1)
        out_BLC = self._run_tokens(block, x_BLC[:, places_L], constants, lengths)
        return x_BLC.index_copy(1, places_L, out_BLC)

    def _places(self, scales: tuple[int, ...]) -> Tensor | None:
        """Places of the tokens of `scales`; None for the first scales, which need no gather."""
        if scales == tuple(range(len(scales))):
            return None
        ends = list(itertools.accumulate(self.geometry.scale_tokens, initial=0))
        device = self.pos_1LC.device  # made there: a forward pass uploads nothing
        return torch.cat([torch.arange(*ends[k : k + 2], device=device) for k in scales])

    @staticmethod
    def _run_tokens(
        block: Block, x_BLC: Tensor, constants: LayerConstants, lengths: list[int]
    ) -> Tensor:
        """One block over tokens of scales with `lengths` tokens each, block-causal."""
        q, k, v = block.project(x_BLC, constants)
        return block.finish(x_BLC, block_causal_attention(q, k, v, lengths), constants)

    def condition(self, labels_B: Tensor, plan: DepthPlan) -> Conditioning:
        """For the layers that `plan` uses."""
        class_BC = self.class_emb(labels_B)
        shared = self.shared_ada_lin(class_BC) if self.geometry.shared_adaln else None
        layers = {
            layer: block.constants(class_BC, shared)
            for layer, block in enumerate(self.blocks)
            if plan.scales_of(layer)
        }
        head_B12C = self.head_nm["ada_lin"](class_BC.to(self.head.weight.dtype))
        scale, shift = head_B12C.unbind(2)
        return Conditioning(
            class_BC=class_BC,
            positions_1LC=self.lvl_embed(self.level_L).unsqueeze(0) + self.pos_1LC,
            layers=layers,
            head=Modulation(1 + scale, shift),
        )

    def run_scale(
        self,
        scale_index: int,
        codes_BTv: Tensor | None,
        condition: Conditioning,
        plan: DepthPlan,
        cache: KVCache,
    ) -> Tensor:
        """One scale of generation: its tokens through the plan's layers.

        Args:
            codes_BTv: (B, T, Cvae) the image so far at this scale's resolution; None at the
                first scale, whose token is the class embedding.

        Returns:
            (R, T, W) hidden states after the last layer, for each row of `condition`.
        """
        start = sum(self.geometry.scale_tokens[:scale_index])
        stop = start + self.geometry.scale_tokens[scale_index]
        if codes_BTv is None:
            x_BTC = self._first_tokens(condition.class_BC)
        else:  # both guidance halves see the same image so far
            x_BTC = self._embed(codes_BTv).repeat(len(condition.class_BC) // len(codes_BTv), 1, 1)
        x_BTC = x_BTC + condition.positions_1LC[:, start:stop]
        for layer in plan.layers[scale_index]:
            block, constants = self.blocks[layer], condition.layers[layer]
            q, *new = self._project(block, x_BTC, constants)
            attended_BHTc = cache.attend(scale_index, layer, q, *new)
            del q, new  # not beside the MLP's hidden values
            x_BTC = self._finish(block, x_BTC, attended_BHTc, constants)
        return x_BTC

    def compile_layers(self, *, batches: int = 1, backend: str = "inductor") -> None:
        """Compile what generation does in a layer before and after attention.

        Two graphs a scale and batch size serve every layer under every plan, so switching between
        plans compiles nothing. More than `batches` sizes never run uncompiled in silence: torch
        raises `FailOnRecompileLimitHit`. `UserError` for a torch before 2.13, which has no limit.
        """
        check_compile("compile_layers")
        limit = batches * len(self.patch_nums)
        how = {"dynamic": False, "fullgraph": True, "backend": backend, "isolate_recompiles": True}
        compiled: Any = torch.compile  # its types do not know of the limit yet
        self._project = compiled(Block.project, recompile_limit=limit, **how)
        self._finish = compiled(Block.finish, recompile_limit=limit, **how)

    def head_input(self, x_BLC: Tensor, condition: Conditioning) -> Tensor:
        """Normed and modulated hidden states, in the type of `head`, which is linear in them."""
        return modulated_norm(x_BLC.to(self.head.weight.dtype), condition.head)

    def _embed(self, codes_BLv: Tensor) -> Tensor:
        return self.word_embed(codes_BLv.to(self.word_embed.weight.dtype))

    def _first_tokens(self, class_BC: Tensor) -> Tensor:
        return class_BC.unsqueeze(1) + self.pos_start


def token_levels(geometry: Geometry) -> Tensor:
    """(L,) scale index of each token."""
    counts = torch.tensor(geometry.scale_tokens, device="cpu")
    return torch.repeat_interleave(torch.arange(len(counts), device="cpu"), counts)


def modulated_norm(x_BLC: Tensor, by: Modulation) -> Tensor:
    """Layer norm whose gain and bias come from AdaLN: norm(x) (1 + scale) + shift."""
    normed = F.layer_norm(x_BLC, x_BLC.shape[-1:], eps=NORM_EPS)
    return torch.addcmul(by.bias_B1C, normed, by.gain_B1C)
