"""Says when in a round each pair is asked: spread over the interval, each pair at the same place every round.

A fixed place keeps the time between two looks at one pair at exactly one interval, which the bounds for detection rest on; a hash keeps
the nodes from asking one peer all at once.
"""

from agent.model.peers import Pair
from agent.rules.select import score

_STEPS = 1 << 20


def offset_seconds(pair: Pair, *, interval_seconds: float, paced: bool = True) -> float:
    """Seconds after the round's start; 0 in the first round, which runs at once."""
    if not paced:
        return 0.0
    return score("pace", *pair.key) % _STEPS / _STEPS * interval_seconds
