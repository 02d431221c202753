"""The `--device` flag, checked before anything is loaded."""

import re

from varant.errors import UserError


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
