"""The flags `--device` and `--precision`, checked early; and how devices are used."""

import contextlib
import inspect
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from varant.errors import UserError

Precision = Literal["float32", "bfloat16", "float16"]
# Since Ampere: older cards only emulate it.
BFLOAT16_CAPABILITY = (8, 0)


def check_device(device: str) -> str:
    """The device; `UserError` for an unknown one, or one that this machine does not have."""
    if device == "cpu":
        return device
    if re.fullmatch(r"cuda(:\d+)?", device) is None:
        raise UserError(f"--device {device}: use cpu, cuda or cuda:0")
    import torch  # takes seconds: a CPU needs none of it here

    if not torch.cuda.is_available():
        raise UserError(f"--device {device}: no CUDA device on this machine; use --device cpu")
    index = int(device.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        raise UserError(
            f"--device {device}: this machine has CUDA devices 0 to {torch.cuda.device_count() - 1}"
        )
    return device


def is_cuda(device: str) -> bool:
    return device.startswith("cuda")


def element_bytes(precision: str) -> int:
    """Of a number, such as a weight or one of the cache: 4 in float32, 2 in either half."""
    return 4 if precision == "float32" else 2


def device_name(device: str) -> str:
    """The GPU's, or the processor's."""
    if is_cuda(device):
        import torch

        return str(torch.cuda.get_device_name(device))
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def check_precision(precision: Precision, device: str) -> None:
    """`UserError` for a type that this device does not compute in."""
    cuda = is_cuda(device)
    if precision == "float16" and not cuda:
        raise UserError("--precision float16: needs --device cuda; use float32 or bfloat16")
    if precision == "bfloat16" and cuda:
        import torch

        if torch.cuda.get_device_capability(device) < BFLOAT16_CAPABILITY:
            raise UserError(
                f"--precision bfloat16: {device} does not compute in it; use float32 or float16"
            )


def check_compile(where: str) -> None:
    """`UserError` for a torch whose compiler goes on uncompiled after so many graphs."""
    import torch

    if "recompile_limit" not in inspect.signature(torch.compile).parameters:
        raise UserError(f"{where}: needs torch 2.13 or newer, not {torch.__version__}")


# What networks may hold beside their weights while they encode, decode or score: a share that any
# card or machine has to spare, and batches that still keep it busy (8 images of 256 pixels).
WORKING_BYTES = 2 * 2**30
# An official tokenizer took 249 MiB to encode an image of 256 x 256, 256 to decode it; light ones
# take less.
PIXEL_BYTES = 4_000


def images_at_once(side: int, most: int = 250) -> int:
    """Images of `side` pixels that a tokenizer encodes or decodes at once, at most `most`."""
    return batch_of(PIXEL_BYTES * side * side, most)


def batch_of(image_bytes: int, most: int) -> int:
    """Images that are worked on at once where each takes so many bytes; one where it takes all."""
    return max(1, min(most, WORKING_BYTES // image_bytes))


def memory_bytes(device: str) -> int:
    """Memory that a process can have on this device at most: all, or what it is limited to."""
    if is_cuda(device):
        import torch

        return int(torch.cuda.mem_get_info(device)[1])
    import resource  # not on Windows, where reports are read

    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    limits.append(resource.getrlimit(resource.RLIMIT_AS)[0])
    with contextlib.suppress(OSError, ValueError):  # "max" is no limit
        limits.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(limit for limit in limits if limit != resource.RLIM_INFINITY)


def require_memory(
    needed: int, device: str, flags: str, remedy: str, *, images: int = 0, fixed: int = 0
) -> None:
    """`UserError` naming the flags where what they mean cannot be held, before it is begun.

    Args:
        needed: the least number of bytes that it takes.
        images: how many these bytes are for, if fewer would take less; how many may fit is said.
        fixed: of these bytes, those that fewer images would take as well.
    """
    most = memory_bytes(device)
    if needed > most:
        fit = max(0, images * (most - fixed) // (needed - fixed)) if images else 0
        said = f"; {fit:,} images at once may fit" if fit else ""
        raise UserError(
            f"{flags}: takes at least {needed / 2**30:,.1f} GiB of memory, {device} has "
            f"{most / 2**30:,.1f}; {remedy}{said}"
        )


@contextlib.contextmanager
def repeatable(device: str) -> Iterator[None]:
    """Inside, the same numbers each time on this device: a CPU gives them as it is, CUDA by
    algorithms that add in a set order. There it begins before the process's first product."""
    import torch

    if not is_cuda(device):
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    deterministic: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    deterministic.fill_uninitialized_memory = False  # a launch for each tensor
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        deterministic.fill_uninitialized_memory = before[1]


@contextlib.contextmanager
def float32_exactly() -> Iterator[None]:
    """No TF32 inside: a token is the nearest code, and TF32 makes another one the nearest."""
    import torch

    cudnn: Any = torch.backends.cudnn  # whose older flag is readable while both its parts agree
    backends: list[Any] = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
