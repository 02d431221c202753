"""The preset of the paper's ten scales, from nothing to a report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from study_commands import Command

from studies.sensitivity import Sensitivity, SensitivityConfig

pytestmark = pytest.mark.long


def test_the_paper_s_windows_and_switch_point_are_measured_on_features_of_their_own(
    tmp_path: Path,
) -> None:
    flags = {"quick": True, "preset": "ten", "depths": 1, "units": 1, "base_budget": 640}
    command = Command(study=Sensitivity, config=SensitivityConfig, flags=flags)
    paths = command.run(tmp_path, samples=40, nll_images=20)
    assert paths.pdf.read_bytes().startswith(b"%PDF")
    facts = json.loads((paths.pdf.parent / "study.json").read_text())
    assert facts["windows"] == {"early": [1, 2, 3], "middle": [4, 5, 6], "late": [7, 8, 9, 10]}
    frame = pd.read_parquet(paths.pdf.parent / "frame.parquet")
    assert set(frame["status"]) == {"finished"}
    assert {"d1@6", "early", "late"} <= {*frame["plan"], *frame["window"].dropna()}
    distances = {name.split("/")[1] for name in frame["metric"] if name.startswith("fd/")}
    assert {name.rpartition("-")[0] for name in distances} == {"shapes-40", "patches"}
    # Such a network draws noise, which real images must stand far below.
    fd = frame[frame["group"].isna() & frame["metric"].str.startswith("fd/shapes-40")]
    floor, full = (fd.loc[fd["family"] == family, "value"].item() for family in ("real", "full"))
    assert floor < 0.5 * full
