"""Imports point down only: studies -> reports -> analysis, and studies -> varant."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = {"varant", "analysis", "reports", "studies"}
FORBIDDEN = {
    "varant": {"analysis", "reports", "studies", "mlflow", "optuna", "pandas", "matplotlib"},
    "analysis": {"varant", "reports", "studies", "torch", "mlflow"},
    "reports": {"varant", "studies", "torch", "mlflow"},
    "studies": {"mlflow"},
}
ALLOWED = {("studies/records.py", "mlflow"), ("varant/curves.py", "matplotlib")}


def imported(source: str) -> set[str]:
    """Top-level names of all modules that a source imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


def arrows_up(package: str, file: str, source: str) -> set[str]:
    bad = imported(source) & FORBIDDEN[package]
    return {name for name in bad if (file, name) not in ALLOWED}


MODULES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_arrow_up(path):
    file = path.relative_to(ROOT).as_posix()
    assert not arrows_up(file.split("/")[0], file, path.read_text())


def test_every_package_is_walked():
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == OURS


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("varant", "import mlflow.tracking"),
        ("varant", "from studies.cell import run_cell"),
        ("analysis", "def f():\n    import torch"),
        ("reports", "from varant import VAR"),
        ("studies", "import mlflow"),
    ],
)
def test_a_planted_arrow_up_is_found(package, line):
    assert arrows_up(package, f"{package}/planted.py", line)
