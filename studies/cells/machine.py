"""How fast this machine is at what a generation is made of: its own measured rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from studies.cells.gauge import Gauge, Row, Subject
from studies.cells.timing import Stopwatch

COPIED_BYTES = 2**28  # beyond any cache
RUNS = 3  # of each, of which the fastest counts: a rate is a limit


@dataclass(frozen=True, kw_only=True)
class Rates:
    """A second, in the type of the weights.

    Attributes:
        matrix_flops: of a large product.
        convolution_flops: of the tokenizer's kind, at an eighth of the image's side.
        copied_bytes: read and written.
    """

    matrix_flops: float
    convolution_flops: float
    copied_bytes: float


def measured_rates(subject: Subject) -> Rates:
    """In about a second of a CPU."""
    device, dtype = subject.device, getattr(torch, subject.precision)
    side = 8192 if device.startswith("cuda") else 1024
    a, b = (torch.full((side, side), 0.5, dtype=dtype, device=device) for _ in range(2))
    channels = subject.tokenizer.channels
    images = 16 if device.startswith("cuda") else 1
    pixels = torch.full((images, channels, 64, 64), 0.5, dtype=dtype, device=device)
    pixels = pixels.to(memory_format=torch.channels_last)
    kernel = torch.full((channels, channels, 3, 3), 0.5, dtype=dtype, device=device)
    source = torch.zeros(COPIED_BYTES, dtype=torch.uint8, device=device)
    goal = torch.empty_like(source)
    works: list[tuple[Callable[[], object], int]] = [
        (lambda: a @ b, 2 * side**3),
        (lambda: F.conv2d(pixels, kernel, padding=1), 2 * 9 * channels * pixels.numel()),
        (lambda: goal.copy_(source), 2 * COPIED_BYTES),
    ]
    with torch.inference_mode():
        seconds = Stopwatch(repeats=RUNS, device=device).by_turns([work for work, _ in works])
    matrix, convolution, copied = (
        size / best for (_, size), best in zip(works, seconds.min(axis=0).tolist(), strict=True)
    )
    return Rates(matrix_flops=matrix, convolution_flops=convolution, copied_bytes=copied)


@dataclass(frozen=True, kw_only=True)
class Machine(Gauge):
    """The rates that shares are of."""

    part: ClassVar[str] = "machine"

    @property
    def name(self) -> str:
        return "machine"

    def measure(self) -> Iterator[Row]:
        rates = measured_rates(self.subject)
        for metric, value in (
            ("matrix_flops_per_second", rates.matrix_flops),
            ("convolution_flops_per_second", rates.convolution_flops),
            ("copied_bytes_per_second", rates.copied_bytes),
        ):
            yield {"subject": "machine", "metric": metric, "value": value}
