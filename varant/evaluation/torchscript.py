"""Features of any TorchScript network that declares the size of image it takes.

A TorchScript file is a program that runs with your rights: load only one that you trust. It is
called with (B, 3, S, S) float32 images in [0, 1] and gives (B, F) features. S is declared in the
file, where scripted and traced networks can hold it alike:

    torch.jit.save(network, "network.pt", _extra_files={"input_size": "224"})
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from varant.devices import check_device, is_cuda
from varant.errors import UserError
from varant.evaluation.features import Extractor, Features
from varant.files import sha256_file

SIDES = range(8, 1025)
MOST_FEATURES = 4096
_WANTED = "give a TorchScript file saved with _extra_files={'input_size': '224'}"


@dataclass(frozen=True, kw_only=True)
class ScriptExtractor(Extractor):
    """A TorchScript network as an `Extractor`; it knows no classes of the data's.

    Attributes:
        side: S, pixels; images of other sides are resized (bilinear, antialiased).
        device: where the network is, and where it computes.
    """

    kind = "fd"
    batch = 50
    network: torch.jit.ScriptModule
    side: int
    width: int
    device: str

    @property
    def features(self) -> int:
        return self.width

    def of(self, images_B3HW: Tensor) -> Features:
        images = images_B3HW.to(self.device).float().clamp(0, 1)
        if images.shape[2:] != (self.side, self.side):
            size = (self.side, self.side)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        with full_float32(self.device):
            found = self.network(images)
        return Features(features_NF=found.flatten(1).double().cpu().numpy())


def script_extractor(
    path: Path, *, device: str = "cpu", digest: str | None = None
) -> ScriptExtractor:
    """The extractor of a TorchScript file; `name` is the file's and six digits of its digest.

    Args:
        digest: what the file's SHA-256 must be; None takes any.

    Raises:
        UserError: no such device or file, another digest, not TorchScript, no declared size, a
            network that cannot be called with such images, or features that cannot be kept: not
            one finite row an image that half precision holds.
    """
    found, where = script_digest(path), f"--extractor {path}"
    check_digest(where, found, digest)
    network, declared = load_script(path, where, device, _WANTED)
    if not (declared.isdecimal() and int(declared) in SIDES):
        raise UserError(
            f"{where}: declares {f'input_size {declared!r}' if declared else 'no input size'}, not "
            f"{SIDES[0]} to {SIDES[-1]} pixels; {_WANTED}"
        )
    side = int(declared)
    with probing(where, f"(B, 3, {side}, {side}) images"), torch.no_grad(), full_float32(device):
        probe = network(probe_images(side).to(device))
        features_NF = probe.flatten(1).double().cpu().numpy()
    rows, width = features_NF.shape
    if rows != 2 or not 2 <= width <= MOST_FEATURES:
        raise UserError(
            f"{where}: gives features of shape {features_NF.shape} for 2 images, not (2, F) with F "
            f"from 2 to {MOST_FEATURES}"
        )
    largest, most = np.abs(features_NF).max(), np.finfo(np.float16).max
    if not largest <= most:
        raise UserError(
            f"{where}: gives features up to {largest:g}; they are kept in half precision, which "
            f"ends at {most:g}: scale them down"
        )
    return ScriptExtractor(
        name=f"{path.stem}-{found[:6]}",
        digest=found,
        network=network,
        side=side,
        width=width,
        device=device,
    )


def script_digest(path: Path, flag: str = "--extractor", wanted: str = _WANTED) -> str:
    """SHA-256 of the file; `UserError` where there is none."""
    if not path.is_file():
        raise UserError(f"{flag} {path}: no such file; {wanted}")
    return sha256_file(path)


def check_digest(where: str, found: str, digest: str | None, of: str = "SHA-256") -> None:
    """`UserError` unless a digest of the file, or of what it holds, is what it must be, if any."""
    if digest is not None and found != digest:
        raise UserError(
            f"{where}: its {of} begins {found[:6]}, not {digest[:6]} as when the study began; "
            "put that file back or run the study again"
        )


def load_script(
    path: Path, where: str, device: str, wanted: str
) -> tuple[torch.jit.ScriptModule, str]:
    """The network, and the input size that it declares, "" for none."""
    check_device(device)
    extra = {"input_size": ""}
    try:
        network = torch.jit.load(str(path), map_location=device, _extra_files=extra).eval()
        declared = extra["input_size"]
        text = declared.decode() if isinstance(declared, bytes) else declared
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError) as error:  # all that an unfit file raises
        raise UserError(f"{where}: not a TorchScript file ({last_line(error)}); {wanted}") from None
    return network, text.strip()


def last_line(error: Exception) -> str:
    """What went wrong; TorchScript puts a trace before it."""
    return str(error).strip().splitlines()[-1].strip()


def probe_images(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))


@contextlib.contextmanager
def probing(where: str, how: str, remedy: str = "") -> Iterator[None]:
    """Inside, a network is called once, before hours go into images for it."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, AttributeError, TypeError) as error:  # other arguments, no tensor
        said = last_line(error)
        raise UserError(f"{where}: cannot be called with {how} ({said}){remedy}") from None


def full_float32(device: str) -> contextlib.AbstractContextManager[None]:
    """No TF32 in convolutions, which torch allows by default; published FIDs are without it."""
    if not is_cuda(device):
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
