"""What the search for a culprit costs the holder in a round: 256 nodes with 64 pairs each, healthy and with faults.

    python benchmarks/blame.py [--nodes 256] [--pairs 64]

Prints seconds, and how many times as long as merely counting the failing rows it takes. Judges nothing: the budget is 0.3 s a round.
"""

import argparse
import time
from collections.abc import Callable, Sequence

from agent.model.blame import BlameState, NodeReport, Row
from agent.rules.blame import blame

INTERVAL_SECONDS, MISSING_SECONDS = 10.0, 90.0
REPEATS = 5

Fails = Callable[[int, int], bool]


def reports(*, nodes: int, pairs: int, fails: Fails) -> tuple[NodeReport, ...]:
    names = [f"harv{number:04}" for number in range(nodes)]
    made = []
    for source in range(nodes):
        rows = []
        for step in range(1, min(pairs, nodes - 1) + 1):
            # half of the peers lie before, half after: most pairs are known both ways, as in the field
            peer = (source + (step + 1) // 2 * (1 if step % 2 else -1)) % nodes
            failing = fails(source, peer)
            rows.append(
                Row(
                    source_node=names[source],
                    source_pod=f"longhorn-system/im-{names[source]}",
                    peer_node=names[peer],
                    peer_pod=f"longhorn-system/im-{names[peer]}",
                    role="im",
                    tcp="no_route" if failing else "ok",
                    failing=failing,
                )
            )
        made.append(NodeReport(name=names[source], answered=True, rows=tuple(rows)))
    return tuple(made)


def seconds_of(work: Callable[[], object]) -> float:
    """Of the processor, the best of a few: the others were disturbed."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best


def count_failing(told: Sequence[NodeReport]) -> int:
    return sum(row.failing for report in told for row in report.rows)


def measure(name: str, told: Sequence[NodeReport]) -> None:
    def judge(state: BlameState, now: float) -> BlameState:
        return blame(told, state=state, now=now, interval_seconds=INTERVAL_SECONDS, agent_missing_seconds=MISSING_SECONDS).state

    state = judge(BlameState(), 0.0)
    second = seconds_of(lambda: judge(state, INTERVAL_SECONDS))
    simple = seconds_of(lambda: count_failing(told))
    print(f"{name:24} {second:7.3f} s   {second / simple:6.1f} times counting   {count_failing(told)} rows fail")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=64)
    options = parser.parse_args()
    half = options.nodes // 2
    worlds: dict[str, Fails] = {
        "healthy": lambda _source, _peer: False,
        "three nodes cut off": lambda source, peer: bool({source, peer} & {1, 70, 140}),
        "split in two": lambda source, peer: (source < half) != (peer < half),
        "everything one way": lambda source, peer: source < peer,
        "everything down": lambda _source, _peer: True,
    }
    for name, fails in worlds.items():
        measure(name, reports(nodes=options.nodes, pairs=options.pairs, fails=fails))


if __name__ == "__main__":
    main()
