"""What units are measured on is made side by side, once, and is what one process makes."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest
from command_lines import config_of

from studies.grid.bench import Prepared, plan_bench, prepare_bench
from studies.grid.outlook import warn_of_little
from studies.running.executors import Executor, InlineExecutor
from studies.sensitivity import SensitivityConfig
from varant.manifest import read
from varant.store.workspace import Workspace

P = ParamSpec("P")
R = TypeVar("R")


class Elsewhere(InlineExecutor):
    """Runs what another process would have got, and counts it."""

    slots, here, taken = 2, False, 0

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        self.taken += 1
        return super().submit(pickle.loads(pickle.dumps(function)), *args, **kwargs)


def prepared_by(executor: Executor, folder: Path) -> Prepared:
    config = config_of(SensitivityConfig, quick=True, units=3, base="train")
    planned = plan_bench(config, networks=False)
    return prepare_bench(planned, config, Workspace(folder=folder), executor)


def test_units_are_prepared_side_by_side(prepared: Path, tmp_path: Path) -> None:
    here, there = (shutil.copytree(prepared, tmp_path / name) for name in ("here", "there"))
    alone = prepared_by(InlineExecutor(), here)
    elsewhere = Elsewhere()
    found = prepared_by(elsewhere, there)
    assert elsewhere.taken == 2, "unit 0 was there"
    for unit in (0, 1, 2):
        mine, other = (one.site.networks[unit].held_out for one in (found, alone))
        assert mine.tokens_digest == other.tokens_digest
        assert read(mine.tokens_folder) == read(other.tokens_folder), "the same bytes"
        assert all(path.exists() for path in mine.references)
    prepared_by(elsewhere, there)
    assert elsewhere.taken == 2, "nothing is lacking"


def test_samples_beyond_the_real_images_of_a_unit_are_said_to_have_no_floor(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("sklearn")
    for samples, said in ((200, ""), (201, "digits has 200 held-out images a unit")):
        config = config_of(SensitivityConfig, preset="tiny", dataset="digits", samples=samples)
        warn_of_little(plan_bench(config), 5, {"--samples": samples})
        floor = [line for line in capsys.readouterr().err.splitlines() if "no floor at" in line]
        assert [said in line for line in floor] == ([True] if said else [])
