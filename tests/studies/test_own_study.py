"""The study of thirty lines in docs/own_study.md runs as it stands."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def study_text() -> str:
    page = (ROOT / "docs" / "own_study.md").read_text()
    return re.search(r"<!-- test: study -->\n```python\n(.*?)```", page, re.DOTALL)[1]


def test_the_study_of_the_page(quick_workspace, tmp_path):
    assert len(study_text().splitlines()) <= 40
    (tmp_path / "layers.py").write_text(study_text())
    done = subprocess.run(
        [sys.executable, tmp_path / "layers.py", "--quick", "--workspace", quick_workspace],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    folder = quick_workspace / "layers-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    selectors = ("equidistant", "nested", "first", "last")
    measured = frame[frame["family"] != "real"]
    assert set(zip(measured["plan"], measured["selector"], strict=True)) == {
        ("full", "equidistant"),
        *(("d2@3", name) for name in selectors),
    }
    assert set(frame["status"]) == {"finished"}
    facts = json.loads((folder / "study.json").read_text())
    assert facts["study"] == "layers"
    assert facts["question"] == "Which layers should a half-depth subnet keep?"
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (folder / "figures").is_dir()
