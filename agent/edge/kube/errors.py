"""What can go wrong between us and an API server, sorted once at this edge; the original exception is always the cause.

    KubeError
    ├── NoAccess             no address, token, CA or kubeconfig to begin with
    ├── Unreachable          no complete answer came
    │   ├── ConnectFailed    refused, no route, a name that does not resolve
    │   ├── ConnectTimedOut  neither TCP nor TLS came about in time
    │   ├── TlsFailed        the server's certificate or its TLS was not accepted
    │   ├── AnswerTimedOut   connected, asked, and nothing (more) came in time
    │   └── ConnectionLost   cut in the middle
    ├── BadAnswer            an answer that is no Kubernetes API's: garbage, wrong shape
    │   └── TooLong          beyond our bounds on lines, bodies or pages
    └── Refused              an HTTP status, or a Status object inside a watch
        ├── Unauthorized     401
        ├── Forbidden        403
        ├── Absent           404
        ├── Conflict         409
        ├── Expired          410
        ├── Throttled        429, with `retry_after_seconds`
        └── ServerFailed     5xx, with `retry_after_seconds`

Nothing here decides about a retry; the reflector does.
"""

MESSAGE_CHARS = 300
"""Server texts end up in a status line; a Status message can hold a megabyte."""


class KubeError(Exception):
    """`str()` is one line for people."""


class NoAccess(KubeError):
    pass


class Unreachable(KubeError):
    pass


class ConnectFailed(Unreachable):
    pass


class ConnectTimedOut(Unreachable):
    pass


class TlsFailed(Unreachable):
    pass


class AnswerTimedOut(Unreachable):
    pass


class ConnectionLost(Unreachable):
    pass


class BadAnswer(KubeError):
    pass


class TooLong(BadAnswer):
    pass


class Refused(KubeError):
    """`status` is the HTTP status or the `code` of a Status object."""

    def __init__(self, message: str, *, status: int, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_seconds = retry_after_seconds


class Unauthorized(Refused):
    pass


class Forbidden(Refused):
    pass


class Absent(Refused):
    pass


class Conflict(Refused):
    pass


class Expired(Refused):
    pass


class Throttled(Refused):
    pass


class ServerFailed(Refused):
    pass


_BY_STATUS: dict[int, type[Refused]] = {401: Unauthorized, 403: Forbidden, 404: Absent, 409: Conflict, 410: Expired, 429: Throttled}


def refusal(*, status: int, message: str, retry_after_seconds: float | None = None) -> Refused:
    """The error for an HTTP status or a Status object's code. Anything below 400 is no refusal but still no answer we can use."""
    kind = _BY_STATUS.get(status, ServerFailed if 500 <= status <= 599 else Refused)
    return kind(f"{status}: {one_line(message)}", status=status, retry_after_seconds=retry_after_seconds)


def one_line(text: str) -> str:
    """Foreign text for a status line: whitespace collapsed, control characters gone, cut."""
    plain = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * MESSAGE_CHARS])
    joined = " ".join(plain.split())
    return joined if len(joined) <= MESSAGE_CHARS else joined[: MESSAGE_CHARS - 1] + "…"
