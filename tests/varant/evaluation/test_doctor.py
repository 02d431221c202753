"""Each thing that goes wrong with a Frechet distance, done to healthy samples, is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from clean_fid import cleanfid_fid

from varant.data.datasets import load_dataset
from varant.errors import UserError
from varant.evaluation.doctor import (
    PUBLISHED_SAMPLING,
    check_count,
    check_resize,
    diagnose,
    read_case,
)
from varant.evaluation.features import packaged_extractor
from varant.evaluation.inception import InceptionExtractor, _resized_clean
from varant.evaluation.reference import reference_of
from varant.fid_doctor import DoctorConfig, main

FACTS = {"plan": "full", "classes": list(range(10)), "per_class": 60, **PUBLISHED_SAMPLING}


@pytest.fixture(scope="module")
def images():
    """(1000, 24, 24, 3) images of the embedded data set."""
    return load_dataset("shapes").train.images(range(1_000)).transpose(0, 2, 3, 1)


@pytest.fixture(scope="module")
def reference(images, tmp_path_factory):
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    np.savez(path, arr_0=images[400:])
    return path


def case_of(folder, reference, arr_0, facts=None, **arrays):
    """Of samples that are written to a file."""
    path = folder / "samples.npz"
    arrays |= {} if facts is None else {"facts": np.array(json.dumps(facts))}
    np.savez(path, arr_0=arr_0, **arrays)
    return read_case(path, reference, packaged_extractor("shapes-24"))


def found_in(*args, **arrays):
    """Findings by check."""
    return dict(diagnose(case_of(*args, **arrays)))


def causes(found):
    return {check for check, finding in found.items() if finding.status == "cause"} - {"count"}


def test_healthy_samples_have_no_cause(images, reference, tmp_path):
    found = found_in(tmp_path, reference, images[:400], FACTS)
    assert causes(found) == set()
    unknown = {check for check, finding in found.items() if finding.status == "unknown"}
    assert unknown == {"extractor", "count"}


def with_repeats(images):
    return np.concatenate([images[:60]] * 10)


BROKEN = {
    "swapped channels": (lambda x: x[..., ::-1], FACTS, {"channels"}),
    "numbers of 0 to 1": (lambda x: (x / 255).astype(np.float32), FACTS, {"range"}),
    "numbers of -1 to 1": (lambda x: (x / 127.5 - 1).astype(np.float32), FACTS, {"range"}),
    "repeats": (with_repeats, FACTS, {"duplicates"}),
    "other guidance": (lambda x: x, FACTS | {"cfg": 4.0}, {"sampling"}),
    "other filters": (lambda x: x, FACTS | {"top_p": 0.0}, {"sampling"}),
    "smaller": (lambda x: x[:, 2:22, 2:22], FACTS, {"resolution"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(images, reference, tmp_path, name):
    breaks, facts, expected = BROKEN[name]
    found = found_in(tmp_path, reference, breaks(images[:400]), facts)
    assert expected == causes(found)


def test_a_counterfactual_is_what_the_healthy_samples_have(images, reference, tmp_path):
    healthy = found_in(tmp_path, reference, images[:400], FACTS)["channels"]
    swapped = found_in(tmp_path, reference, images[:400, ..., ::-1], FACTS)["channels"]
    scaled = (images[:400] / 255).astype(np.float64)
    ranged = found_in(tmp_path, reference, scaled, FACTS)["range"]
    case = case_of(tmp_path, reference, images[:400])
    assert swapped.distance == pytest.approx(case.distance.value, rel=1e-6)
    assert ranged.distance == pytest.approx(case.distance.value, rel=1e-5)
    assert healthy.distance > 2 * case.distance.value


def test_statistics_decide_where_the_reference_has_images_too(images, reference, tmp_path):
    """As ADM's files do, whose `arr_0` is a part of what `mu` and `sigma` are of."""
    both, alone = tmp_path / "both.npz", case_of(tmp_path, reference, images[:400])
    target = alone.reference.gaussian
    np.savez(both, arr_0=images[400:420], mu=target.mean_F, sigma=target.covariance_FF)
    case = case_of(tmp_path, both, images[:400])
    assert case.distance.value == pytest.approx(alone.distance.value, rel=1e-9)
    assert dict(diagnose(case))["resolution"].status == "ok"


def test_uneven_classes_are_named(images, reference, tmp_path):
    labels = np.array([0] * 500 + [1] * 100)
    found = found_in(tmp_path, reference, images[:400], arr_1=labels)["classes"]
    assert (found.status, found.said) == ("cause", "2 classes, 100 to 500 samples each")


def test_another_extractor_is_named(images, tmp_path):
    other = tmp_path / "reference.npz"
    np.savez(other, arr_0=images[400:], facts=np.array(json.dumps({"extractor": "abc"})))
    found = found_in(tmp_path, other, images[:400])["extractor"]
    assert found.status == "cause"
    assert found.said.endswith("; reference by abc")


def test_too_few_samples_are_named(images, reference, tmp_path):
    found = found_in(tmp_path, reference, images[:200])["count"]
    assert found.status == "cause"
    assert "200 samples: cannot resolve" in found.said
    assert "128 features has rank 128; take at least 256" in found.said
    one = found_in(tmp_path, reference, images[:100])["count"]
    assert "rank 99;" in one.said


def test_too_few_reference_images_are_named(images, tmp_path):
    path = tmp_path / "reference.npz"
    np.savez(path, arr_0=images[400:500])
    found = found_in(tmp_path, path, images[:400])["count"]
    assert (found.status, found.said.partition(":")[0]) == ("cause", "100 reference images")


def test_a_missing_class_is_named(images, reference, tmp_path):
    labels = np.arange(400) % 10
    found = found_in(tmp_path, reference, images[:400], arr_1=np.where(labels == 3, 4, labels))
    assert found["classes"].status == "cause"
    assert found["classes"].said.endswith("; none of 3")
    real = tmp_path / "real.npz"
    np.savez(real, arr_0=images[400:], arr_1=np.arange(600) % 12)
    found = found_in(tmp_path, real, images[:400], FACTS)["classes"]
    assert (found.status, found.said.endswith("; none of 10, 11")) == ("cause", True)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_images_of_no_numbers_are_refused(images, reference, tmp_path, bad):
    broken = images[:300].astype(np.float32)
    broken[270, 1, 2, 0] = bad
    with pytest.raises(UserError, match=r"samples.npz: image 270 of arr_0 holds .* not finite"):
        found_in(tmp_path, reference, broken)


def test_statistics_say_what_they_were_made_with(images, reference, tmp_path, capsys):
    """Written once, they give the distance that the images give, and answer two more checks."""
    path, extractor = tmp_path / "statistics.npz", packaged_extractor("shapes-24")
    main(DoctorConfig(samples=reference, statistics=path))
    assert capsys.readouterr().out.endswith(
        "statistics of 600 images of 24 pixels, shapes-24-3104bf\n"
    )
    case, by_images = (case_of(tmp_path, one, images[:400]) for one in (path, reference))
    assert case.distance.value == pytest.approx(by_images.distance.value, rel=1e-9)
    found = dict(diagnose(case))
    assert (found["extractor"].status, found["resolution"].status) == ("ok", "ok")
    assert reference_of(path, extractor, 24).digest is not None
    with pytest.raises(UserError, match=r"statistics.npz: is of side 24, not 32; give one"):
        reference_of(path, extractor, 32)
    other = replace(extractor, digest="0" * 64)
    with pytest.raises(UserError, match=r"is of extractor 3104\w+, not 0000"):
        reference_of(path, other, 24)
    smaller = found_in(tmp_path, path, images[:400, 2:22, 2:22])["resolution"]
    assert (smaller.status, smaller.said) == (
        "cause",
        "samples of 20 x 20 pixels, reference of 24 x 24",
    )


def test_one_of_reference_and_statistics_is_asked_for(reference, tmp_path):
    for given in ({}, {"reference": reference, "statistics": tmp_path / "new.npz"}):
        with pytest.raises(UserError, match=r"--reference: give an NPZ file .* --statistics"):
            main(DoctorConfig(samples=reference, **given))


def test_the_distance_of_more_samples_is_foretold(images, reference, tmp_path):
    """1,200 samples are far above the floor of many, and what they tell is near it."""
    many = load_dataset("shapes").train.images(range(2_000, 8_000)).transpose(0, 2, 3, 1)
    truth = case_of(tmp_path, reference, many).distance.value
    case = case_of(tmp_path, reference, many[3_000:4_200])
    found = check_count(case)
    assert found.status == "cause"
    assert abs(found.distance - truth) < case.distance.value - truth


class Texture(torch.nn.Module):
    """Features that resizing changes: how much neighbouring pixels differ, by colour."""

    def forward(self, x, return_features=True):
        if x.shape[-1] != 299:
            x = torch.nn.functional.interpolate(x, (299, 299), mode="bilinear")
        return x.diff(dim=3).abs().mean((2, 3))


def test_another_resizing_is_named(images, reference, tmp_path):
    legacy = InceptionExtractor(name="i", digest="d", network=Texture(), device="cpu")
    clean = InceptionExtractor(
        name="i", digest="d", network=Texture(), device="cpu", resize="clean"
    )
    path = tmp_path / "samples.npz"
    noise = np.random.default_rng(0).integers(0, 256, (60, 24, 24, 3), dtype=np.uint8)
    np.savez(path, arr_0=noise)
    some = tmp_path / "some.npz"
    np.savez(some, arr_0=images[400:460])
    expected = read_case(path, some, clean).distance.value
    found = check_resize(read_case(path, some, legacy, expected))
    assert found.status == "cause"
    assert found.distance == pytest.approx(expected)
    same = read_case(path, some, legacy).distance.value
    assert check_resize(read_case(path, some, legacy, same)).status == "ok"
    back = check_resize(read_case(path, some, clean, same))
    assert (back.status, back.distance) == ("cause", pytest.approx(same))
    assert back.said.startswith("legacy resizing gives the expected number")


def test_clean_resizing_is_clean_fids():
    cleanfid_fid()
    from cleanfid.resize import build_resizer

    rng = np.random.default_rng(0)
    for side in (40, 400):
        image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        ours = _resized_clean(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0]
        assert np.abs(ours.permute(1, 2, 0).numpy() - build_resizer("clean")(image)).max() < 1e-3


def test_the_command_names_the_cause(images, reference, tmp_path, capsys):
    path = tmp_path / "samples.npz"
    np.savez(path, arr_0=images[:400, ..., ::-1])
    main(DoctorConfig(samples=path, reference=reference))
    said = capsys.readouterr().out
    assert said.startswith("FD ")
    assert "400 samples, shapes-24-3104bf" in said
    (beside,) = [line for line in said.splitlines() if line.startswith("beside it: ")]
    assert "MIND " in beside and ", KID " in beside
    assert "cause    channels    red and blue are swapped" in said
    assert said.splitlines()[-1].startswith("causes: channels")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda path: path.write_bytes(b"PK"), "cannot be read"),
        (lambda path: np.savez(path, arr_1=np.zeros(3)), "cannot be read"),
        (lambda path: np.savez(path, arr_0=np.zeros((3, 4, 4))), r"arr_0 has shape \(3, 4, 4\)"),
        (lambda path: np.savez(path, arr_0=np.array([None, {}])), r"cannot be read \(pickled"),
        (lambda path: None, "no such file"),
    ],
)
def test_files_that_are_no_images(write, said, reference, tmp_path):
    path = tmp_path / "samples.npz"
    write(path)
    with pytest.raises(
        UserError, match=rf"samples .*samples.npz: {said}.*; give an NPZ with arr_0"
    ):
        main(DoctorConfig(samples=path, reference=reference))
