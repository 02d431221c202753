"""What ends a command: one line and the right code."""

import errno
import os
import sys

import pytest

from varant.errors import exit_codes


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left", "a"), 1, "error: disk full while writing a"),
        (OSError(errno.EROFS, "Read-only file system", "a"), 1, "error: a: Read-only file system"),
        (FileNotFoundError(2, "No such", "a"), 2, "error: a: no such file; put it back, or run"),
        (BrokenPipeError(32, "Broken pipe"), 1, "error: the machine: Broken pipe"),
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
