"""A signal ends a command in every phase: one line, 130 or 75."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
from command_lines import listens
from probe_cells import Probe, probe

from studies.cells.cell import run_cell
from studies.running.executors import _as_workers_start
from varant.errors import Preempted, exit_codes
from varant.signals import stop_signals

ROOT = Path(__file__).parents[2]
ENDS = [(signal.SIGINT, 130, "interrupted; run"), (signal.SIGTERM, 75, "stopped; finished cells")]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="who listens is said by Linux")
@pytest.mark.parametrize("module", ["studies.pareto", "varant.train", "reports"])
@pytest.mark.parametrize(("number", "code", "line"), ENDS)
def test_while_a_command_is_imported(module, number, code, line):
    process = subprocess.Popen(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not listens(process, signal.SIGTERM):
        time.sleep(0.002)
    process.send_signal(number)
    out, said = process.communicate()
    assert (process.returncode, out) == (code, "")
    assert said.startswith(line) and said.count("\n") == 1


def test_who_imports_the_packages_keeps_his_handlers():
    handlers = "signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)"
    kept = "signal.default_int_handler, signal.SIG_DFL"
    code = f"import signal, studies, varant; assert ({handlers}) == ({kept})"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(("number", "code", "line"), ENDS)
def test_it_comes_again_where_python_would_print_it_and_go_on(capsys, number, code, line):
    class Kept:
        pass

    went_on = False
    with pytest.raises(SystemExit) as ended, exit_codes():
        kept = Kept()
        callback = weakref.ref(kept, lambda _: signal.raise_signal(number))
        del kept
        assert callback() is None
        time.sleep(5)
        went_on = True
    assert not went_on and ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1


@pytest.mark.parametrize(("number", "code", "line"), ENDS)
@pytest.mark.parametrize("became", [None, ImportError, SystemExit])
def test_whatever_libraries_make_of_it(capsys, number, code, line, became):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, exit_codes():
        try:
            signal.raise_signal(number)
        except BaseException as error:
            raise became("an extension did not load") if became else error from None
    assert ended.value.code == code
    said = capsys.readouterr().err
    assert said.startswith(line) and said.count("\n") == 1
    assert signal.getsignal(number) is before


def test_what_a_training_says_of_it_is_said(capsys):
    with pytest.raises(SystemExit) as ended, exit_codes():
        asked = []
        with stop_signals(lambda number, _: asked.append(number)):
            signal.raise_signal(signal.SIGTERM)
        raise Preempted("stopped after step 3")
    assert (ended.value.code, asked) == (75, [signal.SIGTERM])
    assert capsys.readouterr().err == "stopped after step 3\n"


def test_ctrl_c_inside_an_exec_ends_by_its_code():
    """Python itself ends such a process by the signal, though the exception was handled."""
    code = """
import signal
from varant.errors import exit_codes
signal.signal(signal.SIGINT, signal.default_int_handler)
with exit_codes():
    exec("signal.raise_signal(signal.SIGINT)")
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE)
    assert ended.returncode == 130


def test_what_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with exit_codes():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_nobody_reads_what_goes_wrong(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as unread:
        monkeypatch.setattr(sys, "stderr", unread)
        with pytest.raises(SystemExit) as ended, exit_codes():
            print("a warning", file=sys.stderr)
    assert ended.value.code == 141


def test_workers_never_hear_ctrl_c_not_even_while_they_start():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    with _as_workers_start():
        started = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert started.stdout == "True\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_signal_fails_no_cell(tmp_path, capsys):
    """An extension whose import it ends may say that it is not there."""

    class Importing(Probe):
        def measure(self, cell, folder):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            raise ImportError("an extension did not load")

    cell = replace(probe(seed=0), task=Importing(seed=0))
    with pytest.raises(SystemExit) as ended, exit_codes():
        run_cell(cell, tmp_path)
    assert ended.value.code == 75
    assert not (tmp_path / "result.json").exists()
    run_cell(probe(seed=0), tmp_path)  # it came once


def test_what_is_done_is_done(tmp_path):
    """Python takes what was imported down without the handlers that it had."""
    (tmp_path / "varant_last.py").write_text(
        "import os, signal\nclass Last:\n    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\nlast = Last()\n"
    )
    code = (
        "import sys; sys.argv, sys.orig_argv = ['-m'], ['python', '-m', 'varant.train']\n"
        "import varant, varant_last\nprint('done')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process that its parent ended")
def test_a_process_of_torchrun_ends_when_torchrun_is_killed():
    """It would train on, and keep whoever runs the command again from its folder."""
    rank = (
        "import time\nfrom varant.training.distributed import end_with_torchrun\n"
        "end_with_torchrun()\nprint('trains', flush=True)\ntime.sleep(30)\nprint('trains on')\n"
    )
    torchrun = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", torchrun, rank],
        env=os.environ | {"TORCHELASTIC_RUN_ID": "one", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout.readline() == "trains\n"
        started.kill()
        assert started.stdout.read() == "", "it held on to its output"
