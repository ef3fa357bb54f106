"""The command line: parses words, starts things, prints. Judges nothing.

Each command lives in a module of its own with `register(commands)`; heavy imports stand inside the functions, so that `--help` is quick
and a machine without Linux namespaces can still explain an event.
"""

import sys
from collections.abc import Sequence
from typing import Any

from agent import __version__
from agent.cli.parser import EXIT_USAGE, Parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `lhnet-agent` and `kubectl-lhnet`. Returns the exit status; usage errors end with 64 and one line on stderr."""
    parser = Parser(prog="lhnet-agent", description="Diagnoses the Longhorn storage network, node by node.")
    parser.add_argument("--version", action="version", version=f"lhnet-agent {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for module in _modules():
        module.register(commands)
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_usage(sys.stderr)
        return EXIT_USAGE
    try:
        status: int = args.run(args)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    return status


def _modules() -> list[Any]:
    """One module a command; the image of the DaemonSet comes without the lab."""
    from importlib import import_module, util  # noqa: PLC0415  # only here: the list below is the one place that knows the commands

    names = ("run", "check", "preflight", "settings", "plan_range", "explain_event", "lab")
    return [import_module(f"agent.cli.{name}") for name in names if name != "lab" or util.find_spec("agent.cli.lab")]
