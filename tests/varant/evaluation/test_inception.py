"""Inception features from a user's file, and reference statistics from an NPZ.

A small TorchScript network stands in for Inception: it is called in the same way.
"""

import json
import pickle
import re
import shutil
import zipfile

import numpy as np
import pytest
import torch
from inception_stand_in import InLayers, StandIn, images_of, saved
from npz_files import declaring
from safetensors.torch import save_file
from small_networks import small_tokenizer
from torch import Tensor

from varant import Tokenizer, UserError
from varant.evaluation.extractors import ExtractorSpec
from varant.evaluation.features import Features, packaged_extractor
from varant.evaluation.inception import INCEPTION_FEATURES, inception_extractor
from varant.evaluation.reference import (
    Gaussian,
    Reference,
    load_reference_npz,
    prepare_reference,
    read_reference,
)
from varant.evaluation.scores import frechet_distance, scores
from varant.files import sha256_file
from varant.manifest import record

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


class NoSuchArgument(StandIn):
    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class WantsGrey(StandIn):
    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        return self.conv(x[:, :1])


class GivesPair(StandIn):
    def forward(self, x: Tensor, return_features: bool = False) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    torch.manual_seed(0)
    return saved(StandIn(), tmp_path_factory.mktemp("inception") / "inception-2015-12-05.pt")


def test_name_kind_and_digest(inception):
    extractor = inception_extractor(inception)
    assert extractor.digest == sha256_file(inception)
    assert extractor.name == f"inception-{extractor.digest[:6]}"
    assert (extractor.kind, extractor.features) == ("fid", INCEPTION_FEATURES)


def test_the_network_sees_images_in_8_bits_and_answers_in_double(inception):
    extractor = inception_extractor(inception)
    images = torch.tensor([0.0, 0.5, 1.0, 1.2, -3.0]).view(5, 1, 1, 1).expand(5, 3, 4, 6)
    found = extractor(images)
    assert found.features_NF.dtype == np.float64
    assert found.classes_N is None
    np.testing.assert_array_equal(found.features_NF[:, 0], [0, 128, 255, 255, 0])


def test_statistics_of_spatial_features_are_read_where_the_network_has_them(tmp_path):
    path = write_npz(tmp_path / "reference.npz")
    alone, both = (load_reference_npz(path, features=2, spatial=s) for s in (0, 5))
    assert alone.spatial is None
    np.testing.assert_array_equal(both.spatial.covariance_FF, np.eye(5))
    assert alone.digest != both.digest
    without = write_npz(tmp_path / "without.npz", mu_s=None)
    assert load_reference_npz(without, features=2, spatial=5).digest == alone.digest
    with pytest.raises(UserError, match=r"mu_s has shape \(5,\); .* 6 features need \(6,\)"):
        load_reference_npz(path, features=2, spatial=6)


def test_batches_do_not_change_features(inception):
    extractor, images = inception_extractor(inception), images_of(7)
    one, other = extractor(images), extractor(images, batch=3)
    np.testing.assert_allclose(one.features_NF, other.features_NF, rtol=1e-5, atol=1e-3)
    assert one.features_NF.shape == (7, INCEPTION_FEATURES)


def test_rows_and_joined_features_with_and_without_classes():
    plain = Features(features_NF=np.arange(8.0).reshape(4, 2))
    classed = Features(features_NF=plain.features_NF, classes_N=np.arange(4))
    for features in (plain, classed):
        again = Features.joined([features.rows(slice(0, 1)), features.rows(slice(1, 4))])
        assert len(again) == 4
        np.testing.assert_array_equal(again.features_NF, features.features_NF)
    np.testing.assert_array_equal(again.classes_N, np.arange(4))
    assert plain.rows(slice(0, 2)).classes_N is None


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (StandIn(features=64), r"gives features of shape \(2, 64\) for 2 images, not \(2, 2048\)"),
        (NoSuchArgument(), "cannot be called with .* return_features=True"),
        (WantsGrey(), "cannot be called with"),
        (GivesPair(), "cannot be called with"),
    ],
    ids=["64 features", "no return_features", "one channel", "a pair"],
)
def test_networks_that_are_not_called_as_inception_is(tmp_path, network, reason):
    path = saved(network, tmp_path / "other.pt")
    with pytest.raises(UserError, match=f"^--inception {re.escape(str(path))}: {reason}") as error:
        inception_extractor(path)
    assert "inception-2015-12-05.pt" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["state dict", "text", "empty", "cut"])
def test_files_that_are_not_torchscript(tmp_path, inception, content):
    path = tmp_path / "weights.pt"
    if content == "state dict":
        torch.save(StandIn().state_dict(), path)
    else:
        whole = inception.read_bytes()
        path.write_bytes({"text": b"hello", "empty": b"", "cut": whole[: len(whole) // 2]}[content])
    with pytest.raises(UserError, match=r"^--inception .*weights.pt: not a TorchScript file"):
        inception_extractor(path)


def test_missing_files(tmp_path):
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(UserError, match=f"^--inception {path}: no such file; give a Torch"):
            inception_extractor(path)
        with pytest.raises(UserError, match="no such file"):
            ExtractorSpec.inception(path)
        with pytest.raises(UserError, match=f"^--reference {path}: no such file; give an NPZ"):
            load_reference_npz(path)


def test_a_device_that_is_not_there(inception):
    with pytest.raises(UserError, match=r"^--device cuda:99: "):
        inception_extractor(inception, device="cuda:99")


def test_convolutions_keep_the_process_s_settings(inception):
    """TF32 is switched off around the network alone."""
    from varant.evaluation.torchscript import full_float32

    def settings():
        cudnn = torch.backends.cudnn
        return cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32

    before = settings()
    with full_float32("cuda:0"):
        assert not torch.backends.cudnn.allow_tf32
    assert settings() == before


def test_a_spec_is_the_digest_and_not_the_place(tmp_path, inception, monkeypatch):
    elsewhere = tmp_path / "copy.pt"
    shutil.copy(inception, elsewhere)
    one, other = ExtractorSpec.inception(inception), ExtractorSpec.inception(elsewhere)
    assert one == other
    assert hash(one) == hash(other)
    assert one.digest == sha256_file(inception)
    again = pickle.loads(pickle.dumps(other))
    assert again.path == elsewhere
    assert again.load().name == one.load().name
    monkeypatch.chdir(tmp_path)
    relative = ExtractorSpec.inception(elsewhere.relative_to(tmp_path))
    assert relative.path == elsewhere, "a worker may run in another folder"


def test_a_spec_of_a_packaged_network():
    spec = pickle.loads(pickle.dumps(ExtractorSpec.packaged("shapes-24")))
    assert spec == ExtractorSpec.packaged("shapes-24") != ExtractorSpec.packaged("digits-24")
    assert spec.load().name == packaged_extractor("shapes-24").name
    with pytest.raises(UserError, match="no feature network imagenet is packaged"):
        ExtractorSpec.packaged("imagenet")
    with pytest.raises(UserError, match=r"--dataset: .* not 000000 as where the study began"):
        ExtractorSpec(kind="packaged", digest="0" * 64, network="shapes-24").load()


def test_a_file_that_changed_since_the_spec_is_refused(tmp_path):
    path = saved(StandIn(), tmp_path / "inception.pt")
    spec = ExtractorSpec.inception(path)
    spec.load()
    torch.manual_seed(1)
    saved(StandIn(), path)
    with pytest.raises(UserError, match=f"not {spec.digest[:6]} as when the study began"):
        spec.load()


def write_npz(path, **changed):
    """An NPZ of two features with the keys that ADM's has; None leaves a key out."""
    arrays = {
        "mu": np.zeros(2),
        "sigma": np.diag([1.0, 4.0]),
        "mu_s": np.zeros(5),
        "sigma_s": np.eye(5),
        "arr_0": np.zeros((3, 4, 4, 3), np.uint8),
    }
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


def test_statistics_of_features_come_back_from_an_npz(tmp_path):
    rng = np.random.default_rng(0)
    real = rng.standard_normal((50, 5))
    gaussian = Gaussian.of(real)
    path = tmp_path / "reference.npz"
    np.savez(path, mu=gaussian.mean_F, sigma=gaussian.covariance_FF)
    reference = load_reference_npz(path, features=5)
    samples = Features(features_NF=rng.standard_normal((40, 5)) + 1)
    by_statistics = scores(samples, np.zeros(40), reference)
    by_features = scores(samples, np.zeros(40), Reference(features_NF=real))
    assert by_statistics["frechet"].value == by_features["frechet"].value


def test_fid_of_known_moments(tmp_path, inception):
    """Of grey images every feature is affine in one random level, so each Gaussian has rank one.

    The distance is then |m1 - m2|^2 + (s1 - s2)^2, s the length of the standard deviations.
    """
    extractor = inception_extractor(inception)
    rng = np.random.default_rng(0)

    def grey(low, high):
        levels = torch.from_numpy(rng.integers(low, high, 30)).float().div(255)
        return extractor(levels.view(-1, 1, 1, 1).expand(-1, 3, 2, 2)).features_NF

    # 40 of the features: 21 decompositions of 2048 x 2048 take a minute.
    one, other = grey(0, 100)[:, :40], grey(50, 250)[:, :40]
    means = ((one.mean(0) - other.mean(0)) ** 2).sum()
    lengths = [np.sqrt(f.var(0, ddof=1).sum()) for f in (one, other)]
    expected = means + (lengths[0] - lengths[1]) ** 2
    path = tmp_path / "reference.npz"
    np.savez(path, mu=other.mean(0), sigma=np.cov(other, rowvar=False))
    reference = load_reference_npz(path, features=40)
    found = scores(Features(features_NF=one), np.zeros(30), reference)["frechet"].value
    assert found == pytest.approx(expected, rel=1e-5)


def test_fewer_samples_than_features_and_two_at_least(recwarn):
    """Singular covariances: tr sqrt(C1 C2) is the sum of the singular values of X1 X2^T."""
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((12, 64)), rng.standard_normal((90, 64))
    centred = [(f - f.mean(0)) / np.sqrt(len(f) - 1) for f in (one, other)]
    root = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    shift = ((one.mean(0) - other.mean(0)) ** 2).sum()
    expected = shift + sum((c**2).sum() for c in centred) - 2 * root
    found = frechet_distance(Gaussian.of(one), Gaussian.of(other))
    assert found == pytest.approx(expected, rel=1e-6)
    assert not [w for w in recwarn if "singular" in str(w.message) or "disp" in str(w.message)]
    Gaussian.of(one[:2])
    with pytest.raises(ValueError, match="1 samples: a distance needs at least two"):
        Gaussian.of(one[:1])


def test_an_npz_that_declares_terabytes_is_refused_by_its_header(tmp_path):
    path = tmp_path / "huge.npz"
    declaring(path, mu=(2**42,), sigma=np.eye(2))
    with pytest.raises(UserError, match=r"mu has shape \(4398046511104,\); the extractor's 2 feat"):
        load_reference_npz(path, features=2)


def test_digest_of_statistics_is_of_mu_and_sigma_alone(tmp_path):
    def digest(name, **changed):
        return load_reference_npz(write_npz(tmp_path / name, **changed), features=2).digest

    whole = digest("a.npz")
    assert whole == digest("b.npz", arr_0=None, mu_s=None, sigma_s=None)
    assert whole == digest("c.npz", sigma=np.diag([1.0, 4.0]).astype(np.float32))
    assert whole != digest("d.npz", mu=np.array([0.0, 1e-12]))
    assert whole != digest("e.npz", sigma=np.diag([1.0, 5.0]))
    assert Reference(features_NF=np.zeros((2, 2))).digest is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"mu": None}, r"has no mu \(it holds sigma, mu_s, sigma_s, arr_0\); give an NPZ"),
        ({"mu": None, "sigma": None}, "has no mu and no sigma"),
        ({"mu": np.zeros(3)}, r"mu has shape \(3,\); the extractor's 2 features need \(2,\)"),
        ({"mu": np.zeros((1, 2))}, r"mu has shape \(1, 2\)"),
        ({"sigma": np.ones(2)}, r"sigma has shape \(2,\); .* need \(2, 2\)"),
        ({"mu": np.array([0, np.nan])}, "mu holds numbers that are not finite"),
        ({"sigma": np.diag([1, np.inf])}, "sigma holds numbers that are not finite"),
        ({"sigma": np.diag([1.0, -1.0])}, "sigma is not symmetric with a diagonal >= 0"),
        ({"sigma": np.array([[1.0, 0.5], [0.0, 1.0]])}, "sigma is not symmetric"),
        ({"mu": np.array([None, 1.0])}, "cannot be read as an NPZ"),
        ({"mu": np.array(["a", "b"])}, "mu is no array of numbers"),
        ({"mu": np.zeros(2, complex)}, "mu is no array of numbers"),
    ],
)
def test_bad_statistics_are_named(tmp_path, changed, reason):
    path = write_npz(tmp_path / "reference.npz", **changed)
    with pytest.raises(UserError, match=f"^--reference {re.escape(str(path))}: {reason}"):
        load_reference_npz(path, features=2)


def test_files_that_are_no_npz(tmp_path):
    path = write_npz(tmp_path / "reference.npz")

    def refused(content: bytes):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"^--reference .*reference\.npz: ") as error:
            load_reference_npz(path, features=2)
        return str(error.value)

    whole = path.read_bytes()
    np.save(tmp_path / "one.npy", np.zeros(2))
    for content in (b"", b"hello", whole[:100], (tmp_path / "one.npy").read_bytes()):
        assert "not an NPZ file" in refused(content)
    at = whole.index(np.float64(4).tobytes())
    assert "cannot be read" in refused(whole[:at] + b"\1" + whole[at + 1 :]), "checksum"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("mu", b"raw")
        file.writestr("sigma", b"raw")
    assert "mu is no array of numbers" in refused(path.read_bytes())


def test_reference_of_reconstructions_for_any_extractor(tmp_path, inception):
    """Made once, in the tokens' folder: of 7 test images in 2 classes."""
    torch.manual_seed(0)
    config = small_tokenizer((1, 2), 16)
    tokenizer, tokens_NL = Tokenizer(config).eval(), torch.randint(0, 16, (7, 5))
    split = {"tokens": tokens_NL.short(), "labels": torch.arange(7) % 2}
    save_file(split, tmp_path / "test.safetensors")
    (tmp_path / "test.json").write_text(json.dumps({"shards": ["test.safetensors"]}))
    record(tmp_path / "test.safetensors", tmp_path / "test.json")
    images = tokenizer.decode(tokens_NL).add(1).div(2)
    in_layers = saved(InLayers(), tmp_path / "in_layers.pt")
    networks = [inception_extractor(path) for path in (inception, in_layers)]
    for extractor in (*networks, packaged_extractor("shapes-24")):
        path = prepare_reference(tmp_path, tokenizer, extractor)
        assert path.name == f"test-{extractor.name}.safetensors"
        reference = read_reference(path)
        np.testing.assert_allclose(
            reference.features_NF, extractor(images).features_NF, rtol=1e-4, atol=1e-2
        )
        np.testing.assert_array_equal(reference.labels_N, np.arange(7) % 2)
        assert reference.digest is None
        assert (reference.spatial is not None) == (extractor.spatial_features > 0)
        written = path.stat().st_mtime_ns
        assert prepare_reference(tmp_path, tokenizer, extractor) == path
        assert path.stat().st_mtime_ns == written
    npz = write_npz(tmp_path / "reference.npz")
    assert read_reference(npz, features=2).digest == load_reference_npz(npz, features=2).digest
    with pytest.raises(UserError, match=r"--reference .* mu has shape"):
        read_reference(npz)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_features(inception):
    images = images_of(9)
    on_cpu = inception_extractor(inception)(images)
    extractor = ExtractorSpec.inception(inception).load("cuda")
    assert next(extractor.network.parameters()).is_cuda
    for given in (images, images.cuda()):
        found = extractor(given, batch=4)
        np.testing.assert_allclose(found.features_NF, on_cpu.features_NF, rtol=1e-5, atol=1e-2)
    packaged = packaged_extractor("shapes-24")
    np.testing.assert_array_equal(packaged(images.cuda()).features_NF, packaged(images).features_NF)
