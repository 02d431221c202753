"""Words that reports share: lists, counts, what intervals run over, names of plans."""

from collections.abc import Sequence

from analysis import numbers
from analysis.statistics.intervals import Interval
from analysis.statistics.noninferiority import HALF_MARGIN
from analysis.study_file import SupernetFile

YES_NO = {True: "yes", False: "no", None: numbers.NOTHING}
STAR = "*"  # what marks a significant estimate in a table
UNMARKED = "none where the metric may not decide"  # see `tables.votes`


def unbroken(text: str) -> str:
    """`text` with spaces that no line breaks at, for the cells of a table."""
    return text.replace(" ", "\u00a0")


def interval(found: Interval | None, *, signed: bool = True) -> str:
    """An estimate with its interval for the cell of a table, or the sign for nothing."""
    return unbroken(numbers.interval(found, signed=signed))


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def counted(n: int, noun: str) -> str:
    """`1 cell`, `7 cells`, `24,000 cells`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def over(units: int) -> str:
    """What an interval runs over."""
    if units > 1:
        return f"Student's t over {counted(units, 'unit')}"
    return (
        "the jackknife over the samples of one unit, which speaks of this network only, and of "
        "distances to these reference images"
    )


ONE_UNIT = (
    "One unit: intervals run over the samples of one network and say how well it was measured "
    "against these reference images, whose own chance is not in them, and not how much networks "
    "trained alike differ. No claim has a verdict below five units."
)


def unless(undecided: str, said: str) -> str:
    """What a report says in its box, unless something keeps it from a verdict."""
    return f"cannot resolve: {undecided} ({said})" if undecided else said


def excluded_loss(study: SupernetFile) -> str:
    """What must be excluded where a plan is to stand in for the full network."""
    return (
        f"{numbers.percent(HALF_MARGIN)} of what half the layers lose untrained after scale "
        f"{study.train_switch}"
    )


def analogue(published: str, dataset: str) -> str:
    """The limit of every study that tests what `published` names, "The claim was"."""
    return (
        f"{published} published for ImageNet and a network of two billion parameters. This is an "
        f"analogue on {dataset}: it can agree or disagree, and settles nothing there."
    )
