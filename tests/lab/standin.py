"""A program that takes the agent's place in a lab: answers HTTP on the agent's port and tells how it was confined.

Run as a script inside the lab; standard library only, since it stands where the agent's container would.
"""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


def facts() -> dict[str, object]:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    return {
        "capabilities": {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privs": status["NoNewPrivs"],
        "environment": dict(os.environ),
        "mounts": Path("/proc/self/mountinfo").read_text().splitlines(),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "netns_files": sorted(os.listdir("/var/run/netns")),
        "namespaces": [
            name
            for name in sorted(os.listdir("/var/run/netns"))
            if os.stat(f"/var/run/netns/{name}").st_dev == os.stat("/proc/self/ns/net").st_dev
        ],
        "token": Path("/var/run/secrets/kubernetes.io/serviceaccount/token").read_text(),
        "writable": [path for path in ("/", "/etc", "/tmp", "/run", "/var/run/netns", "/var/lib/lhnet-agent") if writable(path)],
        "arguments": sys.argv[1:],
    }


def writable(folder: str) -> bool:
    probe = Path(folder, "written-by-the-standin")
    try:
        probe.touch()
    except OSError:
        return False
    probe.unlink()
    return True


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(facts()).encode() if self.path == "/facts" else b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 9811), Handler).serve_forever()
