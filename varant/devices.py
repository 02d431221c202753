"""The flags `--device` and `--precision`, checked before anything is loaded."""

import re
from typing import Literal

from varant.errors import UserError

Precision = Literal["float32", "bfloat16", "float16"]


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


def check_precision(precision: Precision, device: str) -> None:
    """`UserError` for a type that this device does not compute in."""
    cuda = device.startswith("cuda")
    if precision == "float16" and not cuda:
        raise UserError("--precision float16: needs --device cuda; use float32 or bfloat16")
    if precision == "bfloat16" and cuda:
        import torch

        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError(
                f"--precision bfloat16: {device} does not compute in it; use float32 or float16"
            )
