"""`/events`: storage pods that cannot start, by pod and cause, as the holder of the Lease sees them. Text is made from the JSON."""

from agent.model.view import NodeView
from agent.serve.documents import SCHEMA, Document, finding
from agent.serve.text import field, paragraph, wrap


def document(view: NodeView, *, now: float) -> Document:
    """`/api/v1/events` of the holder."""
    return {
        "schema": SCHEMA,
        "source_node": view.node,
        "failing": [dict(row.as_dict()) | {"node": row.node, "summary": row.explanation.summary} for row in view.failing],
        "findings": [finding(active, now=now) for active in view.cluster_findings if active.finding.id == "sandbox-failing"],
    }


def nobody(node: str, why: str) -> Document:
    """When no holder can be asked."""
    return {"schema": SCHEMA, "source_node": None, "asked_node": node, "why": why, "failing": []}


def text(one: Document) -> str:
    """`/events` for people."""
    if one.get("source_node") is None:
        return wrap(f"cannot tell: {one.get('why', 'nobody holds the Lease')}") + "\n"
    rows: list[Document] = one.get("failing", [])
    pods = {row["pod"] for row in rows}
    if not pods:
        return f"no storage pod fails to start, as {one['source_node']} sees it\n"
    lines = [f"{len(pods)} storage pod{' cannot' if len(pods) == 1 else 's cannot'} start, as {one['source_node']} sees it"]
    told = {found.get("subject", {}).get("pod"): found for found in one.get("findings", [])}
    for pod in dict.fromkeys(row["pod"] for row in rows):
        lines.append("")
        mine = [row for row in rows if row["pod"] == pod]
        if pod in told:
            lines.append(paragraph(told[pod]))
        else:
            lines.append(f"{pod} on {mine[0].get('node') or 'no node'}")
            lines += [field(row["cause"], f"{row.get('summary') or row['network'] or ''}; {row['attempts']} attempts") for row in mine]
    return "\n".join(lines) + "\n"
