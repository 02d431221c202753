"""What several test files share."""

import os
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

# A job in the background starts with Ctrl-C ignored, and so do the commands that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Files run side by side (pytest -n), and a process with more threads than cores crawls.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What takes minutes, longest first: no process is left alone with one at the end. The second needs
# nothing of `prepared`, which the first makes meanwhile.
LONG = ("studies/test_pareto", "training/test_run", "studies/", "test_train.py", "reports/")
LONG += ("long/test_crowd", "long/test_values")  # nor does the second of these wait for the first


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("varant", "attacks of tests/long")
    group.addoption("--share", type=float, default=1.0, help="of the attacks; default: all")
    group.addoption("--tally", type=Path, help="folder for their counts, a JSON file a test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        found = [i for i, part in enumerate(LONG) if part in file]
        return found[0] if found else len(LONG)

    items.sort(key=rank)


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """No write waits for the disk, which takes longer than the rest of it: processes are killed
    here, machines are not."""
    from sqlalchemy import Engine, event

    def connected(connection: sqlite3.Connection, record: object) -> None:
        connection.execute("pragma synchronous = off")

    event.listen(Engine, "connect", connected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield
    event.remove(Engine, "connect", connected)


# Prepared workspaces: what takes a minute to train is trained once, for all processes of a session.


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes of a session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def prepared(shared: Path) -> Path:
    """A workspace that nobody writes to: quick tokenizer, tokens, base network and reference, an
    empty tracking database, and a supernet in `supernet`."""
    from studies.grid.bench import plan_bench, prepare_bench
    from studies.grid.flags import StudyConfig
    from studies.running.executors import InlineExecutor
    from studies.tracking.mlflow_runs import DATABASE, MlflowClient
    from varant.flags import flags_of
    from varant.store.workspace import Workspace
    from varant.train import TrainConfig, main

    folder = shared / "prepared"
    workspace = Workspace(folder=folder / "runs")
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "whole").exists():
            flags = ["--quick", "--workspace", str(workspace.folder)]
            config = flags_of(StudyConfig, None, flags)
            prepare_bench(plan_bench(config), config, workspace, InlineExecutor())
            main(flags_of(TrainConfig, None, flags))
            MlflowClient(f"sqlite:///{workspace.folder / DATABASE}").search_experiments()
            (folder / "whole").touch()
    return workspace.folder


@pytest.fixture(scope="module")
def quick_workspace(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the prepared workspace for the tests of one file."""
    return shutil.copytree(prepared, tmp_path_factory.mktemp("quick") / "runs")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports have empty figures: drawing is most of a small study's time."""
    from analysis.figures.theme import new_figure
    from reports.parts.page import Page

    figure = Page.figure
    monkeypatch.setattr(
        Page,
        "figure",
        lambda page, name, draw, *said: figure(page, name, lambda: new_figure(height=1), *said),
    )
