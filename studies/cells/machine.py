"""How fast this machine is at what a generation is made of: its own measured rates."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from studies.cells.gauge import Gauge, Row, Subject
from studies.cells.samplers import TOP_K_SHARE, TOP_P
from studies.cells.timing import Stopwatch
from varant.devices import is_cuda
from varant.model.sampling import draw_tokens, filter_logits

COPIED_BYTES = 2**28  # beyond any cache
DRAWN, LAUNCHES = 64, 1000
RUNS = 3  # of each, of which the fastest counts: a rate is a limit


@dataclass(frozen=True, kw_only=True)
class Rates:
    """A second, in the type of the weights.

    Attributes:
        matrix_flops: of a large product.
        convolution_flops: of the tokenizer's kind, at half the image's side.
        copied_bytes: read and written.
        drawn_tokens: filtered by top-k and top-p and drawn.
        launches: of the smallest operation.
    """

    matrix_flops: float
    convolution_flops: float
    copied_bytes: float
    drawn_tokens: float
    launches: float


def measured_rates(subject: Subject) -> Rates:
    """In about a second of a CPU."""
    device, dtype = subject.device, getattr(torch, subject.precision)
    side = 8192 if is_cuda(device) else 1024
    a, b = (torch.full((side, side), 0.5, dtype=dtype, device=device) for _ in range(2))
    channels = subject.tokenizer.channels
    images, pixel_side = 16 if is_cuda(device) else 1, subject.tokenizer.image_side // 2
    pixels = torch.full((images, channels, pixel_side, pixel_side), 0.5, dtype=dtype, device=device)
    pixels = pixels.to(memory_format=torch.channels_last)
    kernel = torch.full((channels, channels, 3, 3), 0.5, dtype=dtype, device=device)
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    goal = torch.empty_like(source)
    logits = torch.zeros(1, DRAWN, subject.geometry.vocab_size, device=device)
    uniforms = torch.full((1, DRAWN), 0.5, dtype=torch.float64, device=device)
    top_k, one = round(TOP_K_SHARE * logits.shape[-1]), torch.zeros(1, device=device)

    def draw() -> None:
        draw_tokens(filter_logits(logits, top_k=top_k, top_p=TOP_P), uniforms)

    def launch() -> None:
        for _ in range(LAUNCHES):
            torch.add(one, one)

    works: list[tuple[str, Callable[[], object], int]] = [
        ("matrix_flops", lambda: a @ b, 2 * side**3),
        (
            "convolution_flops",
            lambda: F.conv2d(pixels, kernel, padding=1),
            2 * 9 * channels * pixels.numel(),
        ),
        ("copied_bytes", lambda: goal.copy_(source), 2 * COPIED_BYTES),
        ("drawn_tokens", draw, DRAWN),
        ("launches", launch, LAUNCHES),
    ]
    with torch.inference_mode():
        seconds = Stopwatch(repeats=RUNS, device=device).by_turns([work for _, work, _ in works])
    best = seconds.min(axis=0).tolist()
    return Rates(**{name: n / s for (name, _, n), s in zip(works, best, strict=True)})


@dataclass(frozen=True, kw_only=True)
class Machine(Gauge):
    part: ClassVar[str] = "machine"
    kind: ClassVar[str] = "machine"

    def measure(self) -> Iterator[Row]:
        rates = measured_rates(self.subject)
        for name in ("matrix_flops", "convolution_flops", "copied_bytes"):
            value = getattr(rates, name)
            yield {"subject": "machine", "metric": f"{name}_per_second", "value": value}
