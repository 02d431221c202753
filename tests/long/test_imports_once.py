"""The mirror's thread imports MLflow while cells run: no package is begun by both."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from attacked import COMMANDS, LONGEST_SECONDS, ROOT, started

# Which packages each thread looks for, from the moment when another than the main one does.
RECORDED = """
import importlib.machinery, json, runpy, sys, threading
began = {True: set(), False: set()}
class Recorder:
    def find_spec(self, name, path=None, target=None):
        main = threading.current_thread() is threading.main_thread()
        if (began[False] or not main) and importlib.machinery.PathFinder.find_spec(name, path):
            began[main].add(name.partition(".")[0])
sys.meta_path.insert(0, Recorder())
out, *sys.argv = sys.argv[1:]
try:
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
finally:
    json.dump({str(main): sorted(names) for main, names in began.items()}, open(out, "w"))
"""
OURS = {"analysis", "reports", "studies", "varant"}
# Once imported it answers whatever thread asks for a package's version, and then imports the rest.
FINDER = {"importlib_metadata", "zipp"}

pytestmark = pytest.mark.long


def test_no_package_is_imported_by_two_threads(
    undisturbed, tally: Counter[str], tmp_path: Path
) -> None:
    """Two threads that import the same modules in another order may find half of one."""
    command, workspace, out = COMMANDS["studies.schedule"], tmp_path / "runs", tmp_path / "out"
    assert command.after is not None
    shutil.copytree(undisturbed(command.after).end, workspace)
    words = [sys.executable, "-c", RECORDED, str(out), command.module, *command.words(workspace)]
    with started(words, ROOT) as running:
        assert running.process.wait(LONGEST_SECONDS) == 0, running.said()
    found = {thread: set(names) for thread, names in json.loads(out.read_text()).items()}
    tally.update({f"packages of {thread}": len(names) for thread, names in found.items()})
    tally["made"] += 1
    assert "mlflow" in found["False"]
    assert not found["True"] & found["False"] - OURS - FINDER - sys.stdlib_module_names
    tally["held"] += 1
