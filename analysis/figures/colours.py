"""The colour of each way to train: one place, by typed columns, so that figures agree."""

from collections.abc import Sequence

from analysis.statistics.levels import Way
from analysis.study_file import CONTROL, EQUIDISTANT

# Okabe and Ito's colours; fixed shares take one hue from light to dark, since they are ordered.
KINDS = {CONTROL: "#555555", "progressive": "#d55e00", "reversed": "#009e73", "sandwich": "#cc79a7"}
FIXED = ("#74b3dd", "#4f97cb", "#2f7fbc", "#1a62a5", "#08427c", "#042451")
OTHERS = ("#e69f00", "#117733", "#882255", "#44aa99", "#999933", "#332288")


def colours_of(ways: Sequence[Way]) -> dict[str, str]:
    """A colour a way to train, by its name: that of its kind, fixed shares light to dark.

    What trains other subnets than the paper's, or is a second of its kind, takes one of the rest.
    """
    fixed = sorted((way for way in ways if way.of_paper("fixed")), key=lambda way: way.share or 0.0)
    found = {
        way.name: FIXED[round(i * (len(FIXED) - 1) / max(1, len(fixed) - 1))]
        for i, way in enumerate(fixed)
    }
    taken, others = set(), 0
    for way in ways:
        if way.name in found:
            continue
        if way.kind in KINDS and way.kind not in taken and way.selector in (None, EQUIDISTANT):
            found[way.name] = KINDS[way.kind]
            taken.add(way.kind)
        else:
            found[way.name] = OTHERS[others % len(OTHERS)]
            others += 1
    return found
