"""Explains one sandbox message: why a pod got no sandbox, on which network, and what to do next.

The text is all there is: nothing is looked up, and what the text does not say stays None. A text that nobody here knows is still answered,
as `other_cni_error` where it reports a failure and as `unknown_truncated` where the reason itself is missing. Never raises, whatever it
is given; its time is bounded because the text is cut first (sandbox_text).
"""

import re
from collections.abc import Set as AbstractSet

from agent.model.events import Cause, Explanation, NetworkKind
from agent.rules.sandbox_causes import cause_of
from agent.rules.sandbox_names import TAG, added, kind_of, named_by_layer_only, network_of, pod_of, without_names
from agent.rules.sandbox_range import Addresses, addresses_of
from agent.rules.sandbox_row import Signs
from agent.rules.sandbox_text import Text, prepare, rows
from agent.rules.sandbox_words import Words, words_for

NO_FAILURE = frozenset({Cause.ADDED_INTERFACE, Cause.SANDBOX_CHANGED, Cause.BENIGN_NO_DEFAULT_NAD, Cause.BENIGN_DEL_NOT_FOUND})
ECHOES = frozenset(
    {Cause.RUNTIME_TIMEOUT, Cause.SANDBOX_NAME_RESERVED, Cause.UNKNOWN_TRUNCATED, Cause.POD_GONE, Cause.CNI_DEL_FAILED, *NO_FAILURE}
)
"""Causes that are the consequence of something else, or say nothing of it: any other cause beside them tells more."""
_DEFAULT_ONLY = frozenset(
    {
        Cause.IP_EXHAUSTED_DEFAULT_NET,
        Cause.DEFAULT_CNI_AGENT_TIMEOUT,
        Cause.DEFAULT_CNI_UNAUTHORIZED,
        Cause.DEFAULT_CNI_NOT_READY,
        Cause.DEFAULT_CNI_APISERVER_UNREACHABLE,
    }
)
"""Causes whose text, where it names no network, can only be the pod network's."""

_WRAPPED = re.compile(
    r"createpodsand|failedtocreatesandbox|failed(?:to)?set-?up(?:network|sandbox|pod)|failedtocreatepodnetworksandbox|networkplugin|failed\(add\):"
    r"|adding(?:container|pod)tonetwork|addingpod|tryloadpoddelegates|multus:\["
)
_DELEGATED = re.compile(r"(?:container|pod)tonetwork")
_WRAPPERS = re.compile(
    r"\(combinedfromsimilarevents\):|fail(?:ed)?(?:to)?createpodsandbox?:?|rpcerror:|code=unknown|desc=|fail(?:ed)?to(?:set-?up|create)"
    r"(?:pod)?(?:network|sandbox|sandboxcontainer|podsandbox)*(?:forsandbox)?(?:container)?\"?[0-9a-f]{0,64}\"?(?:networkforpod\"[^\"]{0,253}\")?:?"
    r"|networkplugincnifailedtosetuppod\"[^\"]{0,510}\"network:?|plugintype=\"[^\"]{0,64}\"(?:name=\"[^\"]{0,253}\")?|failed\(add\):?"
    r"|cmdadd\(shim\):?|cnirequestfailedwith(?:status\d{3}:?)?|erroraddingpod(?:tocninetwork\"[^\"]{0,253}\"?)?:?|k8s_[^(:]{0,400}"
    r"|erroraddingcontainertonetwork\"[^\"]{0,253}\"?:?|\[\]|\([0-9a-f]{0,64}\)?|tocninetwork\"[^\"]{0,253}\"?"
)
_FAILURE_WORDS = re.compile(
    r"fail|error|unable|cannot|can\"t|couldnot|denied|refused|timedout|timeout|notfound|invalid|panic|forbidden|unauthorized|missing|exceeded|"
    r"unsupported|nosuch|notpermitted|notready|notallowed|unreachable"
)
MAX_REASON_CHARS = 200
"""Longest reason quoted in a sentence."""
_BEFORE_REASON = ("]: ", "failed (add): ", "failed (delete): ", '" network: ', "desc = ", "ERRORED: ")
_LEADING = re.compile(
    r"^(?:error (?:adding|removing) (?:container|pod) (?:to|from) network(?: \"[^\"]{0,253}\")?: "
    r"|failed to (?:setup|set up|create|start|destroy) (?:pod )?(?:network|sandbox)(?: sandbox)?[^:]{0,300}: "
    r"|Failed (?:to )?create pod sandbox: "
    r"|Multus: error adding pod to network \"[^\"]{0,253}\": |delegateAdd: error invoking (?:Delegate|Conflist)Add - \"[^\"]{0,253}\": )"
)
_CUT_OFF = re.compile(r"\.\.\.\"?$|[,-]$|&\{\.\.\.\}|inrange(?:se?)?$|fromcnine?t?w?o?r?k?$")
"""Endings that no writer meant."""
_CUT_NAME = re.compile(r"(?:(?:device|container|network|sandbox|pod|plugin) |type=|name=)[\"'][^\s\"':(]{0,256}$", re.IGNORECASE)
"""A name that was begun and not ended. Blanks tell its opening quote from the closing one of a name such as `k8s-pod-network`."""
_PAIRS = (('netpluginfailed:"', '"'), ("excluderanges:[", "]"))
_SHIM_DUMP = re.compile(r"status\d{3}:?\"?&?\{?(?:containerid|\.\.\.)[^\0]*")


def explain(message: str, *, storage_nads: AbstractSet[str] | None = None, rwx_nads: AbstractSet[str] | None = None) -> Explanation:
    """What the message says (contract §1, `explain-event`).

    `storage_nads` and `rwx_nads` are the NADs of the two networks as namespace/name, besides them the names inside their configurations if
    those differ. Without them the names tell. Of a pasted table of events the row that tells most is explained.
    """
    answers = [_explain(one, storage_nads=storage_nads, rwx_nads=rwx_nads) for one in rows(message)]
    return max(enumerate(answers), key=lambda pair: (_telling(pair[1]), pair[0]))[1]


def _telling(answer: Explanation) -> int:
    if not answer.is_failure:
        return 1 if answer.cause in NO_FAILURE else 0
    return 2 if answer.cause in ECHOES else 3


def _explain(message: str, *, storage_nads: AbstractSet[str] | None, rwx_nads: AbstractSet[str] | None) -> Explanation:
    text = prepare(message)
    interface: str | None = None
    if reported := added(text):
        interface, network = reported
        cause: Cause | None = Cause.ADDED_INTERFACE
        kind = kind_of(network, storage_nads=storage_nads, rwx_nads=rwx_nads)
    else:
        network = network_of(text)
        kind = kind_of(network, storage_nads=storage_nads, rwx_nads=rwx_nads)
        if network and kind is NetworkKind.SECONDARY and named_by_layer_only(text, network):
            kind = NetworkKind.UNKNOWN
        cause = cause_of(_signs(text, kind))
    failure = cause not in NO_FAILURE
    if cause is None:
        cause, failure = _unknown(text)
    if kind is NetworkKind.UNKNOWN and cause in _DEFAULT_ONLY:
        kind = NetworkKind.DEFAULT
    addresses = addresses_of(text) if failure else Addresses()
    pod = pod_of(text)
    crd_missing = cause is Cause.IPAM_DATASTORE_ERROR and "couldnotfindtherequestedresource" in text.core
    words = words_for(
        cause,
        Words(
            network=network,
            kind=kind,
            pod=pod,
            addresses=addresses,
            crd_missing=crd_missing,
            failure=failure,
            reason=_reason(text),
            text=text,
        ),
    )
    return Explanation(
        cause=cause,
        network=network,
        network_kind=kind,
        pod=pod,
        range=addresses.range,
        first=addresses.first,
        last=addresses.last,
        excludes=addresses.excludes,
        is_failure=failure,
        truncated=_truncated(text, cause=cause, failure=failure, addresses=addresses),
        summary=words.summary,
        next_step=words.next_step,
        crd_missing=crd_missing,
        interface=interface,
    )


def _signs(text: Text, kind: NetworkKind) -> Signs:
    return Signs(
        core=without_names(text.core),
        kind=kind,
        delegated=TAG.search(text.dense) is not None or _DELEGATED.search(text.core) is not None,
        wrapped=_WRAPPED.search(text.low) is not None,
    )


def _unknown(text: Text) -> tuple[Cause, bool]:
    """A text that no row knows: whether it holds a reason at all, and whether it speaks of a failure."""
    rest = _SHIM_DUMP.sub("", without_names(text.core))
    rest = _WRAPPERS.sub("", rest).strip('":.,;{}[]()')
    if not any(letter.isalnum() for letter in rest):
        return Cause.UNKNOWN_TRUNCATED, bool(_FAILURE_WORDS.search(text.low))
    if _FAILURE_WORDS.search(text.low):
        return Cause.OTHER_CNI_ERROR, True
    return Cause.UNKNOWN_TRUNCATED, False


def _reason(text: Text) -> str:
    """The end of the message, where the innermost reason stands, short enough for a sentence."""
    reason = text.readable
    cleaning = reason.find(", failed to clean up sandbox container")
    reason = reason[:cleaning] if cleaning > 0 else reason
    start = max((reason.rfind(marker) + len(marker) for marker in _BEFORE_REASON if marker in reason), default=0)
    reason = reason[start:] or reason
    for _ in range(4):
        shorter = _LEADING.sub("", reason)
        if shorter in ("", reason):
            break
        reason = shorter
    return reason if len(reason) <= MAX_REASON_CHARS else f"{reason[: MAX_REASON_CHARS - 3]}..."


def _truncated(text: Text, *, cause: Cause, failure: bool, addresses: Addresses) -> bool:
    """The text was cut, as far as one can see: by us, by dots, within a list or a quotation, before its reason, or within an address."""
    if text.cut or not addresses.complete or (cause is Cause.UNKNOWN_TRUNCATED and failure):
        return True
    if cause is Cause.IP_EXHAUSTED:
        return addresses.range is None or ("excluderanges:[" in text.low and addresses.excludes is None)
    if _CUT_OFF.search(text.low) or _CUT_NAME.search(text.readable) or ("desc=[failedto" in text.low and not text.low.endswith("]")):
        return True
    return any(closing not in text.low[text.low.rfind(opening) + len(opening) :] for opening, closing in _PAIRS if opening in text.low)
