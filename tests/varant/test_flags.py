"""The door of commands: what each type of value takes, and the one line for what it does not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest

from varant.errors import UserError, exit_codes
from varant.flags import (
    AboveZero,
    Count,
    Depths,
    Natural,
    Phases,
    Places,
    Positive,
    PositiveShare,
    Share,
    Shares,
    Sides,
    Weights,
    check,
    choices,
    command_words,
    flags_of,
    plain,
)
from varant.values import count, show_count, show_number


@dataclass(frozen=True, kw_only=True)
class Values:
    """A flag of every type."""

    images: Count = 100_000
    positive: Positive = 1
    natural: Natural = 0
    whole: int = 7
    number: float = 0.5
    above_zero: AboveZero = 1.0
    share: Share = 2 / 3
    positive_share: PositiveShare = 1.0
    depths: Depths | None = None
    places: Places = (0,)
    shares: Shares = (0.5, 2 / 3)
    weights: Weights = (1.0, 0.5)
    phases: Phases = (5 / 30, 15 / 30, 10 / 30)
    sides: Sides = (1, 2)
    choice: Literal["first", "last"] = "first"
    some: Annotated[tuple[str, ...], choices(("first", "last", "nested"))] = ("first",)
    path: Path | None = None
    switch: bool = False


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Two flags that know each other."""

    low: int = 0
    """The smaller."""
    high: int = 9

    def check(self) -> None:
        if self.low > self.high:
            raise UserError(f"--low {self.low}: must not be above --high ({self.high})")


@dataclass(frozen=True, kw_only=True)
class Run:
    """Where it runs."""

    quick: bool = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sections, and a flag beside them."""

    values: Values = Values()
    bounds: Bounds = Bounds()
    run: Run = Run()
    seed: Natural = 0

    @classmethod
    def quick_defaults(cls) -> Config:
        return cls(values=Values(images=640, places=(1,)), bounds=Bounds(high=3), seed=5)


def parsed(*argv: str) -> Config:
    return flags_of(Config, "What it is about.", argv)


GOOD = [
    ("images", "100k", 100_000),
    ("images", "1.5M", 1_500_000),
    ("images", "2e5", 200_000),
    ("images", "0.5k", 500),
    ("images", "64", 64),
    ("positive", "3", 3),
    ("natural", "0", 0),
    ("whole", "-3", -3),
    ("number", "-1e-3", -1e-3),
    ("number", "1/4", 0.25),
    ("above-zero", "1e-6", 1e-6),
    ("share", "0", 0.0),
    ("share", "2/3", 2 / 3),
    ("positive-share", "1", 1.0),
    ("depths", "6,2,4", (2, 4, 6)),
    ("depths", "2, 4,", (2, 4)),
    ("places", "4,0", (0, 4)),
    ("shares", "2/3,0.1", (2 / 3, 0.1)),
    ("weights", "1,1,0", (1.0, 1.0, 0.0)),
    ("phases", "5/30, 15/30, 10/30", (5 / 30, 15 / 30, 10 / 30)),
    ("sides", "1,2,3,6", (1, 2, 3, 6)),
    ("choice", "last", "last"),
    ("some", "nested,first", ("nested", "first")),
    ("path", "some/where", Path("some/where")),
]


@pytest.mark.parametrize(("flag", "text", "value"), GOOD, ids=str)
def test_good_values(flag: str, text: str, value: object) -> None:
    for argv in ([f"--{flag}", text], [f"--{flag}={text}"]):
        found = getattr(parsed(*argv).values, flag.replace("-", "_"))
        assert found == value
        assert type(found) is type(value)


IMAGES = "give a number of images such as 100k, 1.5M or 2e5"
SIDES = "give growing sides from 1 to at most 64, such as 1,2,3,4,6"
PHASES = "give three fractions, none negative, such as 5/30,15/30,10/30"
WEIGHTS = "give numbers, none negative, such as 1,1,1,0.5,0.5"
NOTHING = "--{flag} '{text}': give at least one value, separated by commas"
BAD = [
    *(("images", text, IMAGES) for text in ("lots", "0", "-5", "0.5", "1.0001k", "1..5")),
    *(("images", text, IMAGES) for text in ("nan", "inf", "k", "1g", "1/2")),
    ("positive", "0", "must be at least 1"),
    ("positive", "2.5", "not a whole number"),
    ("natural", "-1", "must be at least 0"),
    ("natural", "1e3", "not a whole number"),
    ("whole", "x", "not a whole number"),
    ("number", "x", "not a number"),
    ("number", "1/0", "not a number"),
    ("number", "1e999", "must be a finite number"),
    ("number", "nan", "must be a finite number"),
    ("above-zero", "0", "must be a positive number"),
    ("share", "1.5", "must be from 0 to 1"),
    ("share", "-0.1", "must be from 0 to 1"),
    ("share", "half", "not a number"),
    ("positive-share", "0", "must be above 0, up to 1"),
    ("depths", "a", "not a whole number; give depths such as 2,4,6"),
    ("depths", "2,x", "--depths x: not a whole number; give depths such as 2,4,6"),
    ("depths", "2,4,2", "2 given twice"),
    ("depths", ",", NOTHING),
    ("places", "0,-1", "--places -1: must be at least 0"),
    ("places", "1.5", "not a whole number; give numbers such as 0,2"),
    ("shares", "0", "must be above 0, up to 1"),
    ("shares", "0.5,x", "--shares x: not a number; give shares such as 0.5 or 2/3"),
    ("shares", "0.5,1/2", "1/2 given twice"),
    *(("weights", text, WEIGHTS) for text in ("1,x", "x", "1,,2", "inf", "1,-1")),
    *(("phases", text, PHASES) for text in ("0.5,0.5", "a,b,c", "-0.5,1,0.5", "0.2,0.3,0.3,0.2")),
    *(("sides", text, SIDES) for text in ("2,1", "1,1", "1,3,2", "2,3", "1,x", "1.5")),
    ("choice", "middle", "use one of first, last"),
    ("some", "first,middle", "--some middle: use one of first, last, nested"),
    ("some", "last,last", "last given twice"),
]


@pytest.mark.parametrize(("flag", "text", "said"), BAD, ids=str)
def test_bad_values_are_one_line_and_exit_code_2(
    flag: str, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = said.format(flag=flag, text=text) if "--" in said else f"--{flag} {text}: {said}"
    for argv in ([f"--{flag}", text], [f"--{flag}={text}"]):
        with pytest.raises(SystemExit) as ended, exit_codes():
            parsed("--positive", "2", *argv)
        assert ended.value.code == 2
        assert capsys.readouterr() == ("", f"error: {line}\n")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--nonesuch", "3"], "Unrecognized options: --nonesuch, 3; see --help"),
        (["stray"], "Unrecognized options: stray; see --help"),
        (["--seed"], "Missing value for argument '--seed'. Expected 1 values; see --help"),
        (["--switch", "yes"], "Unrecognized options: yes; see --help"),
        (["--low", "10"], "--low 10: must not be above --high (9)"),
    ],
    ids=str,
)
def test_what_is_no_flag_or_no_pair(
    argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, exit_codes():
        parsed(*argv)
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"error: {line}\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_no_frame_and_no_colour_is_left_of_what_the_parser_says(encoding: str) -> None:
    screen, terminal = os.openpty()  # on which the parser frames and colours
    done = subprocess.run(
        [sys.executable, "-m", "varant.train", "--nonesuch", "3"],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONIOENCODING": encoding, "TERM": "xterm"},
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(screen)
    os.close(terminal)
    assert done.returncode == 2
    assert done.stderr == "error: Unrecognized options: --nonesuch, 3; see --help\n"


def test_switches_and_underscores() -> None:
    assert parsed("--switch").values.switch
    assert not parsed("--switch", "--no-switch").values.switch
    assert parsed("--above_zero", "3").values.above_zero == 3.0


def test_quick_changes_defaults_only() -> None:
    assert parsed() == Config()
    quick = parsed("--quick")
    assert quick.run.quick
    assert plain(quick) == plain(Config.quick_defaults()) | {"quick": True}
    given = {"images": "100k", "places": "0", "seed": "0", "high": "9"}
    words = [word for name, text in given.items() for word in (f"--{name}", text)]
    assert plain(parsed("--quick", *words)) == plain(Config()) | {"quick": True}, "as given"
    assert plain(parsed(*words, "--quick")) == plain(Config()) | {"quick": True}, "in any order"
    assert parsed("--quick", "--no-quick") == Config()
    with pytest.raises(UserError, match=r"--low 5: must not be above --high \(3\)"):
        parsed("--quick", "--low", "5")


def test_sections_of_configs_made_by_hand_look_at_themselves() -> None:
    check(Config())
    with pytest.raises(UserError, match="--low 10"):
        check(Config(bounds=Bounds(low=10)))


def test_help_shows_groups_types_defaults_and_texts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--help")
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "What it is about." in said
    for group in ("options", "values options", "bounds options", "run options"):
        assert re.search(rf"^\W*{group}\W*$", said, re.MULTILINE), group
    for about in ("A flag of every type.", "Two flags that know each other.", "Where it runs."):
        assert about in said
    words = " ".join(re.sub(r"[^\w\s.,:/(){}\[\]|-]", " ", said).split())
    assert "--low INT The smaller. (default: 0)" in words
    assert "--images COUNT (default: 100k)" in words
    assert "--shares SHARE,... (default: 0.5,2/3)" in words
    assert "--choice {first,last} (default: first)" in words
    assert "--values.images" not in words, "names are flat"


def test_plain_values_are_flat_and_json_ready() -> None:
    found = plain(Config(values=Values(path=Path("a/b"), depths=(2, 4))), without=("share", "run"))
    assert found["path"] == "a/b"
    assert found["depths"] == [2, 4]
    assert found["quick"] is False, "sections are no names"
    assert "share" not in found


@pytest.mark.parametrize(
    ("images", "text"),
    [(100_000, "100k"), (1_500_000, "1.5M"), (6400, "6.4k"), (64, "64"), (1_234_567, "1234567")],
)
def test_counts_are_shown_as_they_are_read(images: int, text: str) -> None:
    assert show_count(images) == text
    assert count(text) == images


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (2 / 3, "2/3"), (1.0, "1"), (1e-6, "1e-06"), (0.123456789, "0.123456789")],
)
def test_numbers_are_shown_as_people_write_them(value: float, text: str) -> None:
    assert show_number(value) == text


def test_the_command_as_a_person_would_type_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--out", "my runs", "--quick"])
    assert command_words("varant.train") == "python -m varant.train --out 'my runs' --quick"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command_words("varant.train") == "python -m varant.train"
    assert flags_of(Config, None) == Config(), "of the process's own command line"
