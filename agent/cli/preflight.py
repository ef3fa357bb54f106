"""`lhnet-agent preflight`: is everything ready for the storage network setting? Asked before it is applied; changes nothing."""

import argparse

from agent.cli.parser import Commands, Parser, cidr_exclude, cidr_range, usage
from agent.cli.steps import EXIT_CODES, add_step_flags, name_nads, places_of, reading_of, run_survey, settings_of, show

EXIT_UNKNOWN = 3
_MAX_VLAN = 4094
_LONGEST_NAME = 63


def register(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "preflight",
        help="see whether everything is ready before the setting storage-network is applied",
        description="Looks at every prerequisite of Harvester's guide. Judges the current setting's value; each option takes the place "
        f"of its part of it, and a given range brings its own excludes. Only reads. {EXIT_CODES} "
        "Without Harvester, steps that only it has are not applicable and pass. The uplinks' speed is asked of the running agents, as by "
        "`check`; where none tells it, it does not count.",
    )
    parser.add_argument("--range", metavar="CIDR", type=cidr_range, help="range that is planned")
    parser.add_argument("--exclude", action="append", default=[], metavar="CIDR", type=cidr_exclude, help="may be given several times")
    parser.add_argument("--cluster-network", metavar="NAME", type=_name, help="Harvester's cluster network that is planned")
    parser.add_argument("--vlan", metavar="N", type=_vlan, help=f"VLAN that is planned, 0 to {_MAX_VLAN}")
    add_step_flags(parser)
    parser.set_defaults(run=run)


def _name(text: str) -> str:
    if not (0 < len(text) <= _LONGEST_NAME and text.isascii() and all(letter.isalnum() or letter in "-." for letter in text)):
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not the name of a cluster network")
    return text


def _vlan(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MAX_VLAN):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a VLAN from 0 to {_MAX_VLAN}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from agent.rules.steps_all import preflight_report  # noqa: PLC0415  # keeps --help quick
    from agent.rules.steps_wanted import wanted_of  # noqa: PLC0415

    if args.exclude and args.range is None:
        usage("lhnet-agent preflight: argument --exclude: says nothing without --range")
    settings = settings_of(args, command="preflight")
    survey = run_survey(args, settings, lambda surveyor: surveyor.for_preflight(name_nads=name_nads(settings)), command="preflight")
    if survey is None:
        return EXIT_UNKNOWN
    reading = reading_of(survey, settings)
    wanted = wanted_of(survey, reading, range_text=args.range, exclude=args.exclude, cluster_network=args.cluster_network, vlan=args.vlan)
    report = preflight_report(survey, reading, wanted, places=places_of(settings), min_mbits=settings.thresholds.uplink_min_mbits)
    return show(report, output=args.output)
