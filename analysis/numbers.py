"""Numbers as people read them: signs, intervals, p values, bytes, times."""

import math

from analysis.statistics.intervals import Interval

MINUS = "\u2212"
NOTHING = "\u2013"  # what a table shows where there is no number


def number(value: float, *, signed: bool = False, digits: int = 3) -> str:
    """`value` to `digits` significant digits, never in exponent form within 1e-4 .. 1e6."""
    if value is None or math.isnan(value):
        return NOTHING
    if value == 0:
        return "0"
    size = abs(value)
    if not 1e-4 <= size < 1e6:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        text = f"{mantissa} {power_of_ten(int(exponent))}"
    else:
        text = f"{value:,.{max(0, digits - 1 - math.floor(math.log10(size)))}f}"
    text = text.replace("-", MINUS)
    return f"+{text}" if signed and value > 0 else text


def estimate(value: float, low: float, high: float, *, signed: bool = True) -> str:
    """`+3.1 [2.8, 3.4]`, with as many decimals as the half-width of the interval supports, and up
    to two more where an end would round to zero, so that it shows on which side it lies."""
    if value is None or math.isnan(value):
        return NOTHING
    if math.isnan(low) or math.isnan(high):
        return f"{number(value, signed=signed)} (no interval)"
    decimals = decimals_for(low, high)
    if decimals is None:
        return f"{number(value, signed=signed)} [{number(low)}, {number(high)}]"
    finer = (d for d in range(decimals, decimals + 3) if _shown(low, d) * _shown(high, d))
    decimals = next(finer, decimals)
    ends = f"[{fixed(low, decimals)}, {fixed(high, decimals)}]"
    return f"{fixed(value, decimals, signed=signed)} {ends}"


def interval(found: Interval | None, *, signed: bool = True) -> str:
    """An estimate with its interval, or the sign for nothing."""
    if found is None:
        return NOTHING
    return estimate(*found.ends, signed=signed)


def decimals_for(low: float, high: float) -> int | None:
    """Decimals for an estimate with this interval; None where the interval says nothing of them.

    Two digits of a half-width that begins with 1 or 2, else one, so that rounding moves an end by
    less than a fifth of the half-width.
    """
    half_width = (high - low) / 2
    if not half_width > 0:
        return None
    decimals = max(0, -math.floor(math.log10(half_width / 3)))
    return decimals if decimals <= 7 else None


def _shown(value: float, decimals: int) -> float:
    return float(f"{value:.{decimals}f}")


def fixed(value: float, decimals: int, *, signed: bool = False) -> str:
    """`value` with that many decimals; what rounds to zero has no sign."""
    text = f"{value:,.{decimals}f}"
    if _shown(value, decimals) == 0:
        return f"{0:.{decimals}f}"
    return ("+" if signed and value > 0 else "") + text.replace("-", MINUS)


def p_value(p: float) -> str:
    """`p < 0.001`, `p = 0.012`, or the sign for nothing; what rounds to 0.05 has a digit more."""
    if math.isnan(p):
        return NOTHING
    if p < 0.001:
        return "p < 0.001"
    if 0.0495 <= p < 0.0505:
        return f"p = {p:.4f}"
    return f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def percent(share: float) -> str:
    if math.isnan(share):
        return NOTHING
    return f"{round(100 * share)} %".replace("-", MINUS)


def byte_unit(n_bytes: float) -> tuple[str, int]:
    """The unit that so many bytes are shown in, and its size."""
    units = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
    return next((found for found in units if abs(n_bytes) >= found[1]), ("bytes", 1))


def size(n_bytes: float) -> str:
    if math.isnan(n_bytes):
        return NOTHING
    unit, scale = byte_unit(n_bytes)
    return f"{n_bytes:.0f} bytes" if scale == 1 else f"{number(n_bytes / scale)} {unit}"


def seconds(value: float) -> str:
    """A duration: `48 s`, `4 min 12 s`, `2 h 5 min`."""
    whole = round(value)
    if whole < 60:
        return f"{value:.1f} s" if value < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


_SUPERSCRIPTS = str.maketrans(
    "-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
)


def power_of_ten(exponent: int) -> str:
    """`×10` with its exponent, for a column whose numbers are written times ten to its minus."""
    return f"\u00d710{str(exponent).translate(_SUPERSCRIPTS)}"
