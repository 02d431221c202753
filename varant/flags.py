"""The door of every command: flags become typed values here, and nowhere else.

A command's config is a frozen dataclass of sections, themselves frozen dataclasses: `--help` shows
them as groups, flag names stay flat. Types of fields say what a value must be (`Count`, `Positive`,
`Literal`, ...); a value that is not gets one line with flag, value and what would be right.

Every type is bounded, those of plain `int`, `float`, `str` and `Path` as well, so that a flag with
any of them is safe: no value overflows, none becomes another one, and no list or text is long.
What values mean together is bounded where it is known: `varant.devices.require_memory`.
"""

import contextlib
import dataclasses
import functools
import io
import itertools
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

from varant.errors import UserError
from varant.values import (
    MOST_OF_A_KIND,
    MOST_SEED,
    MOST_SIDE,
    MOST_TIMES,
    MOST_WHOLE,
    BadValue,
    count,
    file_of,
    folder_of,
    number_of,
    path_of,
    processes_of,
    shortened,
    show_count,
    show_number,
    text_of,
    whole,
)

C = TypeVar("C")
T = TypeVar("T")
Spec = PrimitiveConstructorSpec[Any]

MOST_ITEMS = 100  # of a list


def _choice(known: Sequence[str]) -> Callable[[str], str]:
    return _that(str, known.__contains__, f"use one of {', '.join(known)}")


def _that(
    parse: Callable[[str], T], good: Callable[[T], bool], expected: str
) -> Callable[[str], T]:
    """`parse`, which says `expected` of a value that is not `good`."""

    def parsed(text: str) -> T:
        value = parse(text)
        if not good(value):
            raise BadValue(text, expected)
        return value

    return parsed


_whole = whole(-MOST_WHOLE, MOST_WHOLE)
_natural, _positive = whole(0, MOST_OF_A_KIND), whole(1, MOST_OF_A_KIND)
_not_negative = _that(number_of, lambda value: value >= 0, "must be 0 or more")
_above_zero = _that(number_of, lambda value: value > 0, "must be a positive number")
_below_one = _that(number_of, lambda value: 0 <= value < 1, "must be from 0 to below 1")
_share = _that(number_of, lambda value: 0 <= value <= 1, "must be from 0 to 1")
_positive_share = _that(number_of, lambda value: 0 < value <= 1, "must be above 0, up to 1")


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_show, value))
    return show_number(value) if isinstance(value, float) else str(value)


def _spec(metavar: str, parse: Callable[[str], Any], **more: Callable[[Any], Any]) -> Spec:
    """A type of values that are no None, unless `more` says what is an instance, or how to show."""
    read: dict[str, Any] = {
        "instance_from_str": lambda texts: parse(texts[0]),
        "is_instance": lambda value: value is not None,
        "str_from_instance": lambda value: [_show(value)],
    }
    return PrimitiveConstructorSpec(nargs=1, metavar=metavar, **read | more)


def _set(
    metavar: str, parse: Callable[[str], Any], example: str, *, ascending: bool = False
) -> Spec:
    """A comma-separated list of at least one item, none twice as they are shown."""

    def read(text: str) -> tuple[Any, ...]:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        if not parts:
            raise BadValue(text, "give at least one value, separated by commas", item=repr(text))
        if len(parts) > MOST_ITEMS:
            raise BadValue(text, f"give at most {MOST_ITEMS} values")
        found: list[Any] = []
        for part in parts:
            try:
                value = parse(part)
            except BadValue as bad:
                hint = f"; give {example}" if bad.expected.startswith("not a") else ""
                raise BadValue(text, f"{bad.expected}{hint}", item=part) from None
            if _show(value) in map(_show, found):  # the names of what follows are made of it
                raise BadValue(text, f"{part} given twice")
            found.append(value)
        return tuple(sorted(found) if ascending else found)

    return _spec(metavar, read)


def _vector(
    metavar: str, parse: Callable[[str], T], good: Callable[[tuple[T, ...]], bool], expected: str
) -> Spec:
    """A comma-separated list whose items belong together: `expected` is said of all."""

    def read(text: str) -> tuple[T, ...]:
        try:
            values = tuple(parse(part.strip()) for part in text.split(","))
        except BadValue:
            raise BadValue(text, expected, item=text or repr(text)) from None
        if len(values) > MOST_ITEMS or not good(values):
            raise BadValue(text, expected)
        return values

    return _spec(metavar, read)


def choices(known: Sequence[str]) -> Spec:
    """The type of a comma-separated list of some of `known`."""
    return _set(",".join(known), _choice(known), known[0])


def _grow(numbers: tuple[float, ...]) -> bool:
    """Whether each is above the one before."""
    return all(a < b for a, b in itertools.pairwise(numbers))


Count = Annotated[int, _spec("COUNT", count, str_from_instance=lambda images: [show_count(images)])]
Positive = Annotated[int, _spec("INT", _positive)]
Natural = Annotated[int, _spec("INT", _natural)]
Seed = Annotated[int, _spec("INT", whole(0, MOST_SEED))]
Times = Annotated[int, _spec("INT", whole(1, MOST_TIMES))]
Processes = Annotated[int, _spec("INT", processes_of)]
OutFolder = Annotated[Path, _spec("PATH", folder_of)]
OutFile = Annotated[Path, _spec("PATH", file_of)]
AboveZero = Annotated[float, _spec("FLOAT", _above_zero)]
NotNegative = Annotated[float, _spec("FLOAT", _not_negative)]
Share = Annotated[float, _spec("SHARE", _share)]
PositiveShare = Annotated[float, _spec("SHARE", _positive_share)]
BelowOne = Annotated[float, _spec("SHARE", _below_one)]
Depths = Annotated[tuple[int, ...], _set("INT,...", _whole, "depths such as 2,4,6", ascending=True)]
Batches = Annotated[
    tuple[int, ...], _set("INT,...", _positive, "numbers such as 1,4,64", ascending=True)
]
Places = Annotated[
    tuple[int, ...], _set("INT,...", _natural, "numbers such as 0,2", ascending=True)
]
Shares = Annotated[
    tuple[float, ...], _set("SHARE,...", _positive_share, "shares such as 0.5 or 2/3")
]
Weights = Annotated[
    tuple[float, ...],
    _vector("FLOAT,...", _not_negative, bool, "give numbers, none negative, such as 1,1,1,0.5,0.5"),
]
Phases = Annotated[
    tuple[float, ...],
    _vector(
        "PART,PART,PART",
        number_of,
        lambda parts: len(parts) == 3 and min(parts) >= 0,
        "give three fractions, none negative, such as 5/30,15/30,10/30",
    ),
]
Sides = Annotated[
    tuple[int, ...],
    _vector(
        "INT,...",
        whole(1, MOST_SIDE),
        lambda sides: sides[0] == 1 and _grow(sides),
        f"give growing sides from 1 to at most {MOST_SIDE}, such as 1,2,3,4,6",
    ),
]
Counts = Annotated[
    tuple[int, ...],
    _vector("COUNT,...", count, _grow, "give growing numbers of images, such as 8k,32k,128k"),
]
Rates = Annotated[
    tuple[float, ...],
    _vector("FLOAT,...", _above_zero, _grow, "give growing positive rates, such as 1e-4,1e-3"),
]


def flags_of(kind: type[C], about: str | None, argv: Sequence[str] | None = None) -> C:
    """The config that a command line describes; its help page says `about`.

    `--quick` gives other defaults (the config's `quick_defaults`) and changes nothing that is
    given.

    Raises:
        UserError: a flag or value that is none, or a section's own objection.
        SystemExit: after `--help`.
    """
    argv = sys.argv[1:] if argv is None else argv
    config = _parsed(kind, kind(), about, argv)
    if plain(config).get("quick"):
        config = _parsed(kind, kind.quick_defaults(), about, argv)  # type: ignore[attr-defined]
    check(config)
    return config


def check(config: Any) -> None:
    """Look at every value as if it had been given, then have the sections look at themselves;
    `UserError` names flag, value and what would be right."""
    for flag, _, value, spec in _flags(config):
        if spec is not None and value is not None:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            if bad := _objection(spec, text):
                raise UserError(f"{flag} {bad.item}: {bad.expected}")
    _check_sections(config)


def _check_sections(config: Any) -> None:
    for section in filter(dataclasses.is_dataclass, vars(config).values()):
        _check_sections(section)
    if hasattr(config, "check"):
        config.check()


def plain(config: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Flag names to JSON-ready values: what the config says, flat, but for the names `without`."""
    found: dict[str, Any] = {}
    for _, name, value, _ in _flags(config):
        if name not in without:
            value = str(value) if isinstance(value, Path) else value
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def shown(values: Mapping[str, Any]) -> list[str]:
    """A line a value of `plain`, for `--dry-run`."""
    texts = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in values.items()}
    return [f"{name} = {text}" for name, text in texts.items()]


def _flags(config: Any) -> Iterator[tuple[str, str, Any, Spec | None]]:
    """Flag, name, value and type of each, those of sections too."""
    kind: type = type(config)
    for field, name, spec in _types(kind):
        value = getattr(config, field)
        if dataclasses.is_dataclass(value):
            yield from _flags(value)
        else:
            yield f"--{name.replace('_', '-')}", name, value, spec


@functools.cache
def _types(kind: type) -> tuple[tuple[str, str, Spec | None], ...]:
    """Field, name and type of each flag or section of a kind of config."""
    hints, found = get_type_hints(kind, include_extras=True), []
    for field in dataclasses.fields(kind):
        hint, name = hints[field.name], field.name
        if type(None) in get_args(hint):
            (hint,) = (part for part in get_args(hint) if part is not type(None))
        notes = getattr(hint, "__metadata__", ())
        name = next((note.name for note in notes if getattr(note, "name", None)), name)
        specs = (note for note in notes if isinstance(note, PrimitiveConstructorSpec))
        found.append((field.name, name, next(specs, None) or _plain_spec(hint)))
    return tuple(found)


def command_words(module: str) -> str:
    """The command line as a person would type it again."""
    return f"python -m {module} {shlex.join(sys.argv[1:])}".strip()


def _plain_spec(kind: Any) -> Spec | None:
    """How plain types and choices are read, with one line for what is wrong; None for others."""
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if kind is int:
        return _spec("INT", _whole, is_instance=lambda value: type(value) is int)
    if kind is float:
        return _spec("FLOAT", number_of, is_instance=lambda value: isinstance(value, int | float))
    if kind is str:
        return _spec("STR", text_of, is_instance=lambda value: isinstance(value, str))
    if kind is Path:
        return _spec("PATH", path_of, is_instance=lambda value: isinstance(value, Path))
    if get_origin(kind) is Literal and all(isinstance(name, str) for name in get_args(kind)):
        return _spec("{" + ",".join(get_args(kind)) + "}", _choice(get_args(kind)))
    return None


def _parsed(kind: type[C], default: C, about: str | None, argv: Sequence[str]) -> C:
    said, registry = io.StringIO(), ConstructorRegistry()
    registry.primitive_rule(lambda info: _plain_spec(info.type))
    flat = (tyro.conf.OmitArgPrefixes,)
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind, args=argv, default=default, description=about, config=flat, registry=registry
            )
    except BadValue as bad:
        flag = _flag_before(bad.text, argv, default)
        raise UserError(f"{flag} {bad.item}: {bad.expected}") from None
    except SystemExit as end:
        if end.code in (0, None):
            raise
        raise UserError(_one_line(said.getvalue())) from None


def _flag_before(text: str, argv: Sequence[str], config: Any) -> str:
    """The flag that was given this value, and that does not take it."""
    specs = {flag: spec for flag, _, _, spec in _flags(config)}
    for before, word in zip(["", *argv], argv, strict=False):
        flag, given, value = word.partition("=")
        flag, value = (flag, value) if given and flag.startswith("--") else (before, word)
        spec = specs.get(flag.replace("_", "-"))
        if value == text and flag.startswith("--") and (not spec or _objection(spec, text)):
            return flag
    return "a flag"


def _objection(spec: Spec, text: str) -> BadValue | None:
    """What a type says of a text that is none of its values."""
    try:
        spec.instance_from_str([text])
    except BadValue as bad:
        return bad
    return None


def _one_line(box: str) -> str:
    """What the parser said in a box of several lines, without title, frame, colour and advice."""
    plain_text = re.sub(r"\x1b\[[0-9;]*m", "", box)
    lines = [line.strip("│╭╮╰╯─ ") for line in plain_text.splitlines()[1:]]
    parts = itertools.groupby(lines, lambda line: line.strip("-") != "")  # rules between parts
    said = next(" ".join(part) for words, part in parts if words)
    return shortened(said.rstrip(".")) + "; see --help"
