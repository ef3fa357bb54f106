"""`lhnet-agent check`: the verification steps of Harvester's guide, once, against the cluster of a kubeconfig. Changes nothing."""

import argparse

from agent.cli.parser import Commands, Parser
from agent.cli.steps import EXIT_CODES, add_step_flags, name_nads, places_of, reading_of, run_survey, settings_of, show

EXIT_UNKNOWN = 3


def register(commands: "Commands[Parser]") -> None:
    parser = commands.add_parser(
        "check",
        help="verify the storage network, step by step, as Harvester's guide does",
        description="Goes through the verification steps of Harvester's guide: 1 setting, 2 pods, 3 addresses, 4 reachability. "
        "Only reads. Steps 1 to 3 need no agent. Step 4 is what the running agents measure: one of them is asked for all, at its node's "
        "address or, where that is out of reach, through the API server (`get` on `pods/proxy`); behind a tunnel, with the API server on "
        f"loopback, through the API server alone. Settings agents_client.* hold here too. {EXIT_CODES}",
    )
    add_step_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from agent.rules.steps_all import check_report  # noqa: PLC0415  # keeps --help quick

    settings = settings_of(args, command="check")
    survey = run_survey(args, settings, lambda surveyor: surveyor.for_check(name_nads=name_nads(settings)), command="check")
    if survey is None:
        return EXIT_UNKNOWN
    return show(check_report(survey, reading_of(survey, settings), places=places_of(settings)), output=args.output)
