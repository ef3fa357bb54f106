"""Argument parsing with the exit status and the brevity that scripts rely on: 64 and one line that names the option."""

import argparse
import sys
from typing import NoReturn

EXIT_USAGE = 64
"""EX_USAGE of sysexits.h; 2 would read as CRITICAL in the monitoring-plugin convention."""


class Parser(argparse.ArgumentParser):
    def __init__(self, *args: object, **kwargs: object) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # handed through as given

    def error(self, message: str) -> NoReturn:
        usage(f"{self.prog}: {message}")


def usage(line: str) -> NoReturn:
    """One line on standard error, exit 64."""
    sys.stderr.write(" ".join(line.split()) + "\n")
    raise SystemExit(EXIT_USAGE)


def cidr_range(text: str) -> str:
    """Argument type: a range as whereabouts takes it. The text stays as given."""
    from agent.rules.ipam_range import whereabouts_range  # noqa: PLC0415  # kept out of --help

    try:
        whereabouts_range(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def cidr_exclude(text: str) -> str:
    """Argument type: what `exclude` may hold, a CIDR or a bare address."""
    from agent.rules.ipam_range import parse_address, parse_cidr  # noqa: PLC0415  # kept out of --help

    try:
        if "/" in text:
            parse_cidr(text)
        else:
            parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is neither a CIDR nor an address") from error
    return text


def add_output(parser: argparse.ArgumentParser) -> None:
    """`-o text|json`, for every command that prints a result."""
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print the result (default: text)")


Commands = argparse._SubParsersAction
"""What `register(commands)` of a command module is given: `commands.add_parser("name", help=…)`, then `set_defaults(run=function)`,
where the function takes the parsed arguments and returns the exit status."""
