"""The Lease with a clock that is turned by hand: who may take it when, and what an outage changes. The API is the lab's embedded one."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from kubeserver import Turned, until
from leaseworld import NAMESPACE, LabApi, Terms, lab_api, lease_object, watching

from agent.edge.kube import Conflict
from agent.edge.lease_record import DECODER
from agent.model.holder import LeaseState

TERMS = Terms(haste_seconds=0.0)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LabApi]:
    async with lab_api(tmp_path) as api:
        yield api


async def test_the_first_one_takes_a_lease_that_nobody_ever_held(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (first, second):
        assert (first.state, first.holder) == ("none", None)
        await first.lease.step()
        assert (first.state, first.holder) == ("holder", "harv41")
        await until(lambda: second.state == "other")
        await second.lease.step()
        assert (second.state, second.holder) == ("other", "harv41")
    held = api.held()
    assert held["holderIdentity"] == "harv41"
    assert held["leaseDurationSeconds"] == 15
    assert held["leaseTransitions"] == 0
    assert held["renewTime"].endswith("Z")
    assert len(held["renewTime"]) == len("2026-11-20T08:00:00.000000Z")


async def test_what_the_manifests_wrote_on_the_lease_stays(api: LabApi) -> None:
    async with watching(api, "harv41", clock=Turned(), terms=TERMS) as (one,):
        await one.lease.step()
    found = api.store.get(("coordination.k8s.io", "leases"), NAMESPACE, "lhnet-agent")
    assert found is not None
    assert found["metadata"]["labels"] == {"app.kubernetes.io/name": "lhnet-agent"}


async def test_it_is_renewed_every_five_seconds_and_not_taken_while_that_goes_on(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (holder, other):
        await holder.lease.step()
        for _ in range(8):
            before = api.held()["renewTime"]
            clock.now += 5.0
            await holder.lease.step()
            assert api.held()["renewTime"] != before
            await until(lambda: other.lease._standing.record.term.renew_time == api.held()["renewTime"])
            await other.lease.step()
            assert (holder.state, other.state) == ("holder", "other")
    assert api.held()["leaseTransitions"] == 0


async def test_a_holder_that_fell_silent_is_replaced_after_its_term(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (dead, other):
        await dead.lease.step()
        await until(lambda: other.state == "other")
        clock.now += 14.9
        await other.lease.step()
        assert other.state == "other"
        clock.now += 0.2
        assert other.state == "none", "nobody renewed it, nobody has taken it yet"
        await other.lease.step()
        assert (other.state, other.holder) == ("holder", "harv42")
        await until(lambda: dead.state == "other")
        assert dead.holder == "harv42"
    assert api.held()["leaseTransitions"] == 1


async def test_a_holder_stops_saying_so_before_anybody_else_may_begin(api: LabApi) -> None:
    """Its process was stopped for a while: the first thing it says afterwards must not be that it holds."""
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (holder,):
        await holder.lease.step()
        clock.now += 9.9
        assert holder.state == "holder"
        clock.now += 0.2
        assert (holder.state, holder.holder) == ("unconfirmed", "harv41")
        await holder.lease.step()
        assert holder.state == "holder", "it could renew"


async def test_labels_that_somebody_writes_do_not_keep_a_dead_holder(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (dead, other), api.admin() as admin:
        await dead.lease.step()
        await until(lambda: other.state == "other")
        for number in range(3):
            clock.now += 5.0
            patch = {"metadata": {"labels": {"touched": str(number)}}}
            written = await admin.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", patch, namespace=NAMESPACE)
            version = written["metadata"]["resourceVersion"]
            await until(lambda version=version: other.lease._standing.record.version == version)
            await other.lease.step()
        assert (other.state, other.holder) == ("holder", "harv42")


@pytest.mark.parametrize("wall_seconds", [-(10.0**12), 0.0, 1.0e9, 10.0**15, float("nan")])
async def test_wall_clocks_that_are_off_change_nothing(api: LabApi, wall_seconds: float) -> None:
    """Five minutes or fifty years: the holder's times are texts to everybody else. A clock that stands still renews all the same."""
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS, wall=lambda: wall_seconds) as (holder,):
        await holder.lease.step()
        async with watching(api, "harv42", clock=clock, terms=TERMS) as (other,):
            for _ in range(6):
                clock.now += 5.0
                before = api.held()["renewTime"]
                await holder.lease.step()
                assert api.held()["renewTime"] != before
                await until(lambda: other.lease._standing.record.term.renew_time == api.held()["renewTime"])
                await other.lease.step()
                assert (holder.state, other.state, other.holder) == ("holder", "other", "harv41")


async def test_after_a_restart_the_node_that_held_it_goes_on_at_once(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (before,):
        await before.lease.step()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (after,):
        assert after.state == "none"
        await after.lease.step()
        assert after.state == "holder"
    assert api.held()["leaseTransitions"] == 0


async def test_two_processes_of_one_name_are_not_both_the_holder(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (old,):
        await old.lease.step()
        async with watching(api, "harv41", clock=clock, terms=TERMS) as (new,):
            await new.lease.step()
            assert new.state == "holder"
            await until(lambda: old.state == "other")
            await old.lease.step()
            assert (new.state, old.state) == ("holder", "other")
            assert old.lease.view.detail == "another process of this name"


async def test_a_lease_that_an_operator_emptied_is_taken_anew(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (holder, other), api.admin() as admin:
        await holder.lease.step()
        await until(lambda: other.state == "other")
        await admin.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", {"spec": None}, namespace=NAMESPACE)
        await until(lambda: (holder.state, other.state) == ("none", "none"))
        await other.lease.step()
        assert other.state == "holder"
        await until(lambda: (holder.state, holder.holder) == ("other", "harv42"))


async def test_whoever_writes_over_a_version_that_he_did_not_see_is_refused(api: LabApi) -> None:
    async with watching(api, "harv41", clock=Turned(), terms=TERMS) as (one,):
        version = one.lease._standing.record.version
        await one.lease.step()
        body = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": "harv42"}}
        with pytest.raises(Conflict):
            await one.client.patch(f"{one.lease._path}/lhnet-agent", body, decoder=DECODER)


async def test_an_outage_of_the_api_leaves_the_holder_unconfirmed_and_gives_it_time_to_come_back(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (holder, other):
        await holder.lease.step()
        await until(lambda: other.state == "other")
        await api.stop()
        await until(lambda: {holder.lease.status().state, other.lease.status().state} == {"stale"})
        clock.now += 3600.0
        await holder.lease.step()
        await other.lease.step()
        assert (holder.state, other.state, other.holder) == ("unconfirmed", "other", "harv41")
        assert "cannot write the Lease" in (holder.lease.view.detail or "")
        await api.start()
        await until(lambda: {holder.lease.status().state, other.lease.status().state} == {"live"})
        await other.lease.step()
        assert other.state == "other", "it has not watched a term since it can watch again"
        clock.now += 5.0
        await holder.lease.step()
        assert holder.state == "holder"
    assert api.held()["leaseTransitions"] == 0


async def test_a_holder_that_comes_back_too_late_reads_the_new_name(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (cut_off,):
        await cut_off.lease.step()
    clock.now += 60.0
    assert cut_off.state == "unconfirmed"
    async with watching(api, "harv42", clock=clock, terms=TERMS) as (other,):
        clock.now += 15.1
        await other.lease.step()
        assert other.state == "holder"
        async with cut_off.client:
            await cut_off.lease.step()
        assert (cut_off.state, cut_off.holder) == ("other", "harv42")


async def test_an_unconfirmed_holder_believes_another_agents_own_word(api: LabApi) -> None:
    claims: set[str] = set()
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS, read_other=lambda: claims) as (holder,):
        await holder.lease.step()
        claims.add("harv42")
        await holder.lease.step()
        assert holder.state == "holder", "as long as it can renew it asks nobody"
        claims.clear()
        await api.stop()
        await until(lambda: holder.lease.status().state == "stale")
        clock.now += 20.0
        await holder.lease.step()
        assert holder.state == "unconfirmed"
        claims.update({"harv41", "harv42"})
        await holder.lease.step()
        assert (holder.state, holder.holder) == ("other", "harv42")
        clock.now += 3600.0
        await holder.lease.step()
        assert (holder.state, holder.holder) == ("other", "harv42")
        await api.start()
        await until(lambda: holder.lease.status().state == "live")
        clock.now += 15.1
        await holder.lease.step()
        assert (holder.state, holder.holder) == ("holder", "harv41"), "the Lease itself still named us"


async def test_a_reader_of_documents_that_fails_costs_nothing(api: LabApi, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> set[str]:
        raise OSError("no agents")

    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS, read_other=broken) as (holder,):
        await holder.lease.step()
        clock.now += 11.0
        await holder.lease.step()
        assert holder.state == "holder"
    assert "could not be read" in caplog.text


async def test_a_released_lease_is_free_at_once_and_not_taken_back(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", "harv42", clock=clock, terms=TERMS) as (holder, other):
        await holder.lease.step()
        await until(lambda: other.state == "other")
        assert await holder.lease.release()
        assert api.held()["holderIdentity"] == ""
        assert holder.state == "none"
        await until(lambda: other.state == "none")
        await holder.lease.step()
        assert api.held()["holderIdentity"] == ""
        await other.lease.step()
        assert (other.state, api.held()["leaseTransitions"]) == ("holder", 1)
        await until(lambda: holder.state == "other")


async def test_a_release_does_not_undo_what_somebody_else_wrote(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (holder,):
        await holder.lease.step()
    async with api.admin() as admin:
        patch = {"metadata": {"labels": {"a": "b"}}}
        await admin.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", patch, namespace=NAMESPACE)
        async with holder.client:
            assert await holder.lease.release(), "a new label is no new holder"
        assert api.held()["holderIdentity"] == ""
    async with watching(api, "harv43", clock=clock, terms=TERMS) as (late,):
        await late.lease.step()
        taken = {"spec": {"holderIdentity": "harv44", "renewTime": "2026-11-20T08:00:00.000000Z"}}
        async with api.admin() as admin:
            await admin.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", taken, namespace=NAMESPACE)
        assert await late.lease.release()
        assert api.held()["holderIdentity"] == "harv44"


async def test_a_lease_that_is_missing_is_made(tmp_path: Path) -> None:
    async with lab_api(tmp_path, seed=[]) as api, watching(api, "harv41", clock=Turned(), terms=TERMS) as (one,):
        assert (one.state, one.lease.view.detail) == ("none", f"there is no Lease {NAMESPACE}/lhnet-agent")
        await one.lease.step()
        assert one.state == "holder"
        assert api.held()["holderIdentity"] == "harv41"


async def test_a_lease_that_is_missing_and_may_not_be_made_is_said(tmp_path: Path) -> None:
    reader = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "reader"},
        "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "list", "watch"]}],
    }
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [{"kind": "User", "name": "reader", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    async with lab_api(tmp_path, seed=[reader, binding], users={"reader-token": ("reader", [])}) as api:
        clock = Turned()
        async with watching(api, "harv41", clock=clock, terms=TERMS, token="reader-token") as (one,):
            assert await one.lease.step() > 25.0
            assert one.state == "none"
            assert 'User "reader" cannot create' in (one.lease.view.detail or "")
            before = len(api.requests)
            await one.lease.step()
            assert len(api.requests) == before, "it does not ask again at once"
            async with api.admin() as admin:
                await admin.apply(lease_object())
            await until(lambda: one.lease._standing.record is not None)
            clock.now += 61.0
            await one.lease.step()
            assert "cannot patch" in (one.lease.view.detail or "")


async def test_the_holder_of_a_lease_that_is_deleted_makes_it_again(api: LabApi) -> None:
    clock = Turned()
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (holder,), api.admin() as admin:
        await holder.lease.step()
        await admin.delete("coordination.k8s.io/v1", "Lease", "lhnet-agent", namespace=NAMESPACE)
        clock.now += 6.0
        await holder.lease.step()
        assert holder.state == "holder"
        assert api.held()["holderIdentity"] == "harv41"


async def test_strange_contents_of_a_lease_are_no_accident(api: LabApi) -> None:
    clock = Turned()
    strange = {"spec": {"holderIdentity": "x\n" * 5000, "renewTime": "yesterday", "leaseTransitions": 2147483647}}
    async with api.admin() as admin:
        await admin.patch("coordination.k8s.io/v1", "Lease", "lhnet-agent", strange, namespace=NAMESPACE)
    async with watching(api, "harv41", clock=clock, terms=TERMS) as (one,):
        assert one.state == "other"
        assert len(one.holder or "") <= 253
        assert "\n" not in (one.holder or "")
        clock.now += 15.1
        await one.lease.step()
        assert one.lease.view.state is LeaseState.HOLDER
    assert api.held()["leaseTransitions"] <= 2147483647
