"""Every shape that kubelet, runtimes and Multus gave a message over the years, around every reason that a plugin gives.

Shapes: kubelet before and after 1.16; dockershim with and without the list form; containerd 1 and 2; CRI-O; Multus 3.2 to 4.3, thin and
thick.
Reasons: one or more texts a cause, in the wordings of the versions that differ.
"""

import pytest
from sandbox_cases import FULL_NEW, KUBELETS, MULTUS, NAMESPACE, POD, REASONS, RUNTIMES, SANDBOX, SHIM, SHIM_ARGS, STDIN_BYTES, UID

from agent.model.events import Cause, NetworkKind
from agent.rules.sandbox import explain

C = Cause
CASES = [pytest.param(cause, reason, id=f"{cause}-{number}") for cause, reasons in REASONS.items() for number, reason in enumerate(reasons)]


@pytest.mark.parametrize("multus", MULTUS)
@pytest.mark.parametrize(("cause", "reason"), CASES)
def test_each_reason_is_found_in_each_shape_on_the_storage_network(cause: Cause, reason: str, multus: str) -> None:
    head, tail = MULTUS[multus]
    for kubelet in KUBELETS:
        for name, (before, after) in RUNTIMES.items():
            answer = explain(kubelet + before + head.format(net="storagenetwork-95bj4") + reason + tail + after)
            told = f"{name}: {answer.summary}"
            assert answer.cause == cause, told
            assert answer.network == "storagenetwork-95bj4", told
            assert answer.network_kind == "storage", told
            assert answer.is_failure, told
            if "containerd" not in name or multus not in ("3.2", "3.3-snapshot"):
                assert answer.pod == f"{NAMESPACE}/{POD}", told


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (C.MULTUS_UNAUTHORIZED, "Multus: [a/b]: error getting pod: Unauthorized"),
        (C.MULTUS_UNAUTHORIZED, f"Multus: [a/b/{UID}]: error waiting for pod: Unauthorized"),
        (
            C.MULTUS_UNAUTHORIZED,
            f'Multus: [a/b/{UID}]: error getting pod: pods "b" is forbidden: User "system:serviceaccount:kube-system:multus"',
        ),
        (
            C.MULTUS_APISERVER_UNREACHABLE,
            'Multus: [a/b]: error getting pod: Get "https://[10.53.0.1]:443/api/v1": dial tcp 10.53.0.1:443: i/o timeout',
        ),
        (
            C.MULTUS_APISERVER_UNREACHABLE,
            "Multus: [a/b]: error getting pod: client rate limiter Wait returned an error: context deadline exceeded",
        ),
        (
            C.MULTUS_DAEMON_UNREACHABLE,
            'CmdAdd (shim): failed to send CNI request: Post "http://dummy/cni": dial unix /run/multus/multus.sock: connect: no',
        ),
        (
            C.DEFAULT_CNI_NOT_READY,
            "Multus: [a/b]: PollImmediate error waiting for ReadinessIndicatorFile: timed out waiting for the condition",
        ),
        (
            C.DEFAULT_CNI_NOT_READY,
            f"Multus: [a/b/{UID}]: have you checked that your default network is ready? still waiting for readinessindicatorfile @ /run/x",
        ),
        (C.DEFAULT_CNI_NOT_READY, "loadFlannelSubnetEnv failed: open /run/flannel/subnet.env: no such file or directory"),
        (C.POD_GONE, 'Multus: [a/b]: error getting pod: pods "b" not found'),
        (C.POD_GONE, "Multus: [a/b]: pod not found during Multus GetPod"),
        (
            C.NAD_NOT_FOUND,
            "Multus: [a/b]: error loading k8s delegates k8s args: TryLoadPodDelegates: error in getting k8s network for pod: "
            "GetNetworkDelegates: failed getting the delegate: getKubernetesDelegate: cannot find a "
            "network-attachment-definition (n) in namespace (a): "
            'network-attachment-definitions.k8s.cni.cncf.io "n" not found',
        ),
        (C.NAD_INVALID, "Multus: [a/b]: GetCNIConfig: err in getCNIConfigFromSpec: failed to unmarshal Spec.Config: invalid character '}'"),
        (
            C.DEFAULT_CNI_UNAUTHORIZED,
            'plugin type="calico" failed (add): error getting ClusterInformation: connection is unauthorized: Unauthorized',
        ),
        (
            C.DEFAULT_CNI_APISERVER_UNREACHABLE,
            'plugin type="calico" failed (add): Get "https://10.43.0.1:443/x": dial tcp 10.43.0.1:443: i/o timeout',
        ),
        (
            C.IPAM_AGENT_UNREACHABLE,
            "unable to connect to Cilium daemon: failed to create cilium agent client after 30.000000 seconds timeout",
        ),
        (
            C.IPAM_AGENT_UNREACHABLE,
            "add cmd: Error received from AddNetwork gRPC call: rpc error: code = Unavailable desc = connection error",
        ),
        (C.IP_EXHAUSTED_DEFAULT_NET, "IPAM allocated only 0 of 1 requested addresses"),
        (C.IP_EXHAUSTED_DEFAULT_NET, 'plugin type="cilium-cni" failed (add): unable to allocate IP via local cilium agent: range is full'),
        (C.RUNTIME_TIMEOUT, "context deadline exceeded"),
        (C.SANDBOX_NAME_RESERVED, f'failed to reserve sandbox name "b_a_{UID}_1": name "b_a_{UID}_1" is reserved for "{SANDBOX}"'),
        (
            C.SANDBOX_IMAGE,
            'failed to get sandbox image "rancher/mirrored-pause:3.6": failed to pull image: dial tcp: lookup x: no such host',
        ),
        (C.RUNTIME_HANDLER_MISSING, 'failed to get sandbox runtime: no runtime for "kata" is configured'),
        (C.CGROUP_ERROR, "OCI runtime create failed: unable to apply cgroup configuration: no space left on device"),
        (
            C.RUNTIME_ERROR,
            "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: EOF",
        ),
        (C.NODE_RESOURCE_EXHAUSTED, "failed to create network namespace: no space left on device"),
        (C.UNKNOWN_TRUNCATED, 'plugin type="multus" name="multus-cni-network" failed (add):'),
        (
            C.UNKNOWN_TRUNCATED,
            f"{SHIM}'&{{ContainerID:{SANDBOX} Netns:/var/run/netns/cni-1 IfName:eth0 Args:{SHIM_ARGS} Path: StdinData:[{STDIN_BYTES[:-40]}",
        ),
    ],
)
def test_texts_that_come_before_or_beside_a_plugin(cause: Cause, text: str) -> None:
    for kubelet in KUBELETS:
        answer = explain(f'{kubelet}failed to setup network for sandbox "{SANDBOX}": {text}')
        assert answer.cause == cause, answer.summary
        assert answer.network_kind not in (NetworkKind.STORAGE, NetworkKind.RWX)


def test_a_pod_named_after_a_fault_explains_nothing() -> None:
    """The names of pods and networks are blanked before anything is compared."""
    message = (
        KUBELETS[0] + '[shop/cgroup-iptables-unauthorized/1:busy-multus]: error adding container to network "busy-multus": odd failure'
    )
    assert explain(message).cause == Cause.OTHER_CNI_ERROR


@pytest.mark.parametrize(
    ("cause", "text"),
    [
        (C.ADDED_INTERFACE, "Add lhnet1 [192.168.0.4/24] from harvester-system/storagenetwork-95bj4"),
        (C.ADDED_INTERFACE, "Add net1 [10.1.1.1/24 fd00::1/64] from default/dual"),
        (C.SANDBOX_CHANGED, "Pod sandbox changed, it will be killed and re-created."),
        (C.BENIGN_DEL_NOT_FOUND, "did not find reserved IP for container 0a1b2c"),
        (
            C.BENIGN_NO_DEFAULT_NAD,
            "cannot find a network-attachment-definition (k8s-pod-network) in namespace (kube-system): "
            'network-attachment-definitions.k8s.cni.cncf.io "k8s-pod-network" not found',
        ),
    ],
)
def test_texts_that_report_no_failure(cause: Cause, text: str) -> None:
    answer = explain(text)
    assert (answer.cause, answer.is_failure) == (cause, False)
    assert "not a" in answer.summary


def test_the_kubelets_own_log_line_is_read_with_its_pod() -> None:
    quote, deep = '\\"', '\\\\\\"'
    line = (
        f'E1120 08:00:00 pod_workers.go:1298] "Error syncing pod, skipping" err="failed to {quote}CreatePodSandbox{quote} for '
        f"{quote}{POD}_{NAMESPACE}({UID}){quote} with CreatePodSandboxError: {quote}Failed to create sandbox for pod "
        f"{deep}{POD}_{NAMESPACE}({UID}){deep}: rpc error: code = Unknown desc = failed to setup network for sandbox {deep}1{deep}: "
        f"Multus: error adding pod to network {deep}storagenetwork-a{deep}: {FULL_NEW}{quote}"
        f'" pod="{NAMESPACE}/{POD}" podUID="{UID}"'
    )
    answer = explain(line)
    assert (answer.cause, answer.network_kind, answer.pod) == (Cause.IP_EXHAUSTED, "storage", f"{NAMESPACE}/{POD}")
    assert answer.excludes == ("192.168.7.1/32",)


def test_a_pod_that_may_not_be_read_is_not_a_pod_that_is_gone() -> None:
    """The text also says `not found`, but of a role."""
    text = 'pods "b" is forbidden: User "x" cannot get resource "pods" in API group "" in the namespace "a": RBAC: role "y" not found'
    assert explain(KUBELETS[0] + "Multus: [a/b]: error getting pod: " + text).cause == Cause.MULTUS_UNAUTHORIZED
    assert explain(KUBELETS[0] + 'plugin type="calico" failed (add): ' + text).cause == Cause.DEFAULT_CNI_UNAUTHORIZED


def test_tearing_down_is_told_apart_from_starting() -> None:
    text = f'error killing pod: failed to "KillPodSandbox" for "{UID}" with KillPodSandboxError: "rpc error: code = Unknown desc = '
    answer = explain(
        text + f'for sandbox \\"{SANDBOX}\\": plugin type=\\"multus\\" failed (delete): error at storage engine: k8s get error: x"'
    )
    assert answer.cause == Cause.CNI_DEL_FAILED
    assert "not starting one" in answer.summary


def test_the_row_that_tells_most_of_a_pasted_table_is_explained() -> None:
    """kubectl describe, newest last: the success of eth0 and the kubelet's own refrain stand around the failure."""
    table = f"""Events:
  Type     Reason                  Age                 From     Message
  ----     ------                  ----                ----     -------
  Normal   Scheduled               3m                  default-scheduler  Successfully assigned {NAMESPACE}/{POD} to harv43
  Normal   AddedInterface          2m59s               multus   Add eth0 [10.52.2.141/32] from k8s-pod-network
  Warning  FailedCreatePodSandBox  2m58s (x3 over 3m)  kubelet  {KUBELETS[0]}[{NAMESPACE}/{POD}/{UID}:storagenetwork-a]: error \
adding container to network "storagenetwork-a": error at storage engine: {FULL_NEW}
  Warning  FailedCreatePodSandBox  40s                 kubelet  Failed to create pod sandbox: rpc error: code = DeadlineExceeded desc = \
context deadline exceeded
  Normal   SandboxChanged          1s (x12 over 3m)    kubelet  Pod sandbox changed, it will be killed and re-created.
"""
    answer = explain(table)
    assert (answer.cause, answer.network, answer.range) == (Cause.IP_EXHAUSTED, "storagenetwork-a", "192.168.7.0/29")
    assert (
        explain("  Normal  AddedInterface  3s  multus  Add lhnet1 [192.168.0.4/24] from harvester-system/storagenetwork-a").network_kind
        == "storage"
    )
    assert (
        explain("3s  Normal  AddedInterface  pod/im-1  Add lhnet1 [192.168.0.4/24] from harvester-system/storagenetwork-a").network_kind
        == "storage"
    )


def test_the_setting_decides_which_network_is_the_storage_network() -> None:
    message = f'[a/b:{{net}}]: error adding container to network "{{net}}": {FULL_NEW}'
    nads = frozenset({"harvester-system/mine"})
    kinds = {
        net: explain(message.format(net=net), storage_nads=nads, rwx_nads=frozenset({"harvester-system/shared"})).network_kind
        for net in ("mine", "shared", "storagenetwork-old", "k8s-pod-network")
    }
    assert kinds == {"mine": "storage", "shared": "rwx", "storagenetwork-old": "secondary", "k8s-pod-network": "default"}
    assert explain(message.format(net="rwx-network-1")).network_kind == "rwx"
    assert explain(message.format(net="mine")).network_kind == "secondary"
