"""The noise study from end to end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from study_commands import TRAINED, Command

from analysis.instrument_file import NoiseTable
from studies.noise import Noise, NoiseConfig
from studies.pareto import Pareto, ParetoConfig
from varant import UserError

NOISE = Command(study=Noise, config=NoiseConfig)


def test_the_study_end_to_end_and_what_another_plans_by_it(
    quick_workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    NOISE.run(quick_workspace, **TRAINED, budget=320, draws=1, depths=2, units=2)
    folder = quick_workspace / "noise-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    base = frame[(frame["kind"] == "base") & (frame["family"] == "full")]
    assert base["draw"].nunique() == 3 * 2  # counts, training seeds
    assert set(base["count"]) - {0} == {80, 40, 20, 10}  # samples, and test images
    table = NoiseTable.read(folder / "table.json")
    assert {"loss half", "loss full", "retrained half"} <= {q.quantity for q in table.quantities}
    spaces = {q.extractor for q in table.quantities if q.kind == "fd"}
    assert {name.rpartition("-")[2] for name in spaces} == {
        digest[:6] for digest in table.setting.extractors
    }
    capsys.readouterr()
    flags = {"quick": True, "dry_run": True, "noise": folder / "table.json", "units": 1}
    Command(study=Pareto, config=ParetoConfig).of(workspace=quick_workspace, **flags).run()
    said = capsys.readouterr()
    assert "C4 half the layers, fd: margin" in said.out
    assert "warning: --units 1: no verdict below 5" in said.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"samples": 79}, r"--samples 79: .* at least 80"),
        ({"units": 1}, "--units 1: .* at least 2"),
    ],
)
def test_too_little_is_refused(tmp_path: Path, flags: dict[str, int], said: str) -> None:
    with pytest.raises(UserError, match=said):
        NOISE.of(workspace=tmp_path, quick=True, dry_run=True, **flags).run()
