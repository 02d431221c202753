"""What ends a command: one line and the right code."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from varant.errors import FIRST_RANK_SECONDS, UserError, exit_codes

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left", "a"), 1, "error: disk full while writing a"),
        (OSError(errno.EROFS, "Read-only file system", "a"), 1, "error: a: Read-only file system"),
        (FileNotFoundError(2, "No such", "a"), 2, "error: a: no such file; put it back, or run"),
        (BrokenPipeError(32, "Broken pipe"), 1, "error: the machine: Broken pipe"),
        (OSError("5120 requested and 1984 written"), 1, "error: 5120 requested and"),
        (KeyboardInterrupt(), 130, "interrupted; run the same command again"),
    ],
)
def test_trouble_is_one_line(capsys, error, code, line):
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise error
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1


def test_who_stops_reading_is_no_error(capsys, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as unread:
        monkeypatch.setattr(sys, "stdout", unread)
        with pytest.raises(SystemExit) as ended, exit_codes():
            print("a line that nobody reads")
    assert ended.value.code == 141
    assert capsys.readouterr().err == ""


def test_no_memory_whoever_has_none(capsys):
    class OutOfMemoryError(RuntimeError):  # as torch's, which is no type of ours
        pass

    said = "[enforce fail] DefaultCPUAllocator: can't allocate memory: tried to allocate 8 bytes"
    for error in (MemoryError(), OutOfMemoryError("CUDA"), RuntimeError(said)):
        with pytest.raises(SystemExit) as ended, exit_codes():
            raise error
        assert ended.value.code == 1
        assert capsys.readouterr().err.startswith("error: out of memory")
    with pytest.raises(RuntimeError, match="a bug"), exit_codes():
        raise RuntimeError("a bug")


@pytest.mark.long
def test_several_processes_say_it_once_and_end_with_its_code(tmp_path):
    """The second would say it, too, were it not ended; one that alone met it says it."""
    script = tmp_path / "both.py"
    script.write_text(
        "import os, time\n"
        "from varant.errors import UserError, exit_codes\n"
        "if os.environ['LOCAL_RANK'] == '0':\n"
        "    time.sleep(1)\n"
        "with exit_codes():\n"
        "    raise UserError('--flag x: give y')\n"
    )
    command = [sys.executable, "-m", "varant.torchrun", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(script)], capture_output=True, text=True, cwd=ROOT, env=os.environ
    )
    assert done.returncode == 2
    assert done.stderr.count("error: --flag x: give y\n") == 1
    assert "Traceback" not in done.stderr


def test_who_alone_met_it_says_it(capsys, monkeypatch):
    waited = []
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr("varant.errors.time.sleep", waited.append)
    with pytest.raises(SystemExit) as ended, exit_codes():
        raise UserError("--flag x: give y")
    assert ended.value.code == 2 and waited == [FIRST_RANK_SECONDS]
    assert capsys.readouterr().err == "error: --flag x: give y\n"
