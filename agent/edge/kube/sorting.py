"""Sorts what aiohttp raises, and what a server answers instead of a success, into our own short list of errors.

Texts of servers are cut and put on one line here, since they end up in status lines.
"""

import asyncio
import os
import re

import aiohttp

from agent.edge.kube.errors import (
    AnswerTimedOut,
    BadAnswer,
    ConnectFailed,
    ConnectionLost,
    ConnectTimedOut,
    KubeError,
    NoAccess,
    TlsFailed,
    one_line,
    refusal,
)
from agent.edge.kube.wire import STATUS, decode

ERROR_BODY_BYTES = 64 << 10
"""More of an error page is not worth reading."""
RETRY_AFTER_SECONDS = 60.0
"""A server may ask for a pause; not for a day."""
_CONTEXT = re.compile(r" ssl:(?:<[^<>]{0,200}>|\w{1,20})")
"""In aiohttp's texts: an object of Python's, which tells people nothing."""


def sort_error(error: Exception, *, what: str, connect_seconds: float, answer_seconds: float) -> KubeError:
    """For exceptions until the answer's header is there. The most special classes stand first."""
    text = one_line(_CONTEXT.sub("", str(error))) or type(error).__name__
    made: KubeError
    match error:
        case aiohttp.ConnectionTimeoutError():
            made = ConnectTimedOut(f"{what}: no TCP and TLS connection within {connect_seconds:g} s")
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            made = TlsFailed(f"{what}: {text}")
        case aiohttp.ClientConnectorError():
            made = ConnectFailed(f"{what}: {_why_no_connection(error) or text}")
        case aiohttp.ClientHttpProxyError():
            made = ConnectFailed(f"{what}: the proxy answered {error.status}")
        case aiohttp.ClientResponseError():
            made = BadAnswer(f"{what}: this is not HTTP: {text}")
        case aiohttp.InvalidURL():
            made = NoAccess(f"{what}: not an address")
        case TimeoutError() if error.errno is None:
            # The kernel's ETIMEDOUT (keepalive, TCP_USER_TIMEOUT) is a TimeoutError, too, but has its number.
            made = AnswerTimedOut(f"{what}: connected, but no answer within {answer_seconds:g} s")
        case _:
            made = ConnectionLost(f"{what}: {text}")
    return made


def _why_no_connection(error: aiohttp.ClientConnectorError) -> str | None:
    """The kernel's word or the resolver's: aiohttp's own text repeats the address, which `what` names already."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return one_line(error.strerror) if error.strerror else None


def cut_text(error: Exception) -> str:
    """Why a body ended early: the kernel's word where there is one (reset, keepalive timed out), not aiohttp's about its framing."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__
    return "the connection ended before the answer did"


async def refusal_of(response: aiohttp.ClientResponse, *, what: str, origin: str) -> KubeError:
    """The server's own words where it gave a Status object, else the start of whatever it sent."""
    if response.status < 400:
        return BadAnswer(f"{what}: unexpected status {response.status}")
    try:
        async with asyncio.timeout(5):
            body = await response.content.read(ERROR_BODY_BYTES)
    except (aiohttp.ClientError, OSError, ValueError):
        body = b""
    retry_after = retry_after_seconds(response.headers.get("Retry-After"))
    try:
        status = decode(body, decoder=STATUS, what="status")
        text = status.message or ""
        if retry_after is None and status.details is not None:
            retry_after = retry_after_seconds(str(status.details.retry_after_seconds))
    except BadAnswer:
        text = body.decode("utf-8", "replace")
    text = text or response.reason or "no reason given"
    if response.status == 401:
        text += f" ({origin})"
    return refusal(status=response.status, message=f"{what}: {text}", retry_after_seconds=retry_after)


def retry_after_seconds(text: str | None) -> float | None:
    """Seconds only: the date form would bring in our wall clock."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 9:
        return None
    return min(float(text), RETRY_AFTER_SECONDS)
