"""What to say and what to do about each cause that needs no arithmetic: one row a cause.

Summaries are sentences without a full stop that can be read aloud; in next steps commands stand in backticks and can be pasted. `{…}` is
filled from the message: {where} the network in words, {named}, {pod}, {network}, {reason} (its last words); {see_…} are whole commands,
without the names where the message gives none.
"""

from agent.model.events import Cause

ON_NODE = "on the pod's node"
"""Always in these words, so that whoever knows the node can put its name there."""
NODE_TOLD = "; which node that is: "
"""Before the command that tells it; always last."""

_WHICH = NODE_TOLD + "{see_node}"
_CNI_PODS = "`kubectl -n kube-system get pods -o wide`"
_MULTUS_PODS = "`kubectl -n kube-system get pods -o wide | grep multus`"
_WHEREABOUTS_PODS = "`kubectl -n kube-system get pods -o wide | grep whereabouts`"
_NADS = "`kubectl get network-attachment-definitions.k8s.cni.cncf.io -A -o yaml`"
_RUNTIME_LOG = "`journalctl -u rke2-server -u rke2-agent -u containerd --since -1h`"
_LINKS = "`ip -br link`"
_API = ON_NODE + ": `curl -k https://10.53.0.1/healthz`; that must be the address of this Service: `kubectl -n default get svc kubernetes`"
_ECHO = "look at the other events of the pod (long gaps between AddedInterface events mean waiting for whereabouts' lock): {see_events}"

NO_WORD = (
    "the text does not say that a sandbox failed",
    "give the message of an event with the reason FailedCreatePodSandBox: "
    "`kubectl -n longhorn-system get events --field-selector reason=FailedCreatePodSandBox`",
)
CRD_MISSING = (
    "whereabouts cannot give an address on {where}: the cluster has no resource for its pools",
    "see which of the two are there: `kubectl get crd ippools.whereabouts.cni.cncf.io "
    "overlappingrangeipreservations.whereabouts.cni.cncf.io`; "
    "install the missing ones from this Harvester version's whereabouts chart",
)

ADVICE: dict[Cause, tuple[str, str]] = {
    Cause.IP_EXHAUSTED_SECONDARY: (
        "no free address on {where}; its address plugin is not whereabouts",
        "look at its pool and range: {see_nad}; host-local keeps one file an address, " + ON_NODE + ": {see_host_local}" + _WHICH,
    ),
    Cause.IPAM_DATASTORE_ERROR: (
        "whereabouts could not read or write its pools for {where}: {reason}",
        "check its pods: " + _WHEREABOUTS_PODS + "; then its rights: {see_rights}",
    ),
    Cause.IPAM_RANGE_INVALID: (
        "the range or an exclude of {where} cannot be used, so nobody gets an address: {reason}",
        "correct range and exclude (at least /30, canonical, excludes in CIDR form); what is set: {see_nad}",
    ),
    Cause.IPAM_LOCK_TIMEOUT: (
        "whereabouts waited for its lock in vain on {where}: too many pods ask for addresses at once, or the API server is slow",
        "it is tried again by itself; see who holds the lock: `kubectl -n kube-system get lease whereabouts -o yaml`",
    ),
    Cause.IPAM_PLUGIN_CRASH: (
        "the address plugin of {where} ended in the middle of its work",
        "compare the version of its image: `kubectl -n kube-system get ds -o wide | grep whereabouts`; and read its log "
        + ON_NODE
        + ": `tail -n 50 /var/log/whereabouts.log`"
        + _WHICH,
    ),
    Cause.IPAM_DHCP_NO_ANSWER: (
        "no DHCP lease for {where}: no server answers, or the dhcp daemon of the CNI plugins does not run on the node",
        "look for a DHCP server in that VLAN, and for the daemon's socket " + ON_NODE + ": `ls -l /run/cni/dhcp.sock`" + _WHICH,
    ),
    Cause.IPAM_AGENT_UNREACHABLE: (
        "the network plugin's agent on the pod's node does not answer",
        "see whether it runs there: " + _CNI_PODS + _WHICH,
    ),
    Cause.NAD_NOT_FOUND: (
        "the NetworkAttachmentDefinition that the pod asks for does not exist{named}",
        "compare what there is: `kubectl get network-attachment-definitions.k8s.cni.cncf.io -A`; with what the pod asks for: "
        "{see_request}; the storage network's stands here: `kubectl get settings.harvesterhci.io storage-network -o yaml`",
    ),
    Cause.NAD_INVALID: (
        "the configuration inside the NetworkAttachmentDefinition, or the pod's request for it, cannot be used: {reason}",
        "read spec.config as JSON: {see_nad}",
    ),
    Cause.CNI_PLUGIN_MISSING: (
        "a plugin's program is not on the node: {reason}",
        "the DaemonSet that installs it must run on that node: "
        + _CNI_PODS
        + "; list what is there, "
        + ON_NODE
        + ": `ls -l /opt/cni/bin`"
        + _WHICH,
    ),
    Cause.CNI_PLUGIN_CRASH: (
        "a network plugin died without an answer on {where}",
        "compare the plugin's version with the other nodes', and look for a killed process "
        + ON_NODE
        + ": `journalctl -k --since -1h | grep -iE 'oom|segfault'`"
        + _WHICH,
    ),
    Cause.CNI_CONFIG_INVALID: (
        "a plugin's configuration, or its answer, cannot be read: {reason}",
        "of a secondary network look at the definition: "
        + _NADS
        + "; of the pod network at the configuration "
        + ON_NODE
        + ": `ls -l /etc/cni/net.d`"
        + _WHICH,
    ),
    Cause.CNI_CONFIG_MISSING: (
        "the node has no network configuration yet: no pod can start there",
        "see whether the default CNI's pod runs on that node: "
        + _CNI_PODS
        + "; and what it wrote "
        + ON_NODE
        + ": `ls -l /etc/cni/net.d`"
        + _WHICH,
    ),
    Cause.CNI_VERSION_MISMATCH: (
        "Multus and a plugin do not speak the same version of CNI: {reason}",
        "compare the version of Multus: `kubectl -n kube-system get ds -o wide | grep multus`; with the configuration "
        + ON_NODE
        + ": `grep -r cniVersion /etc/cni/net.d`"
        + _WHICH,
    ),
    Cause.CNI_DEL_FAILED: (
        "tearing a sandbox down failed, not starting one: its address may stay taken: {reason}",
        "once the cause is mended the kubelet tries again; look for what is left: `kubectl -n kube-system get "
        "ippools.whereabouts.cni.cncf.io -o yaml`",
    ),
    Cause.MASTER_LINK_MISSING: (
        "the interface below {where} does not exist on the pod's node",
        "compare master or bridge in the definition: {see_nad}; with the links " + ON_NODE + ": " + _LINKS + _WHICH,
    ),
    Cause.MASTER_LINK_BUSY: (
        "the interface below {where} is used in another way already (macvlan and ipvlan, or bridge port and macvlan)",
        "see what hangs on it " + ON_NODE + ": `ip -d link`" + _WHICH,
    ),
    Cause.BRIDGE_MISSING: (
        "the bridge of {where} does not exist on the pod's node",
        "compare the bridge in the definition: {see_nad}; with those "
        + ON_NODE
        + ": `ip -br link show type bridge`; `ovs-vsctl list-br`"
        + _WHICH,
    ),
    Cause.BRIDGE_SETUP_FAILED: (
        "the bridge is there but cannot be set up: {reason}",
        "a left-over address of an older pod CIDR has to go; see the bridges' addresses "
        + ON_NODE
        + ": `ip -br addr show type bridge`"
        + _WHICH,
    ),
    Cause.INTERFACE_EXISTS: (
        "the interface's name is taken already, in the pod or on its node: {reason}",
        "look for the name and for an older sandbox of the pod " + ON_NODE + ": " + _LINKS + "; {see_sandboxes}" + _WHICH,
    ),
    Cause.INTERFACE_CONFIG_FAILED: (
        "the kernel refused the interface's settings on {where}: {reason}",
        "compare address family, MAC and MTU in the definition: {see_nad}; with the kernel "
        + ON_NODE
        + ": `sysctl net.ipv6.conf.all.disable_ipv6`; `ip -d link`"
        + _WHICH,
    ),
    Cause.DEVICE_UNAVAILABLE: (
        "no SR-IOV or host device is there for the pod on {where}: {reason}",
        "see what the nodes offer: `kubectl get nodes -o "
        "jsonpath='{{range .items[*]}}{{.metadata.name}} {{.status.allocatable}}{{\"\\n\"}}{{end}}'`",
    ),
    Cause.DEVICE_CONFIG_FAILED: (
        "the device for {where} is there but could not be configured: {reason}",
        "read the driver's words and see the functions " + ON_NODE + ": `journalctl -k --since -1h`; `ip -d link`" + _WHICH,
    ),
    Cause.MULTUS_UNAUTHORIZED: (
        "the API server refuses Multus' token on the pod's node: every new pod there fails, whatever its networks",
        "delete the Multus pod of that node, so that it writes a new kubeconfig; its name: " + _MULTUS_PODS + _WHICH,
    ),
    Cause.MULTUS_APISERVER_UNREACHABLE: (
        "Multus on the pod's node does not reach the API server: {reason}",
        _API + _WHICH,
    ),
    Cause.MULTUS_DAEMON_UNREACHABLE: (
        "the Multus daemon does not run on the pod's node",
        "see why: " + _MULTUS_PODS + _WHICH,
    ),
    Cause.SECONDARY_CNI_AGENT_TIMEOUT: (
        "the agent that sets up {where} did not finish in time",
        "look at its pod on that node: `kubectl get pods -A -o wide`" + _WHICH,
    ),
    Cause.DEFAULT_CNI_AGENT_TIMEOUT: (
        "not the storage network: the agent of the pod network did not finish in time",
        "look at its pod on that node: " + _CNI_PODS + _WHICH,
    ),
    Cause.DEFAULT_CNI_UNAUTHORIZED: (
        "the API server refuses the token of the plugin for {where}",
        "delete the plugin's pod of that node, so that it writes a new token; its name: " + _CNI_PODS + _WHICH,
    ),
    Cause.DEFAULT_CNI_NOT_READY: (
        "not the storage network: the pod network has not started on the pod's node",
        "see why its pod there is not ready: " + _CNI_PODS + _WHICH,
    ),
    Cause.DEFAULT_CNI_APISERVER_UNREACHABLE: (
        "a network plugin on the pod's node does not reach the API server: {reason}",
        _API + _WHICH,
    ),
    Cause.OTHER_CNI_ERROR: (
        "no known cause; the message ends with: {reason}",
        "read the events around it: {see_pod}; and the runtime's log " + ON_NODE + ": " + _RUNTIME_LOG + _WHICH,
    ),
    Cause.HOST_FIREWALL_ERROR: (
        "the node's firewall rules could not be changed: {reason}",
        "look for a second firewall program that holds the lock " + ON_NODE + ": `iptables --version`; `iptables-save | head`" + _WHICH,
    ),
    Cause.NETNS_MISSING: (
        "the sandbox's network namespace went away while it was being set up",
        "a new attempt normally mends it; if not, look for restarts of the runtime "
        + ON_NODE
        + ": `journalctl -u rke2-server -u rke2-agent --since -1h | grep -i containerd`"
        + _WHICH,
    ),
    Cause.SANDBOX_NAME_RESERVED: (
        "an earlier attempt for this pod is still running: what made it slow is the cause, this is its echo",
        _ECHO,
    ),
    Cause.SANDBOX_IMAGE: (
        "the runtime has no sandbox (pause) image: {reason}",
        "see whether the registry can be reached and the image is there, " + ON_NODE + ": `crictl images | grep pause`" + _WHICH,
    ),
    Cause.RUNTIME_ERROR: (
        "the container runtime failed, not the network: {reason}",
        "read its log " + ON_NODE + ": " + _RUNTIME_LOG + _WHICH,
    ),
    Cause.RUNTIME_TIMEOUT: (
        "the attempt ran into the kubelet's deadline: something slower is the cause, this is its echo",
        _ECHO,
    ),
    Cause.RUNTIME_HANDLER_MISSING: (
        "the pod's RuntimeClass is not set up on its node: {reason}",
        "compare the classes: `kubectl get runtimeclass`; with the runtimes "
        + ON_NODE
        + ": `grep -A3 runtimes /var/lib/rancher/rke2/agent/etc/containerd/config.toml`"
        + _WHICH,
    ),
    Cause.CGROUP_ERROR: (
        "control groups on the pod's node could not be set up: {reason}",
        "kubelet and runtime must use one cgroup driver; the version of cgroups " + ON_NODE + ": `stat -fc %T /sys/fs/cgroup`" + _WHICH,
    ),
    Cause.NODE_RESOURCE_EXHAUSTED: (
        "the pod's node has run out of a resource: {reason}",
        "see which, " + ON_NODE + ": `df -h`; `df -i`; "
        "`sysctl user.max_net_namespaces fs.inotify.max_user_instances kernel.pid_max`" + _WHICH,
    ),
    Cause.POD_GONE: (
        "the pod was deleted while its sandbox was being made: normal",
        "nothing to do, unless {pod} is still listed: {see_node}",
    ),
    Cause.ADDED_INTERFACE: (
        "not a failure: one interface of a pod was set up, on {where}",
        "nothing to do; an added eth0 says nothing of the storage network, only its own interface does",
    ),
    Cause.SANDBOX_CHANGED: (
        "not a cause: the kubelet makes the sandbox anew after each failed attempt",
        "look at the event before it: `kubectl -n {namespace} get events --field-selector reason=FailedCreatePodSandBox`",
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
        "read the whole text: `kubectl -n {namespace} get events --field-selector reason=FailedCreatePodSandBox -o yaml`; or the kubelet's "
        "log " + ON_NODE + ": `journalctl -u rke2-server -u rke2-agent --since -1h | grep -i sandbox`" + _WHICH,
    ),
}
