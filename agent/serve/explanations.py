"""`/api/v1/explanations?node=NAME`: from the holder, its cluster findings and what explains the findings of one node (or of all).

Read by agent.rules.roundup_read.read_explanations. An explanation names findings by their identity, since the node that raised them may
have changed their words since.
"""

from collections.abc import Iterable, Mapping

from agent.model.catalogue import CATALOGUE
from agent.model.finding import ActiveFinding
from agent.serve.documents import SCHEMA, Document, finding


def document(
    *,
    node: str,
    lease: str,
    findings: Iterable[ActiveFinding],
    explanations: Mapping[tuple[str, ...], str],
    now: float,
    age_seconds: float = 0.0,
    sentence: str | None = None,
    asked_for: str | None = None,
) -> Document:
    """`explanations` maps identities to `<id>:<culprit>`; `age_seconds` is how long ago this was judged, `asked_for` the query's node."""
    return {
        "schema": SCHEMA,
        "node": node,
        "lease": lease,
        "age_seconds": round(age_seconds, 1),
        "sentence": sentence,
        "findings": [finding(active, now=now) for active in findings],
        "explanations": [[*identity, why] for identity, why in explanations.items() if asked_for in (None, node_of(identity))],
    }


def node_of(identity: tuple[str, ...]) -> str | None:
    """The node whose finding this is; None for those of the cluster and its pools."""
    kind = CATALOGUE.get(identity[0]) if identity else None
    return identity[1] if kind is not None and len(identity) > 1 and kind.keys[:1] == ("node",) and not kind.holder else None
