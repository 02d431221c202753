"""The samplers that are compared: ours under each plan, and one in the reference's style.

All have the weights of one seed: random ones cost the same as trained ones. Stand-ins have
tensors without content, so that a network of any size runs on any machine and allocates nothing.
"""

import functools
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

# Tensors without content that know their device; torch documents them under this name alone.
from torch._subclasses.fake_tensor import FakeTensorMode

from analysis.efficiency_file import OURS, REFERENCE
from studies.cells.gauge import Subject
from studies.cells.reference_style import generate_reference_style
from studies.cells.tracing import StageTrace, Trace
from varant.devices import Precision
from varant.model.plan import DepthPlan
from varant.model.precision import hold
from varant.model.sampling import Sample, Watch, generate
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.randomness import torch_seed

# VAR's evaluation protocol; top-k as a share of the codes for vocabularies of other sizes.
CFG, TOP_P, TOP_K_SHARE = 1.5, 0.96, 900 / 4096


@dataclass(frozen=True, kw_only=True)
class Sampler:
    """A way to draw images.

    Attributes:
        within: entered around each draw.
    """

    style: str
    plan: DepthPlan
    model: VAR
    tokenizer: Tokenizer
    precision: Precision
    within: AbstractContextManager[object] = field(default_factory=nullcontext)

    def draw(self, batch: int, watch: Watch = lambda stage, scale_index: None) -> Sample:
        """A batch of images of class 0 with guidance."""
        how: dict[str, Any] = {
            "plan": self.plan,
            "cfg": CFG,
            "top_k": round(TOP_K_SHARE * self.model.vocab_size),
            "top_p": TOP_P,
            "watch": watch,
        }
        with self.within:
            labels_B = torch.zeros(batch, dtype=torch.long, device=self.model.pos_1LC.device)
            if self.style == OURS:
                return generate(self.model, self.tokenizer, labels_B, **how)
            how["precision"] = getattr(torch, self.precision)
            return generate_reference_style(self.model, self.tokenizer, labels_B, **how)

    @property
    def weight_bytes(self) -> int:
        """Of both networks, but for the tokenizer's encoder, which draws nothing."""
        tokenizer = self.tokenizer
        parts: list[nn.Module] = [self.model, tokenizer.decoder, tokenizer.post_quant_conv]
        parts.append(tokenizer.quantize)
        return sum(
            tensor.numel() * tensor.element_size()
            for part in parts
            for tensor in (*part.parameters(), *part.buffers())
        )


def samplers(subject: Subject) -> list[Sampler]:
    """The reference's style first, then ours under each plan."""
    return _samplers(subject, *_networks(subject))


def stand_ins(subject: Subject) -> list[Sampler]:
    """The same on tensors without content."""
    ours = reference = _made(subject, "meta")
    if subject.precision == "float32":
        return _samplers(subject, ours, reference)
    hold(*ours, subject.precision)
    # Autocast knows no meta tensors: what stands for a CPU's has a content that is made up.
    model, tokenizer = _made(subject, "meta")
    with FakeTensorMode(allow_non_fake_inputs=True) as within:
        reference = model.to_empty(device="cpu"), tokenizer.to_empty(device="cpu")
    theirs, *own = _samplers(subject, ours, reference)
    return [replace(theirs, within=within), *own]


Pair = tuple[VAR, Tokenizer]


def _samplers(subject: Subject, ours: Pair, reference: Pair) -> list[Sampler]:
    def of(style: str, plan: DepthPlan, pair: Pair) -> Sampler:
        (model, tokenizer), precision = pair, subject.precision
        return Sampler(
            style=style, plan=plan, model=model, tokenizer=tokenizer, precision=precision
        )

    theirs = of(REFERENCE, subject.plans[0], reference)
    return [theirs, *(of(OURS, plan, ours) for plan in subject.plans)]


@functools.lru_cache(maxsize=1)
def _networks(subject: Subject) -> tuple[Pair, Pair]:
    """Ours in the study's precision, the reference's in float32: one and the same in float32."""
    ours = reference = _made(subject, subject.device)
    if subject.precision != "float32":
        ours = _made(subject, subject.device)
        hold(*ours, subject.precision)
    if subject.compiled_batches:  # changes nothing of what the reference's style calls
        ours[0].compile_layers(batches=subject.compiled_batches)
    return ours, reference


def _made(subject: Subject, device: str) -> Pair:
    with torch_seed(0), torch.device(device):
        model, tokenizer = VAR(subject.geometry), Tokenizer(subject.tokenizer)
    for network in (model, tokenizer):
        network.to(device).eval().requires_grad_(False)
    return model, tokenizer


def predicted_stages(sampler: Sampler, batch: int) -> list[StageTrace]:
    """What a stand-in's draw would hold and launch."""
    with Trace() as trace:
        sampler.draw(batch, trace.watch)
    return trace.stages
