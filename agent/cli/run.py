"""`lhnet-agent run`: the DaemonSet's main process."""

import argparse
import asyncio
import signal
import sys

from agent.cli.parser import EXIT_USAGE, Commands

EXIT_FAILURE = 1


def register(commands: "Commands") -> None:  # type: ignore[type-arg]  # argparse's class is generic in stubs only
    from agent.config import add_flags  # noqa: PLC0415  # keeps --help quick

    parser = commands.add_parser("run", help="watch this node's storage network and serve what is seen (the DaemonSet's process)")
    add_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """64 for bad settings, 1 for what fails at the start (an address that is taken, no way to the API server), 0 after SIGTERM."""
    # As process 1 of a container we would be deaf to SIGTERM until the loop listens; the imports below take a second or two.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from agent import app, log  # noqa: PLC0415
    from agent.clock import Clock  # noqa: PLC0415
    from agent.config import ConfigError, load_from_args  # noqa: PLC0415
    from agent.edge.kube.errors import KubeError  # noqa: PLC0415

    try:
        settings, _ = load_from_args(args)
    except ConfigError as error:
        print(f"lhnet-agent: {error}", file=sys.stderr)
        return EXIT_USAGE
    handler = log.configure(level=settings.log.level, style=settings.log.format, clock=Clock())
    try:
        asyncio.run(app.serve(settings))
    except (KubeError, OSError) as error:
        print(f"lhnet-agent: cannot start: {error}", file=sys.stderr)
        return EXIT_FAILURE
    finally:
        handler.close()
    return 0
