"""The sentence before any judge has looked: pairs fail in between two rounds of the holder, and somebody may be reading already.

Never more than a sentence: no finding and no explanation comes of one look.
"""

from agent.model.blame import BlameState
from agent.model.gathered import Roundup
from agent.rules.blame_claims import claims
from agent.rules.blame_mesh import read_mesh
from agent.rules.blame_read import reports_of
from agent.rules.blame_sentence import sentence


def early_sentence(roundup: Roundup) -> str | None:
    """What the rows show at this moment; None where they show nothing wrong."""
    mesh = read_mesh(reports_of(roundup, {}))
    shown = [claim.finding for claim in claims(mesh, state=BlameState(), now=0.0)]
    said = sentence(mesh, standing=(), pending=shown, missing=())
    return None if said.startswith("storage network") else said
