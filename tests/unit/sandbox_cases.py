"""Shapes and reasons of sandbox messages, to be multiplied: what stands around a reason, by runtime and Multus version, and the reasons."""

from agent.model.events import Cause

POD, NAMESPACE, UID = "instance-manager-8d07aa", "longhorn-system", "7d6995ee-60a6-4f67-b9ea-246a73a4df54"
SANDBOX = "04e9bc160c4f1da612e2bb52dadc86702817ac557e641a3b07b7c4a340c9fc48"
STDIN_BYTES = " ".join(
    str(value) for value in b'{"clusterNetwork":"/host/etc/cni/net.d/05.conf","readinessindicatorfile":"/run/multus/x"}' * 40
)

KUBELETS = (
    "Failed to create pod sandbox: rpc error: code = Unknown desc = ",
    "Failed create pod sandbox: rpc error: code = Unknown desc = ",
)
DOCKERSHIM = (
    f'failed to set up sandbox container "{SANDBOX}" network for pod "{POD}": networkPlugin cni '
    f'failed to set up pod "{POD}_{NAMESPACE}" network: '
)
RUNTIMES = {
    "containerd-1": (f'failed to setup network for sandbox "{SANDBOX}": ', ""),
    "containerd-2": (f'failed to start sandbox "{SANDBOX}": failed to setup network for sandbox "{SANDBOX}": ', ""),
    "dockershim": (DOCKERSHIM, ""),
    "dockershim-list": (
        "[" + DOCKERSHIM,
        f', failed to clean up sandbox container "{SANDBOX}" network for pod "{POD}": networkPlugin cni failed to teardown pod '
        f'"{POD}_{NAMESPACE}" network: delegateDel: error invoking DelegateDel - "bridge": no space left on device]',
    ),
    "cri-o": (
        f"failed to create pod network sandbox k8s_{POD}_{NAMESPACE}_{UID}_0({SANDBOX}): error adding pod {NAMESPACE}_{POD} to CNI network "
        '"multus-cni-network": ',
        "",
    ),
}
_LAYER = 'plugin type="multus" name="multus-cni-network" failed (add): '
SHIM = 'plugin type="multus-shim" name="multus-cni-network" failed (add): CmdAdd (shim): CNI request failed with status 400: '
SHIM_ARGS = f"K8S_POD_NAMESPACE={NAMESPACE};K8S_POD_NAME={POD};K8S_POD_INFRA_CONTAINER_ID={SANDBOX};K8S_POD_UID={UID}"
MULTUS = {
    "3.2": ('Multus: Err adding pod to network "{net}": Multus: error in invoke Delegate add - "bridge": ', ""),
    "3.3-snapshot": ('Multus: error adding pod to network "{net}": delegateAdd: error invoking DelegateAdd - "bridge": ', ""),
    "3.4.0": (
        f"Multus: [{NAMESPACE}/{POD}]: "
        + 'error adding container to network "{net}": delegateAdd: error invoking DelegateAdd - "bridge": ',
        "",
    ),
    "3.6": (f"[{NAMESPACE}/{POD}:" + '{net}]: error adding container to network "{net}": ', ""),
    "3.9-dockershim": (_LAYER + f"[{NAMESPACE}/{POD}/:" + '{net}]: error adding container to network "{net}": ', ""),
    "4": (
        _LAYER + f"[{NAMESPACE}/{POD}/{UID}:" + '{net}]: error adding container to network "{net}": plugin type="bridge" failed (add): ',
        "",
    ),
    "4-nested": (
        _LAYER
        + f'[{NAMESPACE}/{POD}/{UID}:multus-cni-network]: error adding container to network "multus-cni-network": [{NAMESPACE}/{POD}/{UID}:'
        + '{net}]: error adding container to network "{net}": ',
        "",
    ),
    "4.0-thick": (
        SHIM
        + f"'&{{{{ContainerID:{SANDBOX} Netns:/x IfName:eth0 Args:{SHIM_ARGS} Path: StdinData:[{STDIN_BYTES}]}}}} ERRORED: "
        + f"error configuring pod [{NAMESPACE}/{POD}] networking: [{NAMESPACE}/{POD}/{UID}:"
        + '{net}]: error adding container to network "{net}": ',
        "\n'",
    ),
    "4.1-thick": (
        SHIM
        + f'\'ContainerID:"{SANDBOX}" Netns:"/var/run/netns/cni-1" IfName:"eth0" Args:"{SHIM_ARGS}" Path:"" ERRORED: error configuring pod '
        + f"[{NAMESPACE}/{POD}] networking: [{NAMESPACE}/{POD}/{UID}:"
        + '{net}]: error adding container to network "{net}": ',
        '\n\': StdinData: {"name":"multus-cni-network","readinessindicatorfile":"/run/flannel/subnet.env","x":"whereabouts panic:"}',
    ),
}
FULL_NEW = "Could not allocate IP in range: ip: 192.168.7.1 / - 192.168.7.6 / range: 192.168.7.0/29 / excludeRanges: [192.168.7.1/32]"
FULL_OLD = (
    "Could not allocate IP in range: ip: 172.16.0.1 / - 172.16.0.6 / range: net.IPNet{IP:net.IP{0xac, 0x10, 0x0, 0x0}, "
    "Mask:net.IPMask{0xff, 0xff, 0xff, 0xf8}}"
)
C = Cause
REASONS: dict[Cause, tuple[str, ...]] = {
    C.IP_EXHAUSTED: ("error at storage engine: " + FULL_NEW, "Error at storage engine: " + FULL_OLD),
    C.IP_EXHAUSTED_SECONDARY: (
        "failed to allocate for range 0: no IP addresses available in range set: 192.168.7.1-192.168.7.6",
        "spiderpool IP allocation error: all IP addresses used out",
    ),
    C.IPAM_RANGE_INVALID: (
        "error at storage engine: net mask is too short, subnet {192.168.205.0 ffffffff} has no usable IP addresses, it is too small",
        "Error at storage engine: Net mask is too short, must be 2 or more: 1",
        'could not parse exclude range, err: "invalid CIDR address: 300.1.1.1/32"',
        "invalid CIDR (do you have the 'range' parameter set for Whereabouts?) '': invalid CIDR address: ",
        "invalid CIDR in exclude list x/32: invalid CIDR address: x/32",
    ),
    C.IPAM_LOCK_TIMEOUT: ("error at storage engine: time limit exceeded while waiting to become leader",),
    C.IPAM_DATASTORE_ERROR: (
        "error at storage engine: k8s get error: the server could not find the requested resource "
        "(get ippools.whereabouts.cni.cncf.io 192.168.7.0-29)",
        'error at storage engine: k8s get OverlappingRangeIPReservation error: x is forbidden: User "a:b" cannot get resource',
        "error at storage engine: IPAM client initialization error: no pod name",
        "failed to create Kubernetes IPAM manager: failed instantiating kubernetes client: no such file",
        "Error at storage engine: ETCD get error: context deadline exceeded",
        "error at storage engine: something that nobody wrote yet",
    ),
    C.IPAM_PLUGIN_CRASH: (
        'netplugin failed: "2024-11-27T05:09:21Z [debug] ADD - IPAM configuration successfully read\\npanic: runtime error',
        'netplugin failed: "panic: runtime error: nil\\ngithub.com/k8snetworkplumbingwg/whereabouts/pkg/storage',
    ),
    C.IPAM_DHCP_NO_ANSWER: (
        "error calling DHCP.Allocate: no more tries",
        "error dialing DHCP daemon: dial unix /run/cni/dhcp.sock: connect: refused",
    ),
    C.ADDRESS_CONFLICT: (
        "failed to allocate for range 0: requested IP address 192.168.7.3 is not available in range set 192.168.7.1-192.168.7.6",
        "container address 10.1.1.1/24 is already in use",
        'failed to add IP addr {Interface:0xc0 Address:{IP:10.2.27.108 Mask:ffffff00}} to "net1": address already in use',
        "resource already exists: 10.1.2.3",
        "update: exhaust all retries, failed to re-allocate StatefulSet pod SpiderIPPool IP '192.168.1.177' in IPPool ippool",
    ),
    C.CNI_PLUGIN_MISSING: ('failed to find plugin "whereabouts" in path [/opt/cni/bin]',),
    C.CNI_VERSION_MISMATCH: (
        'unsupported CNI result version "1.0.0"',
        'incompatible CNI versions; config is "1.0.0", plugin supports ["0.4.0"]',
    ),
    C.MASTER_LINK_MISSING: ("Link not found", 'failed to lookup master "ens5": Link not found', "route ip+net: no such network interface"),
    C.MASTER_LINK_BUSY: ("failed to create macvlan: device or resource busy", "device or resource busy"),
    C.BRIDGE_MISSING: ("failed to find bridge br-lan",),
    C.BRIDGE_SETUP_FAILED: (
        'failed to set bridge addr: "storage-br" already has an IP address different from 10.1.1.1/24',
        'failed to set bridge addr: could not add IP address to "cni0": file exists',
    ),
    C.INTERFACE_EXISTS: (
        "container veth name provided (lhnet1) already exists",
        'interface name "lhnet1" already exists',
        'cannot set "" ifname to "lhnet1": ifname lhnet1 is already exist',
        "failed to create vlan: file exists",
    ),
    C.INTERFACE_CONFIG_FAILED: (
        'failed to add IP addr {Version:6 Interface:0xc0 Address:{IP:fd00::2 Mask:ffff}} to "lhnet1": permission denied',
        "failed to create macvlan: invalid argument",
        "failed to create macvlan: cannot assign requested address",
        "open /proc/sys/net/ipv6/conf/lhnet1/accept_dad: read-only file system",
    ),
    C.DEVICE_UNAVAILABLE: (
        "SRIOV-CNI failed to load netconf: LoadConf(): VF pci addr is required",
        'SRIOV-CNI failed to load netconf: LoadConf(): failed to get VF information: "lstat /sys/bus"',
    ),
    C.DEVICE_CONFIG_FAILED: (
        'SRIOV-CNI failed to configure VF "failed to set vf 5 vlan: operation not permitted"',
        'failed to set up pod interface "net8" from the device "p2p1": x',
    ),
    C.SECONDARY_CNI_AGENT_TIMEOUT: (
        "CNI request failed with status 400: '[a/b c] failed to get pod annotation: timed out waiting for annotations: "
        "context deadline exceeded'",
        "CNI request failed with status 400: 'failed to configure pod interface: timed out waiting for OVS port binding'",
    ),
    C.NETNS_MISSING: ('failed to Statfs "/proc/71658/ns/net": no such file or directory', 'failed to open netns "/var/run/netns/cni-6": x'),
    C.HOST_FIREWALL_ERROR: ("running [/usr/sbin/iptables -t nat -C CNI-1 --wait]: exit status 4",),
    C.NODE_RESOURCE_EXHAUSTED: (
        "fork/exec /opt/cni/bin/bridge: resource temporarily unavailable",
        "write /var/lib/cni/x: no space left on device",
    ),
    C.CNI_PLUGIN_CRASH: (
        "netplugin failed with no error message",
        'netplugin failed: "panic: runtime error: index out of range\\ngoroutine 1',
    ),
    C.CNI_CONFIG_INVALID: (
        "invalid character 'd' looking for beginning of value",
        'netplugin failed but error parsing its diagnostic message ""',
    ),
    C.OTHER_CNI_ERROR: ("failed to frobnicate the gadget",),
}
