"""No flag is added, lost or changed unseen: `data/flags.txt` holds those of every command.

A line a flag: command, flag, type and default (`-` where there is none). After a change that is
meant, write the list again and look at what git says of it:

    python tests/test_flags_of_commands.py
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints
from unittest import mock

import pytest
from tyro.constructors import PrimitiveConstructorSpec

from varant.flags import flags_of
from varant.values import show_number

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "data" / "flags.txt"
CONFIGS = {
    "varant.train": "TrainConfig",
    "varant.sample": "SampleConfig",
    "varant.fid_doctor": "DoctorConfig",
    "varant.train_base": "BaseTrainingConfig",
    "varant.train_features": "FeaturesConfig",
    "varant.train_tokenizer": "TrainTokenizerConfig",
    "studies.sensitivity": "SensitivityConfig",
    "studies.pareto": "ParetoConfig",
    "studies.switch": "SwitchConfig",
    "studies.schedule": "ScheduleConfig",
    "studies.search": "SearchConfig",
    "studies.ladder": "LadderConfig",
    "studies.noise": "NoiseConfig",
    "studies.regime": "RegimeConfig",
    "studies.efficiency": "EfficiencyConfig",
}
PARSED = ("reports", "studies.tracking")  # by argparse
PLAIN = {int: "INT", float: "FLOAT", str: "STR", Path: "PATH", bool: "BOOL"}
PLAIN |= {tuple[str, ...]: "STR..."}
HEAVY = {"torch", "pandas", "mlflow", "matplotlib", "seaborn", "scipy", "optuna", "distributed"}
LOADING = {"varant.train_features"}  # whose help may take seconds: it is seldom asked for


class Flag(NamedTuple):
    """A flag as a person sees it."""

    name: str
    kind: str
    default: str


def flags_in(config: Any) -> Iterator[Flag]:
    """The flags of a config of nested sections, from the fields of its dataclasses."""
    for name, hint, default in fields_of(config):
        yield flag_of(name, hint, default)


def fields_of(config: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, type and default of each field, those of sections too."""
    hints = get_type_hints(type(config), include_extras=True)
    for field in dataclasses.fields(config):
        default = getattr(config, field.name)
        if dataclasses.is_dataclass(default):
            yield from fields_of(default)
        else:
            yield field.name, hints[field.name], default


def flag_of(name: str, hint: Any, default: Any) -> Flag:
    optional = [part for part in get_args(hint) if part is not type(None)]
    if type(None) in get_args(hint):
        (hint,) = optional
    spec, kind = None, hint
    if hasattr(hint, "__metadata__"):
        kind, *notes = get_args(hint)
        name = next((note.name for note in notes if getattr(note, "name", None)), name)
        spec = next((note for note in notes if isinstance(note, PrimitiveConstructorSpec)), None)
    if spec is not None:
        kind, shown = spec.metavar, spec.str_from_instance
    elif get_origin(kind) is Literal:
        kind, shown = "{" + ",".join(get_args(kind)) + "}", lambda value: [value]
    else:
        number = kind is float
        kind, shown = PLAIN[kind], lambda value: [show_number(value) if number else str(value)]
    text = "-" if default is None else " ".join(shown(default))
    return Flag(f"--{name.replace('_', '-')}", kind, text)


def lines_of(command: str, config: Any) -> list[str]:
    return [f"{command} {flag.name} {flag.kind} {flag.default}" for flag in flags_in(config)]


def parsed_lines(command: str) -> list[str]:
    """Of a command without a config: the actions of its parser."""
    main = importlib.import_module(f"{command}.__main__").main
    taken = mock.patch.object(ArgumentParser, "parse_args", autospec=True, side_effect=SystemExit)
    with taken as call, contextlib.suppress(SystemExit):
        main([])
    lines = []
    for action in call.call_args.args[0]._actions[1:]:  # the first is --help
        name = (action.option_strings or [action.dest])[-1]
        kind = (action.metavar or PLAIN[action.type]) + "..." * (action.nargs == "+")
        lines.append(f"{command} {name} {kind} {'-' if action.default is None else action.default}")
    return lines


def config_of(command: str) -> Any:
    return getattr(importlib.import_module(command), CONFIGS[command])()


def found() -> list[str]:
    """The list as it should be."""
    lines = [line for command in CONFIGS for line in lines_of(command, config_of(command))]
    return lines + [line for command in PARSED for line in parsed_lines(command)]


def changes(listed: list[str], now: list[str]) -> list[str]:
    """What a person has to look at, a line each."""
    lost = [f"- {line}" for line in listed if line not in now]
    return lost + [f"+ {line}" for line in now if line not in listed]


def test_every_command_has_the_flags_that_are_listed() -> None:
    listed = LIST.read_text().splitlines()
    assert changes(listed, found()) == [], "meant? then write the list again: see this file's head"
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("command", CONFIGS)
def test_help_shows_each_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    config = config_of(command)
    with pytest.raises(SystemExit):
        flags_of(type(config), None, ["--help"])
    words = capsys.readouterr().out.replace(",", " ").split()
    assert [flag.name for flag in flags_in(config) if flag.name not in words] == []


def test_help_loads_only_what_it_needs() -> None:
    """The page of `studies.pareto`, and the other commands imported beside it."""
    program = (
        "import runpy, sys\n"
        f"import {', '.join(CONFIGS.keys() - LOADING - {'studies.pareto'})}\n"
        "sys.argv = ['studies.pareto', '--help']\n"
        "try:\n"
        "    runpy.run_module('studies.pareto', run_name='__main__', alter_sys=True)\n"
        "finally:\n"
        "    print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "--kv-budgets" in done.stdout
    loaded = set(done.stderr.split())
    assert {"varant", "studies", "tyro"} <= loaded
    assert not HEAVY & loaded


@dataclasses.dataclass(frozen=True)
class Before:
    depth: int = 8
    share: float = 2 / 3


@dataclasses.dataclass(frozen=True)
class Added(Before):
    planted: bool = False


@dataclasses.dataclass(frozen=True)
class Changed(Before):
    depth: float = 8.0


def test_a_flag_that_is_added_lost_or_changed_is_seen() -> None:
    before = lines_of("x", Before())
    assert before == ["x --depth INT 8", "x --share FLOAT 2/3"]
    assert changes(before, lines_of("x", Added())) == ["+ x --planted BOOL False"]
    assert changes(lines_of("x", Added()), before) == ["- x --planted BOOL False"]
    assert changes(before, lines_of("x", Changed())) == ["- x --depth INT 8", "+ x --depth FLOAT 8"]
    assert changes(before, lines_of("x", Before(share=0.5)))[1] == "+ x --share FLOAT 0.5"


if __name__ == "__main__":
    LIST.write_text("\n".join(found()) + "\n")
