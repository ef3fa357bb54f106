"""The parts of the embedded API by themselves: patches, the journal, seeds, certificates."""

import ssl
import stat
from pathlib import Path

import pytest
from apiworld import config_map
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from agent.lab import api, api_journal, api_patch
from agent.lab.api_errors import ApiError
from agent.lab.api_journal import Journal
from agent.lab.api_rbac import read_tokens
from agent.lab.api_request import parse_path
from agent.lab.api_resources import from_crd
from agent.lab.api_store import Store
from agent.lab.api_views import wanted_view
from agent.lab.objects import definitions
from agent.lab.pki import make_pki, write_tokens

MAPS = ("", "configmaps")


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        # RFC 7386, appendix A.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patches_of_the_rfc(target: dict, patch: dict, result: dict):
    before = repr(target)
    assert api_patch.apply(target, patch, media_type=api_patch.MERGE) == result
    assert repr(target) == before


@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        # RFC 6902, appendix A.
        ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"foo": "bar", "baz": "qux"}),
        ({"foo": ["a", "c"]}, [{"op": "add", "path": "/foo/1", "value": "b"}], {"foo": ["a", "b", "c"]}),
        ({"foo": ["a"]}, [{"op": "add", "path": "/foo/-", "value": ["b"]}], {"foo": ["a", ["b"]]}),
        ({"foo": ["a", "b", "c"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["a", "c"]}),
        ({"a": {"b": 1}, "c": {}}, [{"op": "move", "from": "/a/b", "path": "/c/d"}], {"a": {}, "c": {"d": 1}}),
        ({"a": {"b": 1}}, [{"op": "copy", "from": "/a", "path": "/c"}], {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": ["x", "y", "z"]}, [{"op": "move", "from": "/a/0", "path": "/a/2"}], {"a": ["y", "z", "x"]}),
        (
            {"/": 9, "~1": 10},
            [{"op": "test", "path": "/~01", "value": 10}, {"op": "replace", "path": "/~1", "value": 8}],
            {"/": 8, "~1": 10},
        ),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
    ],
)
def test_json_patches_of_the_rfc(target: dict, operations: list, result: dict):
    before = repr(target)
    assert api_patch.apply(target, operations, media_type=api_patch.JSON_PATCH) == result
    assert repr(target) == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/gone", "value": 1},
        {"op": "add", "path": "/gone/deeper", "value": 1},
        {"op": "add", "path": "/list/3", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "add", "path": "list", "value": 1},
        {"op": "add", "path": "/text/x", "value": 1},
        {"op": "add", "path": "/a"},
        {"op": "fly", "path": "/list"},
        {"op": "replace", "path": "", "value": 1},
        {"op": ["add"], "path": "/a", "value": 1},
        {"path": "/list"},
        "add",
        None,
    ],
)
def test_json_patches_that_do_not_fit_are_refused(operation: object):
    with pytest.raises(ApiError) as refused:
        api_patch.apply({"list": [1], "text": "t"}, [operation], media_type=api_patch.JSON_PATCH)
    assert refused.value.code == 422


def test_a_server_that_comes_back_has_its_objects_and_goes_on_counting(tmp_path: Path):
    path = tmp_path / "journal"
    store = api.new_store(definitions())
    journal = Journal(path)
    journal.begin(store)
    api.add(store, config_map("kept"))
    api.add(store, config_map("gone"))
    resource = store.registry.find("", "v1", "configmaps")
    store.remove(resource, ("default", "gone"))
    version = store.version
    path.write_bytes(path.read_bytes() + b'{"version": 9, "torn')
    again = Store()
    assert Journal(path).load(again)
    journal.close()
    assert again.version == version
    assert [obj["metadata"]["name"] for obj in again.select(MAPS)] == ["kept"]
    assert again.get(MAPS, "default", "kept") == store.get(MAPS, "default", "kept")
    assert again.registry.find("longhorn.io", "v1beta2", "settings") is not None
    again.subscribe(MAPS, since=version)
    with pytest.raises(ApiError, match="too old resource version"):
        again.subscribe(MAPS, since=version - 1)


def test_an_empty_or_missing_journal_is_no_journal(tmp_path: Path):
    assert not Journal(tmp_path / "none").load(Store())
    (tmp_path / "empty").write_bytes(b"")
    assert not Journal(tmp_path / "empty").load(Store())


def test_a_journal_full_of_dead_entries_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api_journal, "MAX_BYTES", 20_000)
    store = api.new_store()
    journal = Journal(tmp_path / "journal")
    journal.begin(store)
    for number in range(200):
        api.add(store, config_map("one", labels={"round": str(number)}))
    journal.close()
    assert (tmp_path / "journal").stat().st_size < 25_000
    again = Store()
    Journal(tmp_path / "journal").load(again)
    assert again.get(MAPS, "default", "one")["metadata"]["labels"] == {"round": "199"}
    assert again.version == store.version


def test_a_seed_keeps_what_it_brings_and_definitions_may_stand_last():
    custom = {"apiVersion": "longhorn.io/v1beta2", "kind": "Setting", "metadata": {"name": "s", "namespace": "default"}, "value": "v"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "default", "uid": "u"}, "status": {"phase": "Running"}}
    store = api.new_store([custom, pod, *definitions()])
    assert store.get(("longhorn.io", "settings"), "default", "s")["value"] == "v"
    held = store.get(("", "pods"), "default", "p")
    assert (held["metadata"]["uid"], held["status"]) == ("u", {"phase": "Running"})


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        ({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "a"}}, "no such resource"),
        (config_map("a", namespace="nowhere"), 'namespaces "nowhere" not found'),
        (config_map("A_A"), "is invalid"),
    ],
)
def test_a_seed_that_the_api_would_refuse_is_an_error_that_names_the_object(obj: dict, message: str):
    with pytest.raises(ValueError, match=message) as error:
        api.new_store([obj])
    assert str(error.value).startswith(f"{obj['kind']} ")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/pods", ("", "pods", "", "", "")),
        ("/api/v1/namespaces/a", ("", "namespaces", "", "a", "")),
        ("/api/v1/namespaces/a/status", ("", "namespaces", "", "a", "status")),
        ("/api/v1/namespaces/a/pods/p/status", ("", "pods", "a", "p", "status")),
        ("/apis/longhorn.io/v1beta2/namespaces/l/settings", ("longhorn.io", "settings", "l", "", "")),
        ("/apis/harvesterhci.io/v1beta1/settings/storage-network", ("harvesterhci.io", "settings", "", "storage-network", "")),
    ],
)
def test_paths_are_read_as_kubernetes_reads_them(path: str, expected: tuple):
    parsed = parse_path(path)
    assert (parsed.group, parsed.plural, parsed.namespace, parsed.name, parsed.subresource) == expected


@pytest.mark.parametrize("path", ["/", "/api", "/api/v1", "/apis/a/b", "/version", "/api/v1/namespaces/a/pods/p/status/x"])
def test_paths_about_no_resource(path: str):
    assert parse_path(path) is None


@pytest.mark.parametrize(
    "crd",
    [
        {},
        {"spec": None},
        {"spec": {"names": [], "versions": []}},
        {"spec": {"names": {}, "versions": [1, {"name": "v1"}]}},
        {"spec": {"versions": {}}},
    ],
)
def test_a_definition_that_is_not_understood_defines_nothing(crd: dict):
    assert list(from_crd(crd)) == []


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("", ""),
        ("*/*", ""),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Table"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json", ""),
        ("application/vnd.kubernetes.protobuf, application/json", ""),
    ],
)
def test_accept_headers(accept: str, kind: str):
    assert wanted_view(accept, include="").kind == kind


def test_keys_are_private_and_the_certificate_names_the_server(tmp_path: Path):
    pki = make_pki(tmp_path, names=["10.53.0.1", "127.0.0.1", "kubernetes.default.svc"])
    for key in (pki.key, pki.service_account_key):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    certificate = x509.load_pem_x509_certificate(pki.cert.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.53.0.1", "127.0.0.1"]
    assert names.get_values_for_type(x509.DNSName) == ["kubernetes.default.svc"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(pki.ca_cert.read_bytes()))
    ssl.create_default_context(cafile=str(pki.ca_cert))
    private = serialization.load_pem_private_key(pki.service_account_key.read_bytes(), None)
    public = serialization.load_pem_public_key(pki.service_account_public.read_bytes())
    assert private.public_key() == public


def test_a_token_file_is_read_as_it_was_written(tmp_path: Path):
    path = tmp_path / "tokens.csv"
    agent = "system:serviceaccount:lhnet-system:lhnet-agent"
    write_tokens(path, {"a": ("admin", ["system:masters", "ops"]), "b": (agent, [])})
    users = read_tokens(path)
    assert users["a"].is_master
    assert "ops" in users["a"].groups
    assert {"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:lhnet-system"} == users["b"].groups
    path.write_text("token,name\n")
    with pytest.raises(ValueError, match="token,user,uid"):
        read_tokens(path)
