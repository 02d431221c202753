"""Imports point down only, between the four folders and inside each of them; no circles.

The order is that of the design: of each folder, top first. A module may import what stands lower,
and what stands in its own place as long as no circle comes of it.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GROUND = "devices errors files flags manifest npz presets progress randomness signals values"
ORDER = {
    "studies": (
        "sensitivity pareto switch schedule search efficiency ladder noise regime",
        "rivals",
        "study supernets overheads rehearsal",
        "searching",
        "tracking",
        "grid",
        "running",
        "cells",
    ),
    "reports": (
        "__main__ pool compare trace ablation build",
        "sensitivity pareto switch schedule search ladder noise regime efficiency general",
        "parts",
    ),
    "analysis": (
        "claims",
        "figures",
        "maps searches",
        "numbers",
        "statistics",
        "search_file instrument_file efficiency_file",
        "frame metrics study_file",
        "errors",
    ),
    "varant": (
        "train sample fid_doctor train_features train_base train_tokenizer torchrun",
        "start",
        "training",
        "evaluation",
        "data",
        "store",
        "model",
        GROUND,
    ),
}
# torchvision's registry wheel imports only on a second try beside another build of torch, and
# clean-fid imports it: no thread may meet half of it, so only tests do.
UNUSED = {"torchvision", "cleanfid"}
FORBIDDEN = {
    "varant": UNUSED
    | {"analysis", "reports", "studies", "mlflow", "optuna", "pandas", "matplotlib"},
    "analysis": UNUSED | {"varant", "reports", "studies", "torch", "mlflow"},
    "reports": UNUSED | {"varant", "studies", "torch", "mlflow"},
    "studies": UNUSED | {"mlflow"},
}
ALLOWED = {("studies.tracking.mlflow_runs", "mlflow"), ("varant.training.curves", "matplotlib")}
# Of the standard library alone: any folder may know them.
SHARED = {"varant.errors", "varant.files", "varant.manifest", "varant.npz", "varant.signals"}
FACES = {"varant", "reports"}  # packages whose __init__ hands on the names of their modules


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {
    name_of(path): path.read_text() for folder in ORDER for path in (ROOT / folder).rglob("*.py")
}


def imported(source: str) -> set[tuple[str, str]]:
    """(module, name) of all that a source imports, wherever in it; the name of modules is ''."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {(node.module, alias.name) for alias in node.names}
    return found


def targets(source: str) -> set[str]:
    """Our own modules that a source imports."""
    named = (f"{m}.{n}" if f"{m}.{n}" in SOURCES else m for m, n in imported(source))
    return {module for module in named if module in SOURCES}


def place(module: str) -> int | None:
    """The place of a module in its folder's order; None for the face of a folder."""
    folder, *rest = module.split(".")
    if not rest:
        return None
    found = [i for i, names in enumerate(ORDER[folder]) if rest[0] in names.split()]
    assert len(found) == 1, f"{module} has no place in the order"
    return found[0]


def shared(module: str, name: str) -> bool:
    return module in SHARED or f"{module}.{name}" in SHARED


def arrows_up(module: str, source: str) -> set[str]:
    """What a module imports that it must not."""
    folder = module.split(".")[0]
    bad = {
        name
        for name in {m.split(".")[0] for m, n in imported(source) if not shared(m, n)}
        if name in FORBIDDEN[folder] and (module, name) not in ALLOWED
    }
    mine = place(module)
    for target in targets(source):
        if target.split(".")[0] == folder and mine is not None:
            theirs = place(target)
            if theirs is not None and theirs < mine:
                bad.add(target)
    return bad


@pytest.mark.parametrize("module", sorted(SOURCES))
def test_no_arrow_up(module):
    assert not arrows_up(module, SOURCES[module])


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules of one circle of a graph of imports, or none."""
    done: set[str] = set()

    def walk(module: str, path: list[str]) -> list[str]:
        if module in path:
            return path[path.index(module) :]
        if module in done:
            return []
        for target in sorted(graph[module]):
            if found := walk(target, [*path, module]):
                return found
        done.add(module)
        return []

    for module in sorted(graph):
        if found := walk(module, []):
            return found
    return []


def test_no_circle():
    graph = {module: targets(source) - {module} for module, source in SOURCES.items()}
    assert circle(graph) == []
    planted = graph | {"varant.errors": {"varant.train"}}
    assert {"varant.errors", "varant.train"} <= set(circle(planted))


def defined(source: str) -> set[str]:
    """Names that a module gives to the world by itself."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_names_are_imported_from_where_they_are_defined():
    """No module hands on another's names but the packages' faces."""
    known = {module: defined(source) for module, source in SOURCES.items()}
    borrowed = [
        f"{module}: {name} of {target}"
        for module, source in SOURCES.items()
        for target, name in imported(source)
        if target in SOURCES
        and target not in FACES
        and f"{target}.{name}" not in SOURCES
        and name not in known[target]
    ]
    assert borrowed == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("varant.train", "import mlflow.tracking"),
        ("varant.train", "from studies.cells.cell import run_cell"),
        ("analysis.frame", "def f():\n    import torch"),
        ("reports.build", "from varant import VAR"),
        ("studies.study", "import mlflow"),
        ("varant.model.cost", "from varant.store.checkpoint import load"),
        ("varant.errors", "def f():\n    from varant.model import plan"),
        ("analysis.statistics.levels", "from analysis.maps import scale_depth"),
        ("studies.cells.cell", "from studies.running.runner import run_cells"),
    ],
)
def test_a_planted_arrow_up_is_found(module, line):
    assert arrows_up(module, line)
