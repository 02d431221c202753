"""What several test files share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def quick_workspace(tmp_path_factory) -> Path:
    """A workspace with the quick base network, and a supernet of it in `supernet`."""
    from varant.train import main
    from varant.train_flags import TrainFlags

    workspace = tmp_path_factory.mktemp("quick") / "runs"
    main(TrainFlags(quick=True, workspace=workspace))
    return workspace
