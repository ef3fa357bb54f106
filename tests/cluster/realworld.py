"""The cluster as the tests use it: with the agent installed, three instance-managers, and somebody who asks all the time."""

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from realcluster.cluster import RealCluster
from realcluster.install import NAMESPACE
from realcluster.longhorn import Longhorn
from realcluster.needs import Programs
from realcluster.timeline import Timeline, wait_for
from realcluster.watch import Sighting, Watch

Json = dict[str, Any]

SETTLE_SECONDS = 120.0
QUIET_SECONDS = 3.0
"""A round of probes: what one side has seen mended, the other may still tell as broken."""


class World:
    def __init__(self, *, programs: Programs, image: Path) -> None:
        self.timeline = Timeline()
        self.say = self.timeline.say
        self.cluster = RealCluster(programs=programs, image=image, timeline=self.timeline)
        self.longhorn = Longhorn(self.cluster)
        self.names = tuple(spec.name for spec in self.cluster.plan.nodes)
        self.watch = Watch(self.cluster.ask, self.names, say=self.say)
        self._broken = False
        self.installed = ""
        """What `kubectl apply -k` printed."""

    def begin(self) -> None:
        self.say("making a cluster of three nodes")
        self.cluster.up()
        self.installed = self.cluster.install()
        self.say("kubectl apply -k is done, every agent is ready")
        self.longhorn.start_managers(*self.names)
        self.say("an instance-manager runs on each node, with an address by whereabouts")
        self.watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.watch.stop()
        self.cluster.down()
        self.say("gone: processes, namespaces, cgroups, files")

    # waiting

    def begin_chapter(self, title: str) -> float:
        """Waits until nothing is left of what was before. Returns the moment from which on findings count."""
        assert not self._broken, "the cluster did not become whole again before an earlier chapter"
        self._broken = True
        self.settle()
        self._broken = False
        self.say(f"--- {title}")
        return time.monotonic()

    def settle(self, *, apart_from: str = "") -> None:
        """Until all agents answer, all nodes are ok and nobody finds anything for a while, or nothing but `apart_from`."""

        def calm() -> bool:
            document = self.cluster.ask(self.names[0], "/api/v1/cluster") or {}
            nodes = document.get("nodes") or {}
            whole = [nodes.get(name, {}).get("verdict") for name in self.names] == ["ok"] * len(self.names)
            told = {finding["id"] for finding in document.get("findings") or ()}
            return whole and told <= {apart_from} and self.watch.quiet_seconds(apart_from=apart_from) > QUIET_SECONDS

        wait_for(calm, seconds=SETTLE_SECONDS, what="all nodes to be ok", seen=self.shown)

    def until_found(self, finding_id: str, *, seconds: float, **wanted: str) -> Sighting:
        """Until somebody tells such a finding; `wanted` are values of its sighting. Returns the sighting."""

        def matching() -> list[Sighting]:
            return [one for one in self.watch.active(finding_id) if all(getattr(one, key) == value for key, value in wanted.items())]

        what = f"{finding_id} {' '.join(wanted.values())}"
        took = wait_for(matching, seconds=seconds, what=what, seen=self.shown)
        found = matching() or self.watch.active(finding_id)
        self.say(f"told after {took:.0f} s: {finding_id}")
        return found[0]

    def until_cleared(self, *finding_ids: str, seconds: float) -> None:
        def cleared() -> bool:
            return not any(self.watch.active(finding_id) for finding_id in finding_ids)

        took = wait_for(cleared, seconds=seconds, what=f"{', '.join(finding_ids)} to clear", seen=self.shown)
        self.say(f"cleared after {took:.0f} s: {', '.join(finding_ids)}")

    def until_answers(self, count: int) -> None:
        """So many more answers of the agents: enough for them to have told what there is to tell."""
        wanted = self.watch.answers + count
        wait_for(lambda: self.watch.answers >= wanted, seconds=60, what="more answers of the agents", seen=self.shown)

    def until(self, look: Callable[[], object], *, seconds: float, what: str) -> None:
        wait_for(look, seconds=seconds, what=what, seen=self.shown)

    # looking

    def shown(self) -> str:
        """For the one who reads a failure: what the agents say, and the pods."""
        texts = [self.cluster.fetch(name, "/cluster") or f"{name} does not answer" for name in self.names[:1]]
        return "\n".join([*texts, self.cluster.kubectl("get", "pods,nodes", "-A", "-o", "wide")])

    def holder(self) -> str:
        lease = self.cluster.get("coordination.k8s.io/v1", "Lease", "lhnet-agent", namespace=NAMESPACE) or {}
        return str((lease.get("spec") or {}).get("holderIdentity", ""))

    def agent_pod(self, node: str) -> Json:
        found = [pod for pod in self.agent_pods() if pod["spec"]["nodeName"] == node and "deletionTimestamp" not in pod["metadata"]]
        assert len(found) == 1, [pod["metadata"]["name"] for pod in found]
        return found[0]

    def agent_pods(self) -> list[Json]:
        return list(self.cluster.pods(NAMESPACE).values())

    def restarts(self, node: str) -> int:
        return int(self.agent_pod(node)["status"]["containerStatuses"][0]["restartCount"])
