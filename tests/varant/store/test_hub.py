"""Files of the hub: only where a flag says so, against a server on the loopback address."""

from __future__ import annotations

import hashlib
import http.server
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from varant.errors import UserError
from varant.start.config import NetworkConfig
from varant.store.hub import local

CONTENT, COMMIT = b"weights" * 1_000, "1" * 40
NAMED = "hf:owner/name/some/var_d2.pth"
FETCH = """
import sys
from pathlib import Path
from varant.errors import exit_codes
from varant.store.hub import local
with exit_codes():
    print(local(Path(sys.argv[1]), "--var"))
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """One file of one repository, as the hub describes it in headers."""

    asked: list[str] = []  # noqa: RUF012 (of the server that the test starts)

    def do_GET(self) -> None:
        self.asked.append(f"{self.command} {self.path}")
        there = self.path == "/owner/name/resolve/main/some/var_d2.pth"
        self.send_response(200 if there else 404)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Error-Code", "" if there else "EntryNotFound")
        self.send_header("ETag", f'"{hashlib.sha256(CONTENT).hexdigest()}"')
        self.send_header("Content-Length", str(len(CONTENT) if there else 0))
        self.end_headers()
        if there and self.command == "GET":
            self.wfile.write(CONTENT)

    do_HEAD = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def endpoint():
    Hub.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def fetch(named: str, endpoint: str, home: Path) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the library reads its variables when it is imported."""
    own = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    own |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "*"}
    return subprocess.run(
        [sys.executable, "-c", FETCH, named],
        env=os.environ | own,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_file_is_downloaded_once_and_its_digest_said(endpoint, tmp_path):
    done = fetch(NAMED, endpoint, tmp_path)
    assert (done.returncode, Path(done.stdout.strip()).read_bytes()) == (0, CONTENT), done.stderr
    assert f"{NAMED}: " in done.stderr
    assert f"SHA-256 {hashlib.sha256(CONTENT).hexdigest()}" in done.stderr
    again = fetch(NAMED, endpoint, tmp_path)
    assert again.stdout == done.stdout
    assert Hub.asked.count("GET /owner/name/resolve/main/some/var_d2.pth") == 1
    offline = fetch(NAMED, "http://127.0.0.1:9", tmp_path)
    assert (offline.returncode, offline.stdout) == (0, done.stdout)


@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("hf:owner/name/none.pth", True),
        pytest.param(NAMED, False, marks=pytest.mark.long),  # the hub's library waits and retries
    ],
    ids=["none", "offline"],
)
def test_a_file_that_cannot_be_had_is_one_line(endpoint, tmp_path, named, there):
    done = fetch(named, endpoint if there else "http://127.0.0.1:9", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert f"--var {named}: cannot be had from the hub (" in line


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    given = NetworkConfig(vae=Path("hf:a/b/vae.pth"), var=Path("here.pth"))
    with pytest.raises(UserError, match=r"^--vae hf:a/b/vae.pth: needs the extra `hub` \(pip inst"):
        given.fetched()
    own = NetworkConfig(vae=Path("vae.pth"), var=Path("here.pth"))
    assert own.fetched() == own


@pytest.mark.parametrize("named", ["hf:", "hf:var_d16.pth", "hf:FoundationVision/var"])
def test_other_names_are_refused(named):
    with pytest.raises(UserError, match=rf"^--var {named}: give hf:owner/name/file, such as hf:"):
        local(Path(named), "--var")
