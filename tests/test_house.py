"""The house: dependency files in step, README commands that CI runs, nothing private committed."""

import ast
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKE_VARIABLES = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "PYTHON", "VENV"}
FOLDERS = ("varant", "studies", "analysis", "reports")
MOST_PARAMETERS = 6
WITH_MORE = {
    "generate": "public: settings of the sampler, each with a default, as papers name them",
    "generate_reference_style": "takes what `generate` takes, so that either may draw",
    "materialise": "what is resolved, where, and four settings that few commands give",
}
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def requirements() -> dict[str, Requirement]:
    """Dependencies and the `test` extra, by canonical name."""
    return requirements_of("test")


def requirements_of(extra: str) -> dict[str, Requirement]:
    lines = PROJECT["dependencies"] + PROJECT["optional-dependencies"][extra]
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonicalize_name(name): pin for name, pin in (line.split("==") for line in lines)}


def conda() -> dict[str, Requirement]:
    content = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in content if isinstance(item, dict))
    lines = [item for item in content if isinstance(item, str)] + pip
    found = {}
    for line in lines:
        if not line.startswith("-e"):
            name = re.match(r"[A-Za-z0-9_.-]+", line)[0]
            requirement = Requirement(CONDA_NAMES.get(name, name) + line[len(name) :])
            found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("name", requirements() | requirements_of("hub"))
def test_every_dependency_has_a_pin_within_its_range(name):
    assert name in constraints(), f"{name} is not in constraints.txt"
    wanted = requirements() | requirements_of("hub")
    assert wanted[name].specifier.contains(constraints()[name])


def test_conda_environment_is_in_step_with_pyproject():
    wanted = {name: str(r.specifier) for name, r in requirements().items()}
    found = {name: str(r.specifier) for name, r in conda().items()}
    assert found.pop("python") == PROJECT["requires-python"]
    found.pop("pip")
    assert found == wanted


@pytest.mark.parametrize("extra", ["cluster", "digits", "schedule"])
def test_extras_are_part_of_the_test_extra(extra):
    extras = PROJECT["optional-dependencies"]
    assert set(extras[extra]) <= set(extras["test"])


def test_ci_runs_the_readme_s_two_commands():
    """Also without make: CONTRIBUTING has each line that the Makefile runs."""
    ci, readme = (ROOT / ".ci" / "run").read_text(), (ROOT / "README.md").read_text()
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    # Under `make test` this is a make within a make, which would say so and take over ARGS.
    alone = {name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES}
    for name in ("study", "test"):
        assert f"<!-- ci: {name} -->\n```bash\nmake {name}\n```" in readme
        assert f"make {name}" in ci
        made = subprocess.run(
            ["make", "--dry-run", "--always-make", name],
            cwd=ROOT,
            env=alone,
            capture_output=True,
            text=True,
            check=True,
        )
        for line in made.stdout.splitlines():
            assert line.startswith("touch") or line.strip() in contributing, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_that_exist(page):
    text = page.read_text()
    links = re.findall(r"\]\((?!http)([^)#]+)", text)
    named = re.findall(
        r"(?<![\w/])((?:varant|studies|analysis|reports|tests)/[\w/]*(?:\.\w+)?)", text
    )
    for path in [page.parent / link for link in links] + [ROOT / name for name in named]:
        assert path.exists(), f"{page.name} names {path}"


def test_package_data_exists():
    for package, patterns in {
        "varant/evaluation": ["weights/*.safetensors"],
        "reports/parts": ["*.typ"],
        "studies/grid": ["tables/*.json"],
    }.items():
        for pattern in patterns:
            assert list((ROOT / package).glob(pattern))


def test_feature_networks_stay_small():
    for path in (ROOT / "varant" / "evaluation" / "weights").iterdir():
        assert path.stat().st_size < 500_000


def test_nothing_private_is_committed():
    """No registry host and no path of a private machine; patterns are split so as not to match."""
    patterns = [
        "pypi" + r"\.org",
        "files.python" + "hosted",
        "npmjs" + r"\.",
        "/" + "work/",
        "/opt" + "/wheels",
    ]
    suffixes = {".py", ".md", ".toml", ".txt", ".yml", ".typ", ""}
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert files
    for name in files:
        path = ROOT / name
        if path.suffix in suffixes and path.is_file():
            text = path.read_text()
            for pattern in patterns:
                assert not re.search(pattern, text), f"{name} holds {pattern}"


def test_a_file_holds_one_thing():
    """In at most 400 lines, tests too."""
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for folder in (*FOLDERS, "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: size for name, size in sizes.items() if size > 400} == {}


def parameters(source: str) -> dict[str, int]:
    """Of each function by name, the most that one of that name takes; its object not counted."""
    found: dict[str, int] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            count = len([name for name in names if name not in ("self", "cls")])
            found[node.name] = max(count, found.get(node.name, 0))
    return found


def test_functions_take_few_parameters():
    """What belongs together is one value; `WITH_MORE` says why some take more all the same."""
    assert parameters("class A:\n def f(self, a, /, b, *c, d=1, **e): ...") == {"f": 3}
    many = {
        name
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for name, count in parameters(path.read_text()).items()
        if count > MOST_PARAMETERS
    }
    assert many == WITH_MORE.keys()
