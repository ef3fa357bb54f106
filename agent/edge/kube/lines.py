"""Cuts a byte stream into lines with a bound on the longest one. A watch is one JSON object a line; nothing is decoded here."""

from agent.edge.kube.errors import TooLong

LINE_BYTES = 8 << 20
"""etcd refuses objects above 1.5 MiB by default; with managed fields and escapes a watch line stays far below this."""


class LineBuffer:
    def __init__(self, *, limit_bytes: int = LINE_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._rest = bytearray()

    @property
    def rest_bytes(self) -> int:
        """Length of the unfinished line."""
        return len(self._rest)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that this chunk completes, without line ends and without empty ones. Raises TooLong."""
        start, lines = 0, list[bytes]()
        while (end := chunk.find(b"\n", start)) >= 0:
            self._hold(chunk[start:end])
            if line := bytes(self._rest).strip():
                lines.append(line)
            self._rest.clear()
            start = end + 1
        self._hold(chunk[start:])
        return lines

    def _hold(self, piece: bytes) -> None:
        if len(self._rest) + len(piece) > self._limit_bytes:
            self._rest.clear()
            raise TooLong(f"a line of the watch is longer than {self._limit_bytes} bytes")
        self._rest += piece
