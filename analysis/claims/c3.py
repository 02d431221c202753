"""C3: the progressive schedule breaks the frontier of the fixed shares, at no loss.

Its subnet of half the layers must lie beyond the front of the fixed shares, and its full network be
no worse than that of the smallest fixed share.
"""

from analysis.claims.claim import Claim, LedgerRow
from analysis.claims.rules import FULL_MARGIN, Case, ruled, tested, untested
from analysis.statistics.fronts import fixed_gaps
from analysis.statistics.levels import FULL

CLAIM = Claim(
    id="C3",
    short="progressive breaks the trade",
    sentence="The progressive schedule breaks that frontier, without loss to the full network.",
    published="FID: full about 1.95, subnet about 2.05 (d16)",
    needs="needs the progressive schedule, two fixed shares and half the layers",
)


def judge(case: Case) -> LedgerRow:
    """A direction and a margin a metric."""
    levels, ends, half, way = case.levels, case.fixed_ends, case.half, case.levels.progressive
    if ends is None or half is None or way is None:
        return untested(CLAIM, case.setting)
    components, first = [], ends[0].name
    for metric in case.metrics:
        gaps = fixed_gaps(levels, metric, half, way)
        if not gaps.observed:
            continue
        count = len(gaps.observed.seeds)
        note = f"beyond the ends of the front in {gaps.clamped} of {count} seeds"
        label = f"{half.label}: beyond the front of fixed shares"
        components += tested(label, metric, gaps.observed, note=note if gaps.clamped else "")
        label, places = f"full: no worse than {first}", ((way.name, FULL), (first, FULL))
        components += case.compared(label, metric, *places, FULL_MARGIN)
    shares = ", ".join(fixed.name for fixed in levels.fixed)
    rests_on = f"{way.name} against {shares}: full and {half.label}"
    return ruled(CLAIM, case, components, tests=2, rests_on=rests_on)
