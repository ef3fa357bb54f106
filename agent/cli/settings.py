"""`lhnet-agent config`: the effective settings, each with where it came from, before anything is started with them."""

import argparse
import json
import sys

from agent.cli.parser import Commands, add_output, usage
from agent.config import ConfigError, add_flags, effective, load_from_args


def register(commands: "Commands[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "config",
        help="print the effective settings with where each came from",
        description="Prints the settings that `run` would start with, and for each whether it is the default or who set it.",
    )
    add_flags(parser)
    add_output(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    try:
        settings, origins = load_from_args(args)
    except ConfigError as error:
        usage(f"lhnet-agent config: {error}")
    values = effective(settings)
    if args.output == "json":
        document = {key: {"value": value, "origin": origins[key]} for key, value in values.items()}
        sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
        return 0
    width = max(len(key) for key in values)
    for key, value in values.items():
        sys.stdout.write(f"{key:<{width}}  {_text(value):<32}  {origins[key]}\n")
    return 0


def _text(value: object) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
