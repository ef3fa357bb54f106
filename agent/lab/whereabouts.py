"""Keeps the lab's IPPools and reservations as whereabouts does on ADD and DEL, two objects in two writes and no transaction.

The kubelet stand-in is the only one that allocates, so the Lease is not played; a person or a fault may edit the objects at any time.
"""

import json
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from agent.lab.apiclient import ApiClient, ApiFailed
from agent.lab.ipam import Address, Ipam, IpamError, Wording, assign, read_ipam
from agent.lab.objects_storage import WHEREABOUTS_NAMESPACE

Json = dict[str, Any]

API = "whereabouts.cni.cncf.io/v1alpha1"
POOL = "IPPool"
RESERVATION = "OverlappingRangeIPReservation"


def ipam_of(config: str) -> Ipam:
    """Of a NAD's `spec.config`. Raises IpamError."""
    try:
        document = json.loads(config)
        ipam = document["ipam"]
    except (ValueError, KeyError, TypeError) as error:
        raise IpamError("IPAM config missing 'ipam' key") from error
    if not isinstance(ipam, dict):
        raise IpamError("IPAM config missing 'ipam' key")
    return read_ipam(ipam)


class Whereabouts:
    def __init__(self, client: Callable[[], ApiClient]) -> None:
        self._client = client

    async def add(self, ipam: Ipam, *, podref: str, interface: str, container_id: str, wording: Wording = Wording.CIDR) -> Address:
        """Finds, lists and reserves an address. Raises IpamError; what the first write did stays if the second fails."""
        client = self._client()
        pool = await self._pool(ipam)
        reserved = await self._reserved(ipam.network.version)
        allocations = pool["spec"].get("allocations") or {}
        address = assign(ipam, allocations=allocations, reserved=reserved, podref=podref, interface=interface, wording=wording)
        entry = {"id": container_id, "podref": podref, "ifname": interface}
        change = {"spec": {"allocations": {ipam.offset(address): entry}}}
        await client.patch(API, POOL, ipam.pool, change, namespace=WHEREABOUTS_NAMESPACE)
        if str(address) not in reserved:
            await client.apply(self._object(RESERVATION, _name(address), {"podref": podref, "ifname": interface}))
        return address

    async def delete(self, *, container_id: str, interface: str) -> None:
        """Frees what this sandbox holds, wherever it is listed. Nothing found is success."""
        client = self._client()
        for pool in await self._list(POOL):
            network = ip_address(pool["spec"]["range"].partition("/")[0])
            for key, entry in (pool["spec"].get("allocations") or {}).items():
                if entry.get("id") == container_id and entry.get("ifname", interface) == interface:
                    change = {"spec": {"allocations": {key: None}}}
                    await client.patch(API, POOL, pool["metadata"]["name"], change, namespace=WHEREABOUTS_NAMESPACE)
                    await self._release(network + int(key), podref=entry.get("podref"))

    async def _release(self, address: Address, *, podref: str | None) -> None:
        held = await self._client().get(API, RESERVATION, _name(address), namespace=WHEREABOUTS_NAMESPACE)
        if held is not None and (held.get("spec") or {}).get("podref") == podref:
            await self._client().delete(API, RESERVATION, _name(address), namespace=WHEREABOUTS_NAMESPACE)

    async def _pool(self, ipam: Ipam) -> Json:
        """The range's pool, made at its first use."""
        missing = f"the server could not find the requested resource (get ippools.{API.partition('/')[0]} {ipam.pool})"
        try:
            held = await self._client().get(API, POOL, ipam.pool, namespace=WHEREABOUTS_NAMESPACE)
            if held is None:
                held = await self._client().apply(self._object(POOL, ipam.pool, {"range": str(ipam.network), "allocations": {}}))
        except ApiFailed as error:
            if error.code == 404:
                raise IpamError(f"error at storage engine: k8s get error: {missing}") from error
            raise
        return held

    async def _reserved(self, version: int) -> dict[str, str]:
        try:
            found = await self._list(RESERVATION)
        except ApiFailed as error:
            if error.code == 404:
                missing = "the server could not find the requested resource"
                raise IpamError(f"error at storage engine: k8s get OverlappingRangeIPReservation error: {missing}") from error
            raise
        names = {one["metadata"]["name"]: str((one.get("spec") or {}).get("podref") or "") for one in found}
        return {name.replace("-", ":") if version == 6 else name: podref for name, podref in names.items()}

    async def _list(self, kind: str) -> list[Json]:
        return await self._client().list(API, kind, namespace=WHEREABOUTS_NAMESPACE)

    @staticmethod
    def _object(kind: str, name: str, spec: Json) -> Json:
        return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "namespace": WHEREABOUTS_NAMESPACE}, "spec": spec}


def _name(address: Address) -> str:
    return str(address).replace(":", "-")
