"""One answer of another agent, taken apart: bounded, decoded, and every way to fail sorted into our own short list."""

import errno
import os
import ssl
from typing import Any

import aiohttp
import msgspec

from agent.model.gathered import Silence

BODY_BYTES = 512 * 1024
"""Unpacked. A status with 64 failing pairs is some 100 kB."""
DEPTH = 24
"""Our documents are six deep; what is nested without end would end whoever encodes it again."""
_PIECE_BYTES = 64 * 1024
_SAID_CHARACTERS = 160


class Unanswered(Exception):
    """Why there is no document; `why` is one line for people."""

    def __init__(self, silence: Silence, why: str) -> None:
        super().__init__(why)
        self.silence = silence
        self.why = why


async def read_document(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The answer's JSON object. Raises Unanswered for another status, too much, or no JSON object."""
    if response.status != 200:
        raise Unanswered(Silence.HTTP, f"http {response.status}")
    body = bytearray()
    async for piece in response.content.iter_chunked(_PIECE_BYTES):
        body += piece
        if len(body) > BODY_BYTES:
            raise Unanswered(Silence.BAD_ANSWER, f"bad answer: more than {BODY_BYTES // 1024} kB")
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise Unanswered(Silence.BAD_ANSWER, f"bad answer: {one_line(str(error))}") from error
    except RecursionError as error:
        raise Unanswered(Silence.BAD_ANSWER, "bad answer: nested too deep") from error
    if not isinstance(document, dict):
        raise Unanswered(Silence.BAD_ANSWER, "bad answer: not a JSON object")
    if not _shallow(document):
        raise Unanswered(Silence.BAD_ANSWER, "bad answer: nested too deep")
    return document


def sort_failure(error: Exception) -> Unanswered:
    """What aiohttp, TLS or the kernel raised, in our words."""
    silence, why = Silence.BROKEN, f"broken off: {one_line(str(error)) or type(error).__name__}"
    match error:
        case Unanswered():
            silence, why = error.silence, error.why
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            why = f"tls: {one_line(_cause_text(error))}"
        case OSError() if error.errno is not None:
            silence, why = _sort_number(error.errno)
        case TimeoutError():
            silence, why = Silence.SILENT, "silent"
        case aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            silence, why = Silence.BAD_ANSWER, f"bad answer: {one_line(str(error))}"
        case ValueError():
            silence, why = Silence.OURS, f"not asked: {one_line(str(error))}"
    return Unanswered(silence, why)


def _sort_number(number: int) -> tuple[Silence, str]:
    if number == errno.ECONNREFUSED:
        return Silence.REFUSED, "refused"
    if number in (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.EHOSTDOWN):
        return Silence.SILENT, "silent" if number == errno.ETIMEDOUT else "silent: no neighbour answers"
    if number in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        return Silence.OURS, f"not asked: {os.strerror(number)}"
    return Silence.BROKEN, f"broken off: {os.strerror(number)}"


def _cause_text(error: BaseException) -> str:
    return str(getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error)


def one_line(text: str) -> str:
    """For a status page: one line, printable, short."""
    said = " ".join("".join(character if character.isprintable() else " " for character in text[: 4 * _SAID_CHARACTERS]).split())
    return said if len(said) <= _SAID_CHARACTERS else f"{said[: _SAID_CHARACTERS - 1]}…"


def _shallow(document: dict[str, Any]) -> bool:
    level: list[Any] = [document]
    for _ in range(DEPTH):
        level = [
            inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer) if isinstance(inner, (dict, list))
        ]
        if not level:
            return True
    return False
