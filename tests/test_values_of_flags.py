"""Extreme values at every flag of every command: a config that says what was given, or one line.

The flags are those of `test_flags_of_commands.py`, so a new one is tried by itself. No value may
end in another exception, become another value without a word, or take long. `long/test_values.py`
tries many more, and what values mean together as far as a dry run looks.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from test_flags_of_commands import CONFIGS, config_of, fields_of, flags_in

from studies.study import Study
from varant.devices import require_memory
from varant.errors import UserError, one_line
from varant.flags import flags_of, plain

LONGEST_LINE = 1_200
STUDIES = [command for command in CONFIGS if command.startswith("studies.")]
NUMBERS = [
    *("0", "-0", "+1", "-1", "007", "1.0", "1e3", "1e15", "1e30", "1e400", "-1e400", "1e99999999"),
    *("1e-400", "1e-320", "-1e-99999999", "1e", "e5", ".", "1/0", "0/0", "1/3", "1/1e9", "2.3M"),
    *("0.0001k", "1e999M", "nan", "-nan", "sNaN", "inf", "-inf", "0x10", "1_000", "1 0", "1e+9"),
    *("9" * 30, "9" * 5_000, "-" + "9" * 5_000, "1." + "0" * 5_000, "0." + "0" * 400 + "1"),
    *("9" * 2_000 + "/7", "2147483647", "2147483648", "18446744073709551616", "999999999999999"),
    *("\u0661\u0662", "\u00b2", "1,1", "1,100000000", "0,1e99999999,0", "1,2,3,4,64", "0.1,0.10"),
    *(",", ",,1", ",".join(["1"] * 5_000), ",".join(map(str, range(1, 500))), "1,2,nan"),
]
TEXTS = [
    *("", " ", "\t", "\n", "a\nb", "\0", "x\0y", "\x1b[31m", "\udcff", "\u202e", "\u00e9", "-"),
    *("d99@99", "d" + "9" * 5_000 + "@1", "8,8,8", "[" * 2_000, "'\"", "$(reboot)", "%s%n", "{x}"),
    *("garbage", "tcp://", "tcp://a:99999", "cuda:99999999999999999999", "cuda:-1", "tpu", "cpu "),
]
PATHS = [
    *("/", ".", "..", "/dev/zero", "/dev/null", "/dev/stdin", "/proc/x.png", "/proc/self/mem"),
    *("/etc/passwd", "/etc/passwd/x", "a" * 300, "x/" * 3_000, "a" * 300 + ".json", "no/such"),
]
EXTREMES = NUMBERS + TEXTS + PATHS
VALUES = st.one_of(
    st.sampled_from(EXTREMES),
    st.integers().map(str),
    st.floats().map(str),
    st.fractions().map(str),
    st.tuples(st.floats(), st.integers(-(10**9), 10**9)).map(lambda pair: f"{pair[0]}e{pair[1]}"),
    st.lists(st.integers(-5, 70) | st.floats(), max_size=6).map(lambda some: str(some)[1:-1]),
    st.text(max_size=40),
)


def flags_with_values(command: str) -> list[str]:
    return [flag.name for flag in flags_in(config_of(command)) if flag.kind != "BOOL"]


def one_of_each_type() -> list[type]:
    """Commands of a single flag: one of each type that any command's flag has."""
    found = {
        str(hint): (name, hint, default)
        for command in CONFIGS
        for name, hint, default in fields_of(config_of(command))
        if hint is not bool
    }
    return [
        dataclasses.make_dataclass(flag[0], [flag], frozen=True, kw_only=True)
        for flag in found.values()
    ]


def given_or_refused(kind: type, flag: str, text: str) -> Any | None:
    """The config that says what was given; None where one line names the flag."""
    try:
        config = flags_of(kind, None, [f"{flag}={text}"])
    except UserError as error:
        assert is_one_line(error) and flag in str(error), str(error)
        return None
    value = plain(config)[flag.removeprefix("--").replace("-", "_")]
    assert says(value, text), f"{flag} {text!r} became {value!r}"
    return config


def is_one_line(error: UserError) -> bool:
    """As it is printed."""
    return str(error).isprintable() and len(one_line(error)) < LONGEST_LINE


def says(value: Any, text: str) -> bool:
    """Whether a value is what a text means, as an exact reader has it."""
    if isinstance(value, list) and value != [text]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return len(parts) == len(value) and all(
            any(says(one, part) for one in value) for part in parts
        )
    if isinstance(value, list | str):
        return value in ([text], text.strip(), str(Path(text)))
    number, unit = re.fullmatch(r"(.*?)([kKmM]?)", text.strip(), re.DOTALL).groups()
    exact = Fraction(number) if "/" in number else Fraction(Decimal(number))
    exact *= {"": 1, "k": 10**3, "m": 10**6}[unit.lower()]
    return abs(Fraction(value) - exact) <= abs(exact) / 10**15


@pytest.mark.parametrize("kind", one_of_each_type(), ids=lambda kind: kind.__name__)
def test_every_extreme_at_a_flag_of_every_type(kind: type) -> None:
    (flag,) = (flag.name for flag in flags_in(kind()))
    for text in EXTREMES:
        given_or_refused(kind, flag, text)


def any_value_at_any_flag(command: str, data: st.DataObject) -> Any | None:
    flag = data.draw(st.sampled_from(flags_with_values(command)))
    return given_or_refused(type(config_of(command)), flag, data.draw(VALUES))


HOW = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("command", CONFIGS)
@settings(HOW, max_examples=10)
@given(data=st.data())
def test_any_value_at_any_flag(command: str, data: st.DataObject) -> None:
    any_value_at_any_flag(command, data)


def look(command: str, config: Any) -> None:
    """What a dry run looks at, before it times anything."""
    module = importlib.import_module(command)
    if command == "varant.train":
        resolved = config.resolve()
        device = config.run.device
        config.training_of(resolved).check_fits(resolved.geometry, device=device, ranks=1)
    elif command == "studies.efficiency":
        module.gauges_of(config, module.subject_of(config))
    elif command in STUDIES:
        own = (one for one in vars(module).values() if getattr(one, "__module__", "") == command)
        (study,) = (one for one in own if isinstance(one, type) and issubclass(one, Study))
        study(config).plan()


TOGETHER = [
    ("varant.train", "--budget 1e10", "--budget 10000M: 156,250,000 steps of --batch 64"),
    ("varant.train", "--base-budget 1e10", "--base-budget 10000M: 625,000,000 steps"),
    ("varant.train", "--base-budget 10", "--base-budget 10: below one batch"),
    ("varant.train", "--batch 1000000 --budget 1e9", "--batch 1000000: takes at least"),
    ("varant.train", "--from-scratch --depth 1000000", "--depth 1000000: must be a whole number"),
    ("varant.train", "--from-scratch --width 999999 --heads 3", "--depth 16 --width 999999: takes"),
    ("varant.train", "--from-scratch --width 64 --heads 63", "--width 64: must be a multiple"),
    (
        "studies.sensitivity",
        "--samples 1000000 --sample-batch 1000000",
        "--sample-batch 1000000: t",
    ),
    ("studies.sensitivity", "--units 10000", "--units 10000: a grid of more than"),
    ("studies.pareto", "--seeds 10000", "--units 5 --seeds 10000: a grid of more than"),
    ("studies.noise", "--draws 10000", "--units 5 --seeds 2 --draws 10000: a grid of more than"),
    ("studies.efficiency", "--plans full d99@99", "--plans d99@99: "),
]


def test_a_batch_that_cannot_be_held_says_how_many_images_can(monkeypatch):
    monkeypatch.setattr("varant.devices.memory_bytes", lambda device: 300)
    with pytest.raises(
        UserError, match=r"--batch 9: takes .*; give fewer; 4 images at once may fit$"
    ):
        require_memory(500, "cpu", "--batch 9", "give fewer", images=9, fixed=100)
    with pytest.raises(UserError, match=r"give fewer$"):
        require_memory(5000, "cpu", "--batch 9", "give fewer", images=9)
    require_memory(300, "cpu", "--batch 9", "give fewer", images=9)


@pytest.mark.parametrize(("command", "words", "said"), TOGETHER, ids=lambda text: str(text)[:40])
def test_what_values_mean_together(
    command: str, words: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("studies.grid.point.MOST_POINTS", 2_000)
    monkeypatch.setattr("varant.devices.memory_bytes", lambda device: 2**35)
    with pytest.raises(UserError, match=f"^{re.escape(said)}") as error:
        look(command, flags_of(type(config_of(command)), None, words.split()))
    assert is_one_line(error.value)
