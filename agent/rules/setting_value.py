"""What one of Harvester's network settings says: its value as Harvester's controller would read it, its annotations, its condition.

The value is text that a person may have written with kubectl past the webhook: it is bounded in size and trusted in no type, and nothing
here raises. It does not say whether a value is a good one. Sources: harvester pkg/util/network/common.go and
pkg/controller/master/storagenetwork/storage_network.go, 1.1 to 1.9.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.peers import Network
from agent.model.records import SettingRecord
from agent.rules.ipam_range import shown
from agent.rules.mode import RWX_SETTING, STORAGE_SETTING, configured_of

MAX_VALUE_CHARACTERS = 65_536
"""Real values have a hundred or two; this bounds the excludes in them too."""
_MAX_VLAN = 65_535
"""Harvester decodes into a uint16; what is no VLAN its webhook refuses."""

NETWORK_OF: Mapping[str, Network] = {STORAGE_SETTING: Network.STORAGE, RWX_SETTING: Network.RWX}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkValue:
    """The network that a value describes, in its own words."""

    cluster_network: str | None = None
    vlan: int = 1
    """As it becomes effective: 0 and absent are written to the NAD as 1, the bridge's default PVID."""
    range: str | None = None
    excludes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingValue:
    network: NetworkValue | None = None
    """None where the value asks for no network of its own."""
    shared: bool = False
    """`rwx-network` only: share-managers use the storage network."""
    problem: str | None = None
    """Why Harvester cannot read the value."""
    unread: str | None = None
    """Why *we* did not read it, which says nothing about Harvester."""

    @property
    def asks(self) -> bool:
        """It is not the value of a setting that is switched off."""
        return self.network is not None or self.shared or self.problem is not None or self.unread is not None


def annotation(setting: SettingRecord, key: str) -> str | None:
    """`<setting>.settings.harvesterhci.io/<key>`, None if it is missing or empty."""
    return (setting.annotations.get(f"{setting.name}.settings.harvesterhci.io/{key}") or "").strip() or None


def named_nad(setting: SettingRecord, *, key: str = "net-attach-def") -> str | None:
    """`namespace/name` in an annotation, or None for anything that is not that."""
    namespace, slash, name = (annotation(setting, key) or "").partition("/")
    return f"{namespace}/{name}" if slash and namespace and name and "/" not in name else None


def is_done(setting: SettingRecord) -> bool:
    """Condition `configured` is True. That is no evidence that the network is in use: a disabled setting is completed too."""
    condition = configured_of(setting)
    return condition is not None and condition.status == "True"


def touched(setting: SettingRecord) -> bool:
    """Harvester's controller has acted on it at some time."""
    return any(key.startswith(f"{setting.name}.settings.harvesterhci.io/") for key in setting.annotations)


def value_hash(setting: SettingRecord) -> str:
    """sha1 of the raw text: one blank more makes another configuration."""
    return hashlib.sha1((setting.value or "").encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def read_value(setting: SettingRecord) -> SettingValue:
    """The value of `storage-network` or `rwx-network`. Never raises."""
    text = setting.value or ""
    if not text.strip():
        return SettingValue()
    if len(text) > MAX_VALUE_CHARACTERS:
        return SettingValue(unread=f"the value has {len(text)} characters; more than {MAX_VALUE_CHARACTERS} are not read")
    try:
        document = json.loads(text, parse_constant=_refuse_constant)
        return _rwx(document) if setting.name == RWX_SETTING else SettingValue(network=_network(document))
    except RecursionError:
        return SettingValue(problem="it is nested too deeply")
    except ValueError as error:
        return SettingValue(problem=shown(str(error)))


def _refuse_constant(constant: str) -> object:
    raise ValueError(f"{constant} is not a JSON value")


def _rwx(document: object) -> SettingValue:
    values = _object(document, "the value")
    shared = _pick(values, "share-storage-network")
    if shared is not None and not isinstance(shared, bool):
        raise ValueError("share-storage-network is neither true nor false")
    network = _pick(values, "network")
    return SettingValue(shared=bool(shared), network=None if shared or network is None else _network(network))


def _network(document: object) -> NetworkValue:
    values = _object(document, "the value")
    vlan = _pick(values, "vlan")
    if vlan is not None and (isinstance(vlan, bool) or not isinstance(vlan, int) or not 0 <= vlan <= _MAX_VLAN):
        raise ValueError("vlan is not a whole number that a VLAN could have")
    excludes = _pick(values, "exclude")
    if excludes is not None and not (isinstance(excludes, list) and all(isinstance(item, str) for item in excludes)):
        raise ValueError("exclude is not a list of texts")
    return NetworkValue(
        cluster_network=_text(values, "clusterNetwork"),
        vlan=vlan or 1,
        range=_text(values, "range"),
        excludes=tuple(item for item in excludes or () if isinstance(item, str)),
    )


def _object(document: object, what: str) -> dict[str, object]:
    if not isinstance(document, dict):
        raise ValueError(f"{what} is not a JSON object")  # noqa: TRY004 - one kind of error for all that JSON may hold
    return document


def _text(values: dict[str, object], key: str) -> str | None:
    value = _pick(values, key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} is not a text")
    return value or None


def _pick(values: dict[str, object], key: str) -> object:
    """By name in any case, the last one counts, as Go's decoder does."""
    found: object = None
    for name, value in values.items():
        if name.lower() == key.lower():
            found = value
    return found
