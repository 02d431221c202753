"""The door of every command: flags become typed values here, and nowhere else.

A command's config is a frozen dataclass of sections, themselves frozen dataclasses: `--help` shows
them as groups, flag names stay flat. Types of fields say what a value must be (`Count`, `Positive`,
`Literal`, ...); a value that is not gets one line with flag, value and what would be right.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, get_args, get_origin

from tyro.conf import OmitArgPrefixes
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from varant.errors import UserError

C = TypeVar("C")
_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


class BadValue(Exception):
    """A text that is no value of a flag's type; no `ValueError`, which the parser would reword."""

    def __init__(self, text: str, expected: str, *, item: str | None = None) -> None:
        super().__init__(expected)
        self.text, self.expected, self.item = text, expected, text if item is None else item


def _spec(
    metavar: str, parse: Callable[[str], Any], show: Callable[[Any], str] = str
) -> PrimitiveConstructorSpec[Any]:
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda texts: parse(texts[0]),
        is_instance=lambda value: value is not None,
        str_from_instance=lambda value: [show(value)],
    )


def _whole(text: str, *, least: int | None = None) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise BadValue(text, "not a whole number")
    if least is not None and int(text) < least:
        raise BadValue(text, f"must be at least {least}")
    return int(text)


def _number(text: str) -> float:
    try:
        value = float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise BadValue(text, "not a number") from None
    if not math.isfinite(value):
        raise BadValue(text, "must be a finite number")
    return value


def _share(text: str, *, zero: bool) -> float:
    share = _number(text)
    if not 0 <= share <= 1 or (share == 0 and not zero):
        raise BadValue(text, "must be from 0 to 1" if zero else "must be above 0, up to 1")
    return share


def _above_zero(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise BadValue(text, "must be a positive number")
    return value


def count(text: str) -> int:
    """Images from `100k`, `1.5M`, `2e5` or `60000`."""
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]{1,3})?)([kKmM]?)", text.strip())
    try:
        images = float(match[1]) * _UNITS[match[2].lower()] if match else -1.0
    except ValueError:
        images = -1.0
    if not 1 <= images < math.inf or images != int(images):
        raise BadValue(text, "give a number of images such as 100k, 1.5M or 2e5")
    return int(images)


def show_count(images: int) -> str:
    """The shortest text that `count` reads back: `100k`, `1.5M`, `6400`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if images >= size and images % (size // 10) == 0:
            return f"{images / size:g}{unit}"
    return str(images)


def show_number(value: float) -> str:
    """A number, or a fraction where that is what it is: `0.1`, `2/3`, `1`."""
    near = Fraction(value).limit_denominator(100)
    plain = f"{value:.12g}"
    return str(near) if float(near) == value and len(plain) > 10 else plain


def _items(
    text: str, parse: Callable[[str], Any], *, example: str, ascending: bool
) -> tuple[Any, ...]:
    """Items of a comma-separated list, at least one, none twice."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts:
        raise BadValue(text, "give at least one value, separated by commas", item=repr(text))
    found: list[Any] = []
    for part in parts:
        try:
            value = parse(part)
        except BadValue as bad:
            hint = f"; give {example}" if bad.expected.startswith("not a") else ""
            raise BadValue(text, f"{bad.expected}{hint}", item=part) from None
        if value in found:
            raise BadValue(text, f"{part} given twice")
        found.append(value)
    return tuple(sorted(found) if ascending else found)


def _list(
    metavar: str,
    parse: Callable[[str], Any],
    *,
    example: str,
    ascending: bool = False,
    show: Callable[[Any], str] = str,
) -> PrimitiveConstructorSpec[Any]:
    return _spec(
        metavar,
        lambda text: _items(text, parse, example=example, ascending=ascending),
        lambda values: ",".join(map(show, values)),
    )


def _choice(text: str, known: Sequence[str]) -> str:
    if text not in known:
        raise BadValue(text, f"use one of {', '.join(known)}")
    return text


def choices(known: Sequence[str]) -> PrimitiveConstructorSpec[Any]:
    """The type of a comma-separated list of some of `known`."""
    return _list(",".join(known), lambda text: _choice(text, known), example=known[0])


def _phases(text: str) -> tuple[float, ...]:
    try:
        phases = tuple(_number(part.strip()) for part in text.split(","))
    except BadValue:
        phases = ()
    if len(phases) != 3:
        raise BadValue(text, "give three fractions such as 5/30,15/30,10/30")
    return phases


def _sides(text: str) -> tuple[int, ...]:
    try:
        sides = _items(text, _whole, example="", ascending=False)
    except BadValue:
        sides = ()
    if not sides or sides[0] != 1 or sides != tuple(sorted(sides)):
        raise BadValue(text, "give growing sides from 1, such as 1,2,3,4,6")
    return sides


def _show_all(values: Sequence[float]) -> str:
    return ",".join(map(show_number, values))


Count = Annotated[int, _spec("COUNT", count, show_count)]
Positive = Annotated[int, _spec("INT", lambda text: _whole(text, least=1))]
Natural = Annotated[int, _spec("INT", lambda text: _whole(text, least=0))]
AboveZero = Annotated[float, _spec("FLOAT", _above_zero, show_number)]
Share = Annotated[float, _spec("SHARE", lambda text: _share(text, zero=True), show_number)]
PositiveShare = Annotated[float, _spec("SHARE", lambda t: _share(t, zero=False), show_number)]
Depths = Annotated[
    tuple[int, ...],
    _list("INT,...", lambda t: _whole(t), example="depths such as 2,4,6", ascending=True),
]
Seeds = Annotated[
    tuple[int, ...], _list("INT,...", lambda t: _whole(t, least=0), example="seeds such as 0,1,2")
]
Places = Annotated[
    tuple[int, ...],
    _list("INT,...", lambda t: _whole(t, least=0), example="numbers such as 0,2", ascending=True),
]
Shares = Annotated[
    tuple[float, ...],
    _list(
        "SHARE,...",
        lambda t: _share(t, zero=False),
        example="shares such as 0.5 or 2/3",
        ascending=False,
        show=show_number,
    ),
]
Weights = Annotated[
    tuple[float, ...],
    _spec("FLOAT,...", lambda t: tuple(_number(part) for part in t.split(",")), _show_all),
]
Phases = Annotated[tuple[float, ...], _spec("PART,PART,PART", _phases, _show_all)]
Sides = Annotated[
    tuple[int, ...], _spec("INT,...", _sides, lambda sides: ",".join(map(str, sides)))
]


class Checked(Protocol):
    """A section that looks at what single values cannot tell."""

    def check(self) -> None:
        """Raise `UserError`, naming flag, value and what would be right."""


def flags_of(kind: type[C], about: str | None, argv: Sequence[str] | None = None) -> C:
    """The config that a command line describes; its help page says `about`.

    `--quick` gives other defaults (the config's `quick_defaults`) and changes nothing that is
    given.

    Raises:
        UserError: a flag or value that is none, or a section's own objection.
        SystemExit: after `--help`.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    config = _parsed(kind, kind(), about, argv)
    if getattr(config, "quick", False) or getattr(getattr(config, "run", None), "quick", False):
        config = _parsed(kind, kind.quick_defaults(), about, argv)  # type: ignore[attr-defined]
    check(config)
    return config


def check(config: Any) -> None:
    """Have every section of a config look at itself."""
    for part in sections(config):
        if hasattr(part, "check"):
            part.check()


def sections(config: Any) -> Iterator[Any]:
    """The config and the dataclasses in it, from the inside out."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from sections(value)
    yield config


def plain(config: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Flag names to JSON-ready values: what the config says, flat, but for the names `without`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            found |= plain(value, without=without)
        elif field.name not in without:
            if isinstance(value, Path):
                value = str(value)
            found[field.name] = list(value) if isinstance(value, tuple) else value
    return found


def command_words(module: str) -> str:
    """The command line as a person would type it again."""
    return f"python -m {module} {shlex.join(sys.argv[1:])}".strip()


def _rules() -> ConstructorRegistry:
    """How plain types are read, with one line for what is wrong."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is int:
            return replace(_spec("INT", _whole), is_instance=lambda v: type(v) is int)
        if info.type is float:
            number = _spec("FLOAT", _number, show_number)
            return replace(number, is_instance=lambda v: isinstance(v, int | float))
        known = get_args(info.type)
        if get_origin(info.type) is Literal and all(isinstance(k, str) for k in known):
            return _spec("{" + ",".join(known) + "}", lambda text: _choice(text, known))
        return None

    return registry


def _parsed(kind: type[C], default: C, about: str | None, argv: Sequence[str]) -> C:
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                args=argv,
                default=default,
                description=about,
                config=(OmitArgPrefixes,),
                registry=_rules(),
            )
    except BadValue as bad:
        raise UserError(f"{_flag_before(bad.text, argv)} {bad.item}: {bad.expected}") from None
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(_one_line(said.getvalue())) from None


def _flag_before(text: str, argv: Sequence[str]) -> str:
    """The flag that was given this value."""
    for before, word in zip(["", *argv], argv, strict=False):
        if word == text and before.startswith("--"):
            return before
        flag, given, value = word.partition("=")
        if flag.startswith("--") and given and value == text:
            return flag
    return "a flag"


def _one_line(box: str) -> str:
    """What the parser said in a box of several lines, without frame and advice."""
    lines = [line.strip("│╭╮╰╯─ ") for line in box.splitlines()[1:]]
    kept = lines[: lines.index("")] if "" in lines else lines
    return " ".join(kept).rstrip(".") + "; see --help"
