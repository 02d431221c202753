"""What several test files share."""

import os
from pathlib import Path

import pytest

# Files run side by side (pytest -n), and a process with more threads than cores crawls.
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = ("test_study_", "test_train", "test_own_study", "test_runner")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take minutes first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: not item.path.name.startswith(LONG))


@pytest.fixture(scope="session")
def quick_workspace(tmp_path_factory) -> Path:
    """A workspace with the quick base network, and a supernet of it in `supernet`."""
    from command_lines import config_of

    from varant.train import TrainConfig, main

    workspace = tmp_path_factory.mktemp("quick") / "runs"
    main(config_of(TrainConfig, quick=True, workspace=workspace))
    return workspace
