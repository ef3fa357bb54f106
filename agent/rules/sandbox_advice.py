"""What to say and what to do about each cause that needs no arithmetic: one row a cause.

Summaries are sentences without a full stop that can be read aloud; next steps hold commands that can be pasted. `{…}` is filled from the
message: {where} the network in words, {pod}, {namespace}, {name}, {nad}, {nad_namespace}, {network}, {range}, {reason} (its last words).
"""

from agent.model.events import Cause

_NODE_OF = "kubectl -n {namespace} get pod {name} -o wide"
_CNI_PODS = "kubectl -n kube-system get pods -o wide"
_NAD = "kubectl -n {nad_namespace} get network-attachment-definitions.k8s.cni.cncf.io {nad} -o yaml"

NO_WORD = (
    "the text does not say that a sandbox failed",
    "give the message of an event with the reason FailedCreatePodSandBox: kubectl -n longhorn-system get events --field-selector "
    "reason=FailedCreatePodSandBox",
)
CRD_MISSING = (
    "whereabouts cannot give an address on {where}: the cluster has no resource for its pools",
    "see which of the two are there: kubectl get crd ippools.whereabouts.cni.cncf.io "
    "overlappingrangeipreservations.whereabouts.cni.cncf.io; install the missing ones from the whereabouts chart of this Harvester version",
)

ADVICE: dict[Cause, tuple[str, str]] = {
    Cause.IP_EXHAUSTED_SECONDARY: (
        "no free address on {where}; its address plugin is not whereabouts",
        "look at its pool and range: " + _NAD + "; host-local keeps one file an address under /var/lib/cni/networks/{nad}/ on each node",
    ),
    Cause.IPAM_DATASTORE_ERROR: (
        "whereabouts could not read or write its pools for {where}: {reason}",
        "check its pods and rights: kubectl -n kube-system get pods -l app=whereabouts -o wide; kubectl auth can-i list "
        "ippools.whereabouts.cni.cncf.io -n kube-system --as=system:serviceaccount:kube-system:whereabouts",
    ),
    Cause.IPAM_RANGE_INVALID: (
        "the range or an exclude of {where} cannot be used, so nobody gets an address: {reason}",
        "correct range and exclude (at least /30, canonical, excludes in CIDR form): " + _NAD,
    ),
    Cause.IPAM_LOCK_TIMEOUT: (
        "whereabouts waited for its lock in vain on {where}: too many pods ask for addresses at once, or the API server is slow",
        "it is tried again by itself; see who holds the lock: kubectl -n kube-system get lease whereabouts -o yaml",
    ),
    Cause.IPAM_PLUGIN_CRASH: (
        "the address plugin of {where} ended in the middle of its work",
        "read its log on the pod's node (/var/log/whereabouts.log) and compare the version of its image: kubectl -n kube-system get "
        "ds whereabouts -o wide",
    ),
    Cause.IPAM_DHCP_NO_ANSWER: (
        "no DHCP lease for {where}: no server answers, or the dhcp daemon of the CNI plugins does not run on the node",
        "look for the daemon's socket on the pod's node: ls -l /run/cni/dhcp.sock; then for a DHCP server in that VLAN",
    ),
    Cause.IPAM_AGENT_UNREACHABLE: (
        "the network plugin's agent on the pod's node does not answer",
        "see whether it runs there: " + _CNI_PODS + "; " + _NODE_OF + " tells the node",
    ),
    Cause.NAD_NOT_FOUND: (
        "the NetworkAttachmentDefinition that the pod asks for does not exist{named}",
        "compare request and definitions: kubectl get network-attachment-definitions.k8s.cni.cncf.io -A; kubectl -n "
        "{namespace} get pod {name} -o jsonpath='{{.metadata.annotations.k8s\\.v1\\.cni\\.cncf\\.io/networks}}'; "
        "for the storage network see kubectl get settings.harvesterhci.io storage-network -o yaml",
    ),
    Cause.NAD_INVALID: (
        "the configuration inside the NetworkAttachmentDefinition, or the pod's request for it, cannot be used: {reason}",
        "read spec.config as JSON: kubectl get network-attachment-definitions.k8s.cni.cncf.io -A -o yaml",
    ),
    Cause.CNI_PLUGIN_MISSING: (
        "a plugin's program is not on the node: {reason}",
        "list what is there, on the pod's node: ls -l /opt/cni/bin; the DaemonSet that installs it must run on that node: " + _CNI_PODS,
    ),
    Cause.CNI_PLUGIN_CRASH: (
        "a network plugin died without an answer on {where}",
        "look for a killed process on the pod's node: journalctl -k --since -1h | grep -iE 'oom|segfault'; then compare "
        "the plugin's version",
    ),
    Cause.CNI_CONFIG_INVALID: (
        "a plugin's configuration, or its answer, cannot be read: {reason}",
        "on the pod's node look at the configuration: ls -l /etc/cni/net.d; for a secondary network at its definition: kubectl get "
        "network-attachment-definitions.k8s.cni.cncf.io -A -o yaml",
    ),
    Cause.CNI_CONFIG_MISSING: (
        "the node has no network configuration yet: no pod can start there",
        "see whether the default CNI's pod runs on that node: " + _CNI_PODS + "; on the node: ls -l /etc/cni/net.d",
    ),
    Cause.CNI_VERSION_MISMATCH: (
        "Multus and a plugin do not speak the same version of CNI: {reason}",
        "compare cniVersion in /etc/cni/net.d on the pod's node with the version of Multus: kubectl -n kube-system get ds -o wide",
    ),
    Cause.CNI_DEL_FAILED: (
        "tearing a sandbox down failed, not starting one: its address may stay taken: {reason}",
        "once the cause is mended the kubelet tries again; look for what is left: kubectl -n kube-system get "
        "ippools.whereabouts.cni.cncf.io -o yaml",
    ),
    Cause.MASTER_LINK_MISSING: (
        "the interface below {where} does not exist on the pod's node",
        "compare master or bridge in the definition with the node: " + _NAD + "; on the node: ip -br link",
    ),
    Cause.MASTER_LINK_BUSY: (
        "the interface below {where} is used in another way already (macvlan and ipvlan, or bridge port and macvlan)",
        "on the pod's node see what hangs on it: ip -d link; ip -d -br link show type macvlan",
    ),
    Cause.BRIDGE_MISSING: (
        "the bridge of {where} does not exist on the pod's node",
        "on the pod's node: ip -br link show type bridge; ovs-vsctl list-br; compare with " + _NAD,
    ),
    Cause.BRIDGE_SETUP_FAILED: (
        "the bridge is there but cannot be set up: {reason}",
        "on the pod's node see its addresses: ip -br addr show type bridge; a left-over address of an older pod CIDR has to go",
    ),
    Cause.INTERFACE_EXISTS: (
        "the interface's name is taken already, in the pod or on its node: {reason}",
        "on the pod's node: ip -br link; crictl pods shows whether an older sandbox of the pod is still there",
    ),
    Cause.INTERFACE_CONFIG_FAILED: (
        "the kernel refused the interface's settings on {where}: {reason}",
        "compare address family, MAC and MTU in the definition with the node: "
        + _NAD
        + "; on the node: sysctl net.ipv6.conf.all.disable_ipv6",
    ),
    Cause.DEVICE_UNAVAILABLE: (
        "no SR-IOV or host device is there for the pod on {where}: {reason}",
        "see what the node offers: kubectl get nodes -o "
        "jsonpath='{{range .items[*]}}{{.metadata.name}} {{.status.allocatable}}{{\"\\n\"}}{{end}}'",
    ),
    Cause.DEVICE_CONFIG_FAILED: (
        "the device for {where} is there but could not be configured: {reason}",
        "on the pod's node read the driver's words: journalctl -k --since -1h; ip -d link shows the functions",
    ),
    Cause.MULTUS_UNAUTHORIZED: (
        "the API server refuses Multus' token on the pod's node: every new pod there fails, whatever its networks",
        "restart Multus on that node so that it writes a new kubeconfig: kubectl -n kube-system get pods -o wide | grep multus; "
        + _NODE_OF
        + " tells the node",
    ),
    Cause.MULTUS_APISERVER_UNREACHABLE: (
        "Multus on the pod's node does not reach the API server: {reason}",
        "on that node: curl -k https://10.53.0.1/healthz (address of the Service kubernetes: kubectl get svc kubernetes); "
        + _NODE_OF
        + " tells the node",
    ),
    Cause.MULTUS_DAEMON_UNREACHABLE: (
        "the Multus daemon does not run on the pod's node",
        "see why: kubectl -n kube-system get pods -o wide | grep multus; " + _NODE_OF + " tells the node",
    ),
    Cause.SECONDARY_CNI_AGENT_TIMEOUT: (
        "the agent that sets up {where} did not finish in time",
        "look at its pod on the pod's node: kubectl get pods -A -o wide; " + _NODE_OF + " tells the node",
    ),
    Cause.DEFAULT_CNI_AGENT_TIMEOUT: (
        "not the storage network: the agent of the pod network did not finish in time",
        "look at its pod on the pod's node: " + _CNI_PODS + "; " + _NODE_OF + " tells the node",
    ),
    Cause.DEFAULT_CNI_UNAUTHORIZED: (
        "the API server refuses the token of the plugin for {where}",
        "restart the plugin's pod on the pod's node so that it writes a new token: " + _CNI_PODS,
    ),
    Cause.DEFAULT_CNI_NOT_READY: (
        "not the storage network: the pod network has not started on the pod's node",
        "see why its pod there is not ready: " + _CNI_PODS + "; " + _NODE_OF + " tells the node",
    ),
    Cause.DEFAULT_CNI_APISERVER_UNREACHABLE: (
        "a network plugin on the pod's node does not reach the API server: {reason}",
        "on that node: curl -k https://10.53.0.1/healthz (address of the Service kubernetes: kubectl get svc kubernetes)",
    ),
    Cause.OTHER_CNI_ERROR: (
        "no known cause; the message ends with: {reason}",
        "read the events around it: kubectl -n {namespace} describe pod {name}; and the runtime's log on the pod's node: journalctl -u "
        "rke2-server -u rke2-agent -u containerd --since -1h",
    ),
    Cause.HOST_FIREWALL_ERROR: (
        "the node's firewall rules could not be changed: {reason}",
        "on the pod's node: iptables --version; iptables-save | head; look for a second firewall program that holds the lock",
    ),
    Cause.NETNS_MISSING: (
        "the sandbox's network namespace went away while it was being set up",
        "a new attempt normally mends it; if not, look for restarts of the runtime on the pod's node: journalctl -u "
        "rke2-server -u rke2-agent --since -1h | grep -i containerd",
    ),
    Cause.SANDBOX_NAME_RESERVED: (
        "an earlier attempt for this pod is still running: what made it slow is the cause, this is its echo",
        "look at the other events of the pod: kubectl -n {namespace} get events --field-selector involvedObject.name={name}; "
        "long gaps between AddedInterface events mean waiting for whereabouts' lock",
    ),
    Cause.SANDBOX_IMAGE: (
        "the runtime has no sandbox (pause) image: {reason}",
        "on the pod's node: crictl images | grep pause; then look at the registry's reachability",
    ),
    Cause.RUNTIME_ERROR: (
        "the container runtime failed, not the network: {reason}",
        "read its log on the pod's node: journalctl -u rke2-server -u rke2-agent -u containerd --since -1h",
    ),
    Cause.RUNTIME_TIMEOUT: (
        "the attempt ran into the kubelet's deadline: something slower is the cause, this is its echo",
        "look at the other events of the pod: kubectl -n {namespace} get events --field-selector involvedObject.name={name}; "
        "long gaps between AddedInterface events mean waiting for whereabouts' lock",
    ),
    Cause.RUNTIME_HANDLER_MISSING: (
        "the pod's RuntimeClass is not set up on its node: {reason}",
        "compare: kubectl get runtimeclass; on the node: grep -A3 runtimes /var/lib/rancher/rke2/agent/etc/containerd/config.toml",
    ),
    Cause.CGROUP_ERROR: (
        "control groups on the pod's node could not be set up: {reason}",
        "compare the cgroup driver of kubelet and runtime on that node; stat -fc %T /sys/fs/cgroup tells the version",
    ),
    Cause.NODE_RESOURCE_EXHAUSTED: (
        "the pod's node has run out of a resource: {reason}",
        "on that node: df -h; df -i; sysctl user.max_net_namespaces fs.inotify.max_user_instances; cat /proc/sys/kernel/pid_max",
    ),
    Cause.POD_GONE: (
        "the pod was deleted while its sandbox was being made: normal",
        "nothing to do, unless {pod} is still listed: kubectl -n {namespace} get pod {name}",
    ),
    Cause.ADDED_INTERFACE: (
        "not a failure: one interface of a pod was set up, on {where}",
        "nothing to do; an added eth0 says nothing of the storage network, only its own interface does",
    ),
    Cause.SANDBOX_CHANGED: (
        "not a cause: the kubelet makes the sandbox anew after each failed attempt",
        "look at the event before it: kubectl -n {namespace} get events --field-selector reason=FailedCreatePodSandBox",
    ),
    Cause.BENIGN_NO_DEFAULT_NAD: (
        "not a failure: {network} is the pod network, which needs no NetworkAttachmentDefinition; the pod goes on",
        "nothing to do",
    ),
    Cause.BENIGN_DEL_NOT_FOUND: (
        "not a failure: a sandbox was removed that never had an address",
        "nothing to do",
    ),
    Cause.UNKNOWN_TRUNCATED: (
        "the reason was cut off: the message ends before it",
        "read the whole text: kubectl -n {namespace} get events --field-selector reason=FailedCreatePodSandBox -o yaml; or the "
        "kubelet's log on the pod's node",
    ),
}
