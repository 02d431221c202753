"""Whether a run that came to its end did harm; docs/promises.md has the rule and its reasons."""

import math
from collections.abc import Mapping

# A plan's NLL may end so far above what it was before training, or above a uniform guess: 5 % of
# perplexity, ten paired standard errors over 100 images.
WORSE_NATS = 0.05


def worse_ending(
    before: Mapping[str, float], after: Mapping[str, float], vocab_size: int
) -> str | None:
    """Why a run ended worse than it began, or than a uniform guess; None for one that did not.

    Args:
        before, after: by plan that was trained, in nats a token, on the same images.
    """
    guess, both = math.log(vocab_size), before.keys() & after.keys()
    if not both or any(after[p] <= min(before[p], guess) + WORSE_NATS for p in both):
        return None
    than, remedy = "it began", "lower --lr or --clip"
    if all(after[p] <= before[p] + WORSE_NATS for p in both):
        than, remedy = f"a uniform guess ({guess:.3f})", "raise --budget or start from another"
    found = ", ".join(f"{p} {before[p]:.3f} -> {after[p]:.3f}" for p in before if p in both)
    return f"ended worse than {than}, and is ranked nowhere: {found} nats a token; {remedy}"
