"""`lhnet-agent lab`: brings the lab up and down, breaks and mends it, and shows it. Everything happens in agent.lab; here are words."""

import argparse
import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.parser import Commands, Parser, add_output, usage

if TYPE_CHECKING:
    from agent.lab.client import LabClient, Wish

WIDTH = 80
MOST_NODES = 60


def register(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "lab",
        help="a small storage network on this machine, with real interfaces and real agents (root, Linux)",
        description="Builds a small Harvester storage network out of network namespaces on this machine, with one real agent per node.",
    )
    parser.set_defaults(run=lambda _: usage("lhnet-agent lab: name a command: up, status, faults, inject, clear, down"))
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", parser_class=Parser)
    up = _action(actions, "up", _up, "build a lab; returns when all agents are ready")
    up.add_argument("--nodes", type=_node_count, default=3, metavar="N", help="number of nodes (default: 3)")
    up.add_argument(
        "--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings", help="a setting of the agents"
    )
    up.add_argument("--range", metavar="CIDR", help="the storage network's range; a small one can be filled (default: 192.168.0.0/24)")
    up.add_argument(
        "--witness", type=_count, default=0, metavar="N", help="how many of the nodes, the last ones, are witnesses (default: 0)"
    )
    up.add_argument("--mtu", type=_count, default=1500, metavar="BYTES", help="of the whole storage path (default: 1500)")
    up.add_argument(
        "--mode",
        choices=("on", "off", "applying", "uninitialised"),
        default="on",
        help="state of the setting storage-network (default: on)",
    )
    up.add_argument("--no-harvester", action="store_false", dest="harvester", help="Longhorn alone: a NAD, and Longhorn's own setting")
    up.add_argument("--rwx", action="store_true", help="with a network of their own for share-managers and csi-plugins (lhnet2)")
    up.add_argument("--foreground", action="store_true", help="stay until Ctrl-C, then take the lab down")
    up.add_argument("--manifests", type=Path, metavar="DIR", help="read the DaemonSet from here (default: manifests/overlays/harvester)")
    up.add_argument("--agent-command", default="", help=argparse.SUPPRESS)
    _action(actions, "status", _status, "show nodes, pods, addresses and active faults")
    _action(actions, "faults", _faults, "list what can be broken")
    _action(actions, "controls", _controls, "list what happens in a healthy cluster and must not be called broken; inject takes them too")
    inject = _action(actions, "inject", _inject, "break one thing for real")
    inject.add_argument("name", metavar="NAME", help="a fault of `lab faults`, or a control of `lab controls`")
    inject.add_argument("--node", metavar="N", help="on this node")
    inject.add_argument("--pod", metavar="P", help="this pod: namespace/name, name, or a unique beginning of it")
    inject.add_argument("--peer", metavar="P", help="the pod at the other end")
    clear = _action(actions, "clear", _clear, "mend one fault, or all")
    clear.add_argument("name", nargs="?", metavar="NAME", help="a fault that is active (default: all)")
    _action(actions, "down", _down, "take the lab down; nothing is left behind")


def _action(actions: "Commands[Parser]", name: str, run: Any, text: str) -> Parser:
    parser = actions.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.add_argument("--name", dest="lab_name", metavar="LAB", help="another lab beside the first") if name not in (
        "faults",
        "controls",
    ) else None
    add_output(parser)
    parser.set_defaults(run=lambda args: _guarded(run, args))
    return parser


def _guarded(run: Any, args: argparse.Namespace) -> int:
    try:
        from agent.lab.client import LabError  # noqa: PLC0415  # the lab is not part of the production image
        from agent.lab.repertoire import FaultUsageError  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.stderr.write(f"lhnet-agent lab: {error.name} is missing; pip install 'lhnet-agent[lab]'\n")
        return 1
    try:
        status: int = run(args)
    except FaultUsageError as error:
        usage(f"lhnet-agent lab {args.action}: {error}")
    except LabError as error:
        sys.stderr.write(f"lhnet-agent lab {args.action}: {error}\n")
        return error.status
    return status


def _client(args: argparse.Namespace) -> "LabClient":
    from agent.lab.client import LabClient  # noqa: PLC0415
    from agent.lab.folder import lab_folder  # noqa: PLC0415

    return LabClient(lab_folder(args.lab_name))


def _node_count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_NODES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_NODES}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 6:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a number")
    return int(text)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, e.g. probe.interval_seconds=5")
    return key, value


def _up(args: argparse.Namespace) -> int:
    import shlex  # noqa: PLC0415

    from agent.lab.client import Wish  # noqa: PLC0415
    from agent.lab.manifest import DEFAULT_FOLDER  # noqa: PLC0415
    from agent.lab.plan import STORAGE_RANGE  # noqa: PLC0415

    client = _client(args)
    wish = Wish(
        nodes=args.nodes,
        witnesses=args.witness,
        range=args.range or STORAGE_RANGE,
        mtu_bytes=args.mtu,
        mode=args.mode,
        harvester=args.harvester,
        rwx=args.rwx,
        settings=dict(args.settings),
        manifests=args.manifests or DEFAULT_FOLDER,
        command=shlex.split(args.agent_command),
    )
    _refuse_impossible(wish)
    status = client.up(wish, stay=not args.foreground, note=_note)
    sys.stdout.write(json.dumps(status) + "\n" if args.output == "json" else _welcome(status, args))
    sys.stdout.flush()
    return _stay(client) if args.foreground else 0


def _refuse_impossible(wish: "Wish") -> None:
    """Ends the program with one line for a cluster that there is not, or a range in which this lab cannot be built."""
    from ipaddress import IPv4Network  # noqa: PLC0415

    from agent.lab.plan import OWN_NETWORKS, ShapeError, plan_of  # noqa: PLC0415

    try:
        own = IPv4Network(wish.range)
    except ValueError as error:
        usage(f"lhnet-agent lab up: --range: {wish.range} is no IPv4 network such as 192.168.7.0/28: {error}")
    try:
        plan_of(wish.shape())
    except ShapeError as error:
        usage(f"lhnet-agent lab up: {error.option}: {error}")
    for network in OWN_NETWORKS:
        if own.overlaps(IPv4Network(network)):
            usage(f"lhnet-agent lab up: --range: {wish.range} overlaps {network}, which the lab itself uses")


def _note(what: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"lab: {what} …\n")


def _stay(client: "LabClient") -> int:
    try:
        client.wait()
    except KeyboardInterrupt:
        client.down()
        return 0
    sys.stderr.write("lhnet-agent lab up: the lab was taken down\n")
    return 0


def _status(args: argparse.Namespace) -> int:
    status = _client(args).ask("status")
    sys.stdout.write(json.dumps(status) + "\n" if args.output == "json" else _status_text(status))
    return 0


def _faults(args: argparse.Namespace) -> int:
    from agent.lab.repertoire import FAULTS  # noqa: PLC0415

    return _listed([fault.as_json() for fault in FAULTS.values()], args)


def _controls(args: argparse.Namespace) -> int:
    from agent.lab.repertoire import CONTROLS  # noqa: PLC0415

    return _listed([each.as_json() for each in CONTROLS.values()], args)


def _listed(faults: list[dict[str, Any]], args: argparse.Namespace) -> int:
    sys.stdout.write(json.dumps(faults) + "\n" if args.output == "json" else "\n".join(map(_fault_text, faults)))
    return 0


def _inject(args: argparse.Namespace) -> int:
    from agent.lab.repertoire import find  # noqa: PLC0415

    find(args.name)
    active = _client(args).ask("inject", name=args.name, node=args.node, pod=args.pod, peer=args.peer)
    sys.stdout.write(json.dumps(active) + "\n" if args.output == "json" else f"broken: {_active_text(active)}\n")
    return 0


def _clear(args: argparse.Namespace) -> int:
    from agent.lab.repertoire import find  # noqa: PLC0415

    if args.name is not None:
        find(args.name)
    cleared = _client(args).ask("clear", name=args.name)
    if args.output == "json":
        sys.stdout.write(json.dumps(cleared) + "\n")
    else:
        sys.stdout.write("".join(f"mended: {_active_text(active)}\n" for active in cleared) or "nothing was broken\n")
    return 0


def _down(args: argparse.Namespace) -> int:
    was_running = _client(args).down()
    if args.output == "json":
        sys.stdout.write(json.dumps({"was_running": was_running}) + "\n")
    else:
        sys.stdout.write("the lab is down, nothing is left\n" if was_running else "no lab was running\n")
    return 0


def _welcome(status: dict[str, Any], args: argparse.Namespace) -> str:
    name = f" --name {args.lab_name}" if args.lab_name else ""
    lines = [f"the lab is up: {len(status['nodes'])} nodes, {len(status['nodes'])} agents ready", ""]
    lines += [f"  {node:<10} curl {values['agent_url']}" for node, values in status["nodes"].items()]
    lines += [
        "",
        f"export KUBECONFIG={status['kubeconfig']}",
        f"break something:  lhnet-agent lab inject link-down{name}",
        f"see what else:    lhnet-agent lab faults      end it:  lhnet-agent lab down{name}",
    ]
    return "\n".join(lines) + "\n"


def _status_text(status: dict[str, Any]) -> str:
    lines = [f"API  {status['api']}  {status['api_kind']}", f"     KUBECONFIG={status['kubeconfig']}", ""]
    for node, values in status["nodes"].items():
        agent = f"agent pid {values['agent_pid']}" if values["agent_pid"] else "agent is down"
        lines.append(f"{node}  {values['agent_url']}  {agent}")
        lines.append(f"  nsenter --net={values['netns']}")
        for pod, facts in values["pods"].items():
            lines.append(f"  {pod}")
            lines.append(f"    {facts['role'] or 'tenant':<6} {facts['address'] or '-':<15} eth0 {facts['pod_ip']:<13} {facts['netns']}")
    lines.append("")
    active = status["faults"]
    lines += [f"broken: {_active_text(fault)}, {fault['age_seconds']:.0f} s ago" for fault in active] or ["nothing is broken"]
    return "\n".join(lines) + "\n"


def _fault_text(fault: dict[str, Any]) -> str:
    lines = _wrap(fault["breaks"])
    found = ", ".join(f"{finding['id']} ({finding['where']})" for finding in fault["findings"]) or "none"
    options = " ".join(f"[--{target} {target[0].upper()}]" for target in fault["targets"])
    return "\n".join(
        [f"{fault['name']} {options}".rstrip(), *(f"  {line}" for line in [*lines, *_wrap(f"finding: {found}")])]
    ) + "\n"  # fmt: skip


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, width=WIDTH - 2, break_on_hyphens=False)


def _active_text(active: dict[str, Any]) -> str:
    where = [f"{key} {active[key]}" for key in ("node", "pod", "peer") if active.get(key)]
    return ", ".join([active["name"], *where])
