"""Which finding about a pod's interface comes first, and which ones stay unsaid beside it."""

import json

from test_board import Bench
from unitworld import DEFAULT, GATEWAY, NAD, facts, file, pod

from agent.checks.interfaces import judge
from agent.model.finding import Finding
from agent.model.records import NadRecord, SourceState
from agent.model.view import InspectedPod

OLD = "192.168.50.2"
"""An address of an earlier range."""


def said(*, address: str, kernel: str, exclude: tuple[str, ...] = (), routes=(DEFAULT, GATEWAY)) -> list[Finding]:
    bench = Bench()
    config = {
        "type": "bridge",
        "bridge": "storage-br",
        "ipam": {"type": "whereabouts", "range": "192.168.0.0/24", "exclude": list(exclude)},
    }
    namespace, _, name = NAD.partition("/")
    nads = bench.known("nads", NadRecord(namespace=namespace, name=name, config=json.dumps(config)))
    bench.facts = bench.facts.__class__(
        pods=bench.facts.pods, setting=bench.facts.setting, longhorn_settings=bench.facts.longhorn_settings, nads=nads
    )
    one = pod(address=address)
    seen = InspectedPod(pod=one, namespace=file(), facts=facts(addresses=(kernel,), routes=routes))
    assert nads.status.state is SourceState.LIVE
    return [claim.finding for claim in judge(bench.board.context(), [seen], blind=False).claims]


def test_a_pod_of_an_earlier_range_is_told_its_address_and_not_to_add_a_route():
    found = said(address=OLD, kernel=f"{OLD}/25")
    assert [(one.id, one.reason) for one in found] == [("address-outside-range", "outside")]


def test_an_excluded_address_still_needs_its_route():
    found = said(address="192.168.0.2", kernel="192.168.0.2/24", exclude=("192.168.0.2/32",))
    assert [one.id for one in found] == ["route-missing", "address-outside-range"]


def test_an_address_that_is_outside_and_not_even_there_is_told_as_both():
    found = said(address=OLD, kernel="192.168.0.9/24")
    assert [one.id for one in found] == ["address-mismatch", "address-outside-range"]
