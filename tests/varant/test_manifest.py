"""Manifests: what was written is what is read, or it is named."""

import json

import pytest

from varant import manifest
from varant.manifest import Damaged


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "table.json"
    with manifest.recording(path) as aside:
        aside.write_text("[1, 2]")
    return path


def test_what_was_written_passes_and_is_hashed_once(path, monkeypatch):
    assert manifest.verified(path) == path
    monkeypatch.setattr(manifest, "sha256_file", lambda path: pytest.fail("hashed twice"))
    assert manifest.verified(path) == path


def test_another_content_is_named_with_its_remedy(path):
    manifest.verified(path)
    for content in ("[1, 3]", "[1, 2", ""):
        path.write_text(content)
        with pytest.raises(Damaged, match=r"table\.json: damaged .*; run the study again"):
            manifest.verified(path, "run the study again")
    path.unlink()
    with pytest.raises(Damaged, match=r"table\.json: no such file; "):
        manifest.verified(path, listed=False)


def test_what_nobody_recorded_passes_only_where_it_may(path):
    other = path.with_name("plan.json")
    other.write_text("{}")
    assert manifest.verified(other, listed=False) == other
    with pytest.raises(Damaged, match=r"plan\.json: not in manifest\.json"):
        manifest.verified(other)
    manifest.record(other)
    assert set(manifest.read(path.parent)) == {"plan.json", "table.json"}
    manifest.record(other, fresh=True)
    assert set(manifest.read(path.parent)) == {"plan.json"}


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "other"}', '{"sha256": 1}', "\0"])
def test_a_damaged_manifest_is_named(path, content):
    whole = json.loads((path.parent / manifest.FILE).read_text())
    if content == '{"sha256": 1}':
        content = json.dumps(whole | {"sha256": 1})
    (path.parent / manifest.FILE).write_text(content)
    with pytest.raises(Damaged, match=r"manifest\.json: damaged"):
        manifest.verified(path)
