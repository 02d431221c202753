"""Any TorchScript network that declares the size of its images; stand-ins are small ones."""

import pickle
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varant import UserError
from varant.evaluation.extractors import ExtractorSpec, extractor_specs
from varant.evaluation.torchscript import script_extractor
from varant.files import sha256_file

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class Pixels(nn.Module):
    """Its features are the pixels, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


class Together(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


def saved(network: nn.Module, path, size: str | None = "8"):
    extra = {} if size is None else {"input_size": size}
    torch.jit.save(torch.jit.script(network), str(path), _extra_files=extra)
    return path


def test_the_network_sees_images_in_0_to_1_at_its_own_size(tmp_path):
    path = saved(Pixels(), tmp_path / "mine.pt")
    extractor = script_extractor(path)
    assert extractor.name == f"mine-{sha256_file(path)[:6]}"
    assert (extractor.kind, extractor.features) == ("fd", 3 * 8 * 8)
    images = torch.rand(3, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    found = extractor(images, batch=2)
    resized = F.interpolate(images.clamp(0, 1), (8, 8), mode="bilinear", antialias=True)
    np.testing.assert_allclose(found.features_NF, resized.flatten(1).numpy(), rtol=1e-6)
    assert found.features_NF.dtype == np.float64
    assert found.classes_N is None
    as_is = images[:, :, :8, :8].clamp(0, 1)
    np.testing.assert_array_equal(extractor(as_is).features_NF, as_is.flatten(1).double().numpy())


def test_a_traced_network_declares_its_size_in_the_same_way(tmp_path):
    traced = torch.jit.trace(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), torch.zeros(2, 3, 9, 9)
    )
    torch.jit.save(traced, str(tmp_path / "traced.pt"), _extra_files={"input_size": "9\n"})
    assert script_extractor(tmp_path / "traced.pt").features == 4 * 7 * 7


@pytest.mark.parametrize(
    ("network", "size", "reason"),
    [
        (Pixels(), None, "declares no input size, not 8 to 1024 pixels"),
        (Pixels(), "big", "declares input_size 'big', not 8 to 1024 pixels"),
        (Pixels(), "-8", "declares input_size '-8', not"),
        (Pixels(), "4", "declares input_size '4', not"),
        (Pixels(), "4096", "declares input_size '4096', not"),
        (Pair(), "8", r"cannot be called with \(B, 3, 8, 8\) images"),
        (Together(), "8", r"gives features of shape \(3, 64\) for 2 images, not \(2, F\)"),
        (Pixels(), "64", r"gives features of shape \(2, 12288\) .* from 2 to 4096"),
        (Pixels(1e6), "8", r"gives features up to 999\d+; they are kept in half precision"),
    ],
)
def test_networks_that_cannot_be_used_are_one_line(tmp_path, network, size, reason):
    path = saved(network, tmp_path / "other.pt", size)
    with pytest.raises(UserError, match=f"^--extractor {re.escape(str(path))}: {reason}") as error:
        script_extractor(path)
    assert "\n" not in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(UserError, match=r"^--extractor .*none.pt: no such file; give a T"):
        ExtractorSpec.torchscript(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_bytes(b"hello")
    with pytest.raises(UserError, match=r"^--extractor .*text.pt: not a TorchScript file"):
        script_extractor(tmp_path / "text.pt")
    with pytest.raises(UserError, match=r"^--device cuda:99: "):
        script_extractor(saved(Pixels(), tmp_path / "mine.pt"), device="cuda:99")


def test_a_spec_is_the_digest_and_says_that_the_file_is_a_program(tmp_path):
    path = saved(Pixels(), tmp_path / "mine.pt")
    first, second = extractor_specs("folder-64", torchscript=path)
    assert first == ExtractorSpec.torchscript(path) == pickle.loads(pickle.dumps(first))
    assert first.load().digest == first.digest == sha256_file(path)
    assert "a program that runs with your rights" in first.notice
    assert second == ExtractorSpec.patches()
    assert second.notice is None
    saved(Pixels(2.0), path)
    with pytest.raises(UserError, match=f"not {first.digest[:6]} as when the study began"):
        first.load()
