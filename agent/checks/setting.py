"""The holder's look at the setting and what has drifted from it: Setting, NADs, CRDs, pods' grants, replicas' addresses, coverage."""

from collections.abc import Callable

from agent.checks.base import Context, GetContext, Outcome, Publish
from agent.config import Settings
from agent.edge.netlink import read_here
from agent.edge.setns import NamespaceError
from agent.model.net import NamespaceFacts
from agent.rules.ledger import Look
from agent.rules.setting import unconfigured_since
from agent.rules.setting_judge import judge_setting, look_setting
from agent.rules.setting_overlap import ConnectedRoute
from agent.rules.setting_texts import Places

INTERVAL_SECONDS = 5.0
"""A look costs a millisecond; what waits for an age (a grace, a stuck setting) should not wait much longer."""


class SettingCheck:
    """Contract §5: setting-*, nad-*, crd-missing, range-overlap, coverage-missing, monitoring-left-stopped, grant-missing,
    storage-ip-fallback, instance-manager-missing."""

    name = "setting"
    holder_only = True

    def __init__(self, *, server_wall_seconds: Callable[[], float | None]) -> None:
        self._server_wall_seconds = server_wall_seconds
        self._unconfigured: dict[str, float] = {}

    def timeout_seconds(self, settings: Settings) -> float:
        return 30.0

    def interval_seconds(self, settings: Settings) -> float:
        return INTERVAL_SECONDS

    def woken_by(self) -> frozenset[str]:
        return frozenset(
            {"setting", "longhorn_settings", "nads", "all_nads", "pods", "crds", "monitoring", "instance_managers", "nodes"}
            | {"cluster_network", "replicas", "engines"}
        )

    async def run(self, get_context: GetContext, publish: Publish) -> None:
        try:
            here = await read_here(wants=frozenset({"links", "routes"}))
        except NamespaceError:
            here = NamespaceFacts()
        context = get_context()
        self._unconfigured = unconfigured_since(self._unconfigured, context.facts.setting.items, now=context.now)
        publish(Outcome(look=self._look(context, here)))

    def _look(self, context: Context, here: NamespaceFacts) -> Look:
        namespaces = context.settings.namespaces
        told = judge_setting(
            facts=context.facts,
            holder=context.holder,
            reading=context.reading,
            pods=context.pods,
            nads=context.nads,
            thresholds=context.settings.thresholds,
            unconfigured_since=self._unconfigured,
            now=context.now,
            server_wall_seconds=self._server_wall_seconds(),
            connected=_connected(context.node, here),
            places=Places(longhorn=namespaces.longhorn, harvester=namespaces.harvester, whereabouts=namespaces.whereabouts),
        )
        return look_setting(told, facts=context.facts, holder=context.holder, reading=context.reading, nads=context.nads)


def _connected(node: str, here: NamespaceFacts) -> list[ConnectedRoute]:
    """This host's routes over its own interfaces, without gateway."""
    found = []
    for route in here.routes:
        device = here.link_at(route.link_index)
        if device is not None and route.via is None and route.kind == "unicast":
            found.append(ConnectedRoute(node=node, device=device.name, network=route.to))
    return found
