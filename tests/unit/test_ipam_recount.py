"""Counts small pools a second time, by listing every address, and compares with what the interval arithmetic says.

The recount knows only what whereabouts does for one new pod (0.6.3 and newer): walk from first to last, skip what is excluded, what the
pool lists, and what a reservation of another pod keeps. Worlds are drawn from a fixed seed; a failing one is printed whole.
"""

import json
import random
from collections import Counter
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

import pytest

from agent.model.peers import Network
from agent.model.records import Allocation, PodRecord, PoolRecord, ReservationRecord
from agent.rules.ipam import NadUse, PoolFacts, judge_pools
from agent.rules.ipam_pods import pod_uses
from agent.rules.ipam_seen import SeenClock
from agent.rules.nad import parse_nad

NAD = "harvester-system/storagenetwork-95bj4"
ODD_KEYS = ("x", "-1", str(2**63), "1.5", "")


class World:
    """One NAD, its pool, reservations and pods, as objects and as plain sets."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.network = self._network()
        self.base = int(self.network.network_address)
        self.start, self.end = (self._near() if self.dice.random() < 0.4 else None for _ in range(2))
        self.excludes = [self._exclude() for _ in range(self.dice.randrange(4))]
        self.overlapping = self.dice.random() > 0.2
        self.network_name = self.dice.choice([None, None, "shared"])
        self.pods = {f"longhorn-system/p{number}": self._pod() for number in range(self.dice.randrange(6))}
        keys = {str(self.dice.randrange(self.network.num_addresses + 3)) for _ in range(self.dice.randrange(12))}
        self.allocations = {key: self._podref() for key in (*keys, self.dice.choice(ODD_KEYS))}
        self.reservations = {self._near(): self._podref() for _ in range(self.dice.randrange(6))}

    def _network(self) -> IPv4Network | IPv6Network:
        length = self.dice.randrange(25, 33)
        return ip_network(f"192.168.7.{self.dice.randrange(256)}/{length}" if self.dice.random() < 0.7 else f"fd00::/{length + 96}", False)

    def _near(self) -> int:
        return self.base + self.dice.randrange(-6, self.network.num_addresses + 6) if self.base > 6 else self.base

    def text(self, number: int) -> str:
        return str(type(self.network.network_address)(number))

    def _exclude(self) -> str:
        length = self.dice.choice([self.network.prefixlen, *range(self.network.max_prefixlen - 3, self.network.max_prefixlen + 1)])
        address = self.text(self._near())
        return address if self.dice.random() < 0.3 else f"{address}/{length}"

    def _pod(self) -> tuple[str, list[str]]:
        granted = [self.text(self._near()) for _ in range(self.dice.choice([0, 1, 1, 2]))]
        return self.dice.choice(["Running", "Running", "Pending", "Failed"]), granted

    def _podref(self) -> str:
        return self.dice.choice([f"longhorn-system/p{self.dice.randrange(8)}"] * 6 + ["elsewhere/p1", "nobody"])

    # --- the recount

    def usable(self) -> set[int]:
        if self.network.prefixlen > self.network.max_prefixlen - 2:
            return set()
        first, last = self.base + 1, self.base + self.network.num_addresses - 2
        if self.start is not None and first <= self.start <= last:
            first = self.start
        if self.end is not None and first <= self.end <= last:
            last = self.end
        gone = [ip_network(exclude, strict=False) for exclude in self.excludes]
        return {n for n in range(first, last + 1) if not any(ip_address(self.text(n)) in one for one in gone)}

    def listed(self) -> dict[int, str]:
        """Keys that whereabouts can read, on addresses of the network."""
        numbers = {self.base + int(key): podref for key, podref in self.allocations.items() if key.isdigit() and int(key) < 2**63}
        return {number: podref for number, podref in numbers.items() if number < self.base + self.network.num_addresses}

    def fate(self, number: int, podref: str) -> str:
        if not podref.startswith("longhorn-system/"):
            return "undecided"
        if podref not in self.pods:
            return "orphaned"
        phase, granted = self.pods[podref]
        if not granted:
            return "undecided"
        if self.text(number) not in granted:
            return "stale"
        return "live" if phase == "Running" else "undecided"

    # --- the objects

    def facts(self) -> PoolFacts:
        ipam: dict[str, object] = {"type": "whereabouts", "range": str(self.network), "exclude": self.excludes}
        ipam |= {"enable_overlapping_ranges": self.overlapping}
        ipam |= {"network_name": self.network_name} if self.network_name else {}
        ipam |= {"range_start": self.text(self.start)} if self.start is not None else {}
        ipam |= {"range_end": self.text(self.end)} if self.end is not None else {}
        name = str(self.network).replace(":", "-").replace("/", "-")
        prefix = f"{self.network_name}-" if self.network_name else ""
        pool = PoolRecord(
            namespace="kube-system",
            name=prefix + name,
            range=str(self.network),
            allocations=tuple(
                Allocation(key=key, podref=podref, container_id="c", interface="lhnet1") for key, podref in self.allocations.items()
            ),
        )
        return PoolFacts(
            pools=(pool,),
            reservations=tuple(
                ReservationRecord(namespace="kube-system", name=prefix + self._reserved(number), podref=podref)
                for number, podref in self.reservations.items()
            ),
            nads=(NadUse(nad=parse_nad(NAD, json.dumps({"type": "bridge", "ipam": ipam})), network=Network.STORAGE),),
            pods=pod_uses(self._record(podref, *pod) for podref, pod in self.pods.items()),
        )

    def _reserved(self, number: int) -> str:
        text = self.text(number).replace(":", "-")
        return f"{text}0" if text.endswith("-") else text

    @staticmethod
    def _record(podref: str, phase: str, granted: list[str]) -> PodRecord:
        status = [{"name": "k8s-pod-network", "default": True, "ips": ["10.52.0.4"]}]
        status += [{"name": NAD, "interface": "lhnet1", "ips": granted}] if granted else []
        namespace, _, name = podref.partition("/")
        annotations = {"k8s.v1.cni.cncf.io/network-status": json.dumps(status)}
        return PodRecord(namespace=namespace, name=name, uid=name, node="harv41", phase=phase, annotations=annotations)


@pytest.mark.parametrize("start", range(0, 400, 50))
def test_what_is_counted_is_what_a_walk_through_the_range_finds(start: int) -> None:
    for seed in range(start, start + 50):
        world = World(seed)
        (state,) = judge_pools(world.facts(), clock=SeenClock(), now=1000.0).states
        usable, listed = world.usable(), world.listed()
        taken = usable & set(listed)
        kept = (usable & set(world.reservations)) - taken if world.overlapping else set()
        nad = state.nads[0]
        assert (nad.capacity, nad.taken, nad.reservations_blocking) == (len(usable), len(taken), len(kept)), vars(world)
        assert nad.free == len(usable - taken - kept), vars(world)
        assert Counter(entry.state.value for entry in state.entries) == Counter(world.fate(*one) for one in listed.items()), vars(world)
