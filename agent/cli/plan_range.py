"""`lhnet-agent plan-range`: is this range good for that cluster? Answers from arithmetic alone; asks no cluster and changes nothing."""

import argparse
import json
import textwrap
from typing import TYPE_CHECKING

from agent.cli.parser import Commands, Parser, add_output, cidr_exclude, cidr_range, usage

if TYPE_CHECKING:
    from agent.model.pool import PlanRange

EXIT_FITS, EXIT_PROBLEMS, EXIT_UNUSABLE = 0, 1, 2
_WIDTH = 80
_MOST = 1_000_000
"""Of nodes, disks and images: far beyond any cluster, and small enough to print."""


def register(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "plan-range",
        help="offline: is a range large enough and free of mistakes?",
        description="Counts a range as whereabouts would and compares it with what the cluster needs. "
        "Exit status: 0 it fits, 1 it has problems, 2 it does not fit or cannot be used.",
    )
    parser.add_argument("--range", required=True, metavar="CIDR", type=cidr_range, help="range of the storage network")
    parser.add_argument("--exclude", action="append", default=[], metavar="CIDR", type=cidr_exclude, help="may be given several times")
    parser.add_argument("--nodes", metavar="N", type=_count, help="nodes that store data; witness nodes need no address")
    parser.add_argument("--disks", metavar="TOTAL", type=_count, help="disks of all nodes together (default: one a node)")
    parser.add_argument("--images", metavar="N", type=_count, help="images uploaded or downloaded at one time (default: 0)")
    parser.add_argument(
        "--rwx",
        choices=("shared", "dedicated", "off"),
        default="off",
        help="RWX volumes share this range, or it is the dedicated range of the RWX network (default: off)",
    )
    parser.add_argument("--v2", action="store_true", help="the V2 data engine is on: one more instance-manager a node")
    parser.add_argument("--harvester", metavar="X.Y", type=_version, help="version of Harvester (default: the newest known)")
    add_output(parser)
    parser.set_defaults(run=_run)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 7 and int(text) <= _MOST):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number from 0 to {_MOST}")
    return int(text)


def _version(text: str) -> tuple[int, int, int]:
    from agent.rules.demand import parse_version  # noqa: PLC0415  # kept out of --help

    try:
        return parse_version(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _run(args: argparse.Namespace) -> int:
    from agent.rules.demand import NEWEST, Rwx  # noqa: PLC0415  # kept out of --help
    from agent.rules.plan_range import plan_range  # noqa: PLC0415  # kept out of --help

    if args.nodes is None:
        given = {"--disks": args.disks is not None, "--images": args.images is not None, "--rwx": args.rwx != "off", "--v2": args.v2}
        if unused := [option for option, there in given.items() if there]:
            usage(f"lhnet-agent plan-range: argument {unused[0]}: says nothing without --nodes")
    plan = plan_range(
        args.range,
        excludes=args.exclude,
        nodes=args.nodes,
        disks=args.disks,
        images=args.images or 0,
        rwx=Rwx(args.rwx),
        v2=args.v2,
        harvester=args.harvester or NEWEST,
    )
    print(json.dumps(as_json(plan), ensure_ascii=False) if args.output == "json" else as_text(plan, cluster=_cluster_words(args)))
    if plan.fits is False or not plan.usable:
        return EXIT_UNUSABLE
    return EXIT_PROBLEMS if plan.problems else EXIT_FITS


def as_json(plan: "PlanRange") -> dict[str, object]:
    """Contract §1. What was not asked is null; `formula` is beyond the contract's keys."""
    demand = plan.demand
    return {
        "range": plan.range,
        "capacity": plan.capacity,
        "first": str(plan.first) if plan.first is not None else None,
        "last": str(plan.last) if plan.last is not None else None,
        "demand": {
            "steady": demand.steady if demand else None,
            "upgrade": demand.upgrade if demand else None,
            "guide": demand.guide if demand else None,
        },
        "fits": plan.fits,
        "smallest_prefix": plan.smallest_prefix,
        "formula": plan.formula,
        "problems": [{"id": problem.id, "summary": problem.summary} for problem in plan.problems],
    }


def _cluster_words(args: argparse.Namespace) -> str | None:
    if args.nodes is None:
        return None
    disks = "one disk each (taken for granted: no --disks)" if args.disks is None else f"{_many(args.disks, 'disk')} in all"
    images = f"{_many(args.images or 0, 'image')} at a time"
    rwx = {"shared": ", RWX shared", "dedicated": ", dedicated RWX range", "off": ""}[args.rwx]
    return f"{_many(args.nodes, 'node')}, {disks}, {images}{rwx}{', V2 engine' if args.v2 else ''}"


def as_text(plan: "PlanRange", *, cluster: str | None) -> str:
    """Eighty columns: the answer first, then how it comes about, then what is wrong."""
    lines = textwrap.wrap(f"{plan.range}: {_headline(plan)}", _WIDTH)
    if plan.capacity and plan.first is not None:
        excluded = f", {plan.excluded} excluded" if plan.excluded else ""
        lines += _row("gives", f"{plan.first} – {plan.last}{excluded}: {_addresses(plan.capacity)}")
    if plan.demand is not None:
        need = plan.demand
        lines += _row("cluster", cluster or "")
        lines += _row("needs", f"{need.steady} now, {need.upgrade} during an upgrade, {need.guide} by the guide")
    lines += _row("formula", plan.formula if plan.demand is not None else f"{plan.formula}; say --nodes and --disks to compare")
    if plan.demand is not None:
        smallest = (
            f"/{plan.smallest_prefix}" if plan.smallest_prefix is not None else "none: too many addresses for a range that Harvester takes"
        )
        lines += _row("smallest", smallest)
    for problem in plan.problems:
        lines += ["", *textwrap.wrap(f"{problem.id}: {problem.summary}", _WIDTH, subsequent_indent="  ")]
    return "\n".join(lines)


def _headline(plan: "PlanRange") -> str:
    count = len(plan.problems)
    problems = f", with {count} {'problem' if count == 1 else 'problems'}" if count else ""
    if not plan.usable or plan.fits is False:
        ids = {problem.id for problem in plan.problems}
        return "too small" if "too-small" in ids and plan.capacity else "cannot be used"
    return f"{_addresses(plan.capacity)}{problems}" if plan.fits is None else f"fits{problems}"


def _addresses(count: int) -> str:
    return f"{count} address" if count == 1 else f"{count} addresses"


def _many(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _row(label: str, text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=f"  {label:<9}", subsequent_indent=" " * 11)
