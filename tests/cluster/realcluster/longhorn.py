"""Does by hand what Longhorn's controllers would do with the pods of the storage network, objects and pods alike.

No controller of Longhorn runs here; so nothing is recreated, and no state is written, unless a test says so.
"""

from typing import Any

from agent.lab.plan import LONGHORN_NAMESPACE, LabPod
from realcluster import objects, pods
from realcluster.cluster import RealCluster
from realcluster.timeline import wait_for

Json = dict[str, Any]

START_SECONDS = 90.0
"""A kubelet tries a sandbox again after ten seconds or more, and a test machine is slow."""
END_SECONDS = 60.0
API = "longhorn.io/v1beta2"


class Longhorn:
    def __init__(self, cluster: RealCluster) -> None:
        self._cluster = cluster

    def start_managers(self, *nodes: str) -> list[LabPod]:
        """Instance-managers, as after Longhorn was installed. Returns when they run and their objects say so."""
        made = [pods.instance_manager(node) for node in nodes]
        for pod in made:
            self._state(pod, "starting")
            self.create(pod)
        self.wait_until_running(*made)
        return [self._report_running(pod) for pod in made]

    def mark_stopped(self, node: str) -> None:
        """What Longhorn writes when a node is drained."""
        self._state(pods.instance_manager(node), "stopped")

    def create(self, pod: LabPod) -> None:
        """The pod alone; it may take long to run, or never."""
        owner = self._cluster.get(API, "InstanceManager", pod.name, namespace=LONGHORN_NAMESPACE)
        made = pods.pod_to_create(self._cluster.plan, pod, image=self._cluster.image, owner=owner)
        self._cluster.api(lambda api: api.apply(made))

    def delete(self, pod: LabPod, *, force: bool = False) -> None:
        """Returns when the object is gone: by its kubelet's word, or at once by `force`, whatever its containers do."""
        self._cluster.api(lambda api: api.delete("v1", "Pod", pod.name, namespace=pod.namespace, force=force))
        wait_for(lambda: self.pod(pod) is None, seconds=END_SECONDS, what=f"{pod.name} to be gone", seen=lambda: self._describe(pod))

    def wait_until_running(self, *made: LabPod) -> None:
        def running() -> bool:
            held = self._cluster.pods()
            return all(held.get(pod.name, {}).get("status", {}).get("phase") == "Running" for pod in made)

        names = ", ".join(pod.name for pod in made)
        wait_for(running, seconds=START_SECONDS, what=f"{names} to run", seen=lambda: "".join(map(self._describe, made)))

    def mark_failed(self, node: str) -> None:
        """What Longhorn writes when a node has come back without the instance-manager that ran on it."""
        self._state(pods.instance_manager(node), "error")

    def pod(self, pod: LabPod) -> Json | None:
        return self._cluster.get("v1", "Pod", pod.name, namespace=pod.namespace)

    def events(self, pod: LabPod, reason: str) -> list[Json]:
        """What kubelets said about a pod."""
        fields = f"involvedObject.name={pod.name},reason={reason}"
        return self._cluster.list("v1", "Event", namespace=pod.namespace, fields=fields)

    def allocations(self) -> dict[str, str]:
        """Pod name by address, as whereabouts has them in the pool."""
        stem = self._cluster.plan.range.rpartition(".")[0]
        pools = self._cluster.list("whereabouts.cni.cncf.io/v1alpha1", "IPPool", namespace="kube-system")
        entries = {key: entry for pool in pools for key, entry in (pool["spec"].get("allocations") or {}).items()}
        return {f"{stem}.{key}": entry["podref"].partition("/")[2] for key, entry in entries.items()}

    def _report_running(self, pod: LabPod) -> LabPod:
        held = self.pod(pod)
        assert held is not None
        found = pods.with_address(pod, held)
        self._state(found, "running")
        return found

    def _state(self, pod: LabPod, state: str) -> None:
        self._cluster.api(lambda api: api.apply(objects.instance_manager_object(pod, state=state)))

    def _describe(self, pod: LabPod) -> str:
        return self._cluster.kubectl("-n", pod.namespace, "describe", "pod", pod.name)
