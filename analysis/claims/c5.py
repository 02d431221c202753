"""C5: memory falls. Arithmetic for VAR-d30, trusted as far as our sampler's measured cache equals
it."""

from analysis.claims.claim import Claim, Component, LedgerRow
from analysis.claims.rules import Case, untested
from analysis.statistics.fronts import KV
from analysis.statistics.intervals import Interval, Verdict
from analysis.statistics.levels import Levels

CLAIM = Claim(
    id="C5",
    short="memory saved",
    sentence="Memory falls by 40-65 % (half, quarter depth) and 80 % (d2).",
    published="KV 16,092 MB (d16) of 28,677 MB; 40-65 % and 80 % in the abstract",
    needs="the study wrote no costs of VAR-d30",
)
SETTING = "the paper's setting"
SAVED = {"d16@6": (0.40, 0.65), "d8@6": (0.40, 0.65), "d2@6": (0.80, 0.80)}
# The published percentages are rounded, to 5 for the ranges.
TOLERANCE = 0.015


def judge(case: Case) -> LedgerRow:
    """Whether the saved share of each plan is the published one."""
    cost = case.study.paper_cost
    if not cost.keys() >= {"full", *SAVED}:
        return untested(CLAIM, SETTING)
    components = []
    for plan, (least, most) in SAVED.items():
        saved = 1 - cost[plan].kv_mib_reference / cost["full"].kv_mib_reference
        inside = least - TOLERANCE <= saved <= most + TOLERANCE
        exact = Interval(estimate=saved, low=saved, high=saved)
        label = f"{plan}: KV saved, reference style"
        components.append(Component(label=label, interval=exact, outcome=1 if inside else -1))
    holds = all(component.outcome > 0 for component in components)
    return LedgerRow(
        claim=CLAIM,
        setting=SETTING,
        verdict=Verdict.REPRODUCED if holds else Verdict.CONTRADICTED,
        components=tuple(components),
        reason="arithmetic, no interval",
        rests_on=_measured_kv(case.levels),
    )


def _measured_kv(levels: Levels) -> str:
    """Whether the measured cache is the computed one, in every cell of this study."""
    models = levels.models.set_index(["schedule", "plan", "seed"])
    peak, analytic = (
        models.loc[models["metric"] == name, "value"] for name in (KV, "kv_bytes/analytic")
    )
    if peak.empty:
        return "the arithmetic alone"
    equal = int((peak == analytic.reindex(peak.index)).sum())
    return f"measured KV equals the arithmetic in {equal} of {len(peak)} cells here"
