"""What a single setting may be: each kind reads a YAML value or a text, and says in words what it would have taken.

YAML values and texts (environment, flags) are read apart on purpose: `"5"` in a file is a mistake that the file's author wants to hear
about, while a variable cannot be anything but a text. Kinds know nothing of keys, files or origins, and never guess.
"""

import ipaddress
import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

from agent.model.net import IPAddress


class BadValue(Exception):
    """A value that this kind does not take. The message is what was expected instead, if that is not simply `expected`.

    `at` and `part` say which part of a longer value it is about: `[2]` or `[1].until`, and what stands there.
    """

    def __init__(self, expected: str = "", *, at: str = "", part: object = None) -> None:
        super().__init__(expected)
        self.at = at
        self.part = part


class Kind(Protocol):
    @property
    def expected(self) -> str:
        """Completes "expected …" in one line."""

    def from_yaml(self, value: object) -> Any:
        """Raises BadValue."""

    def from_text(self, text: str) -> Any:
        """Raises BadValue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A finite number between two bounds, both included; `what` is what people call it."""

    what: str
    low: float
    high: float
    whole: bool = False

    @property
    def expected(self) -> str:
        return f"{self.what} from {_plain(self.low)} to {_plain(self.high)}"

    def from_yaml(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            raise BadValue
        if not self.low <= value <= self.high:
            raise BadValue
        return value if self.whole else float(value)

    def from_text(self, text: str) -> float:
        pattern = r"[+-]?[0-9]{1,15}" if self.whole else r"[+-]?([0-9]{1,15}(\.[0-9]{0,15})?|\.[0-9]{1,15})([eE][+-]?[0-9]{1,2})?"
        if not re.fullmatch(pattern, text.strip()):
            raise BadValue
        number = float(text)
        if not math.isfinite(number):
            raise BadValue
        return self.from_yaml(int(text) if self.whole else number)


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text that matches a pattern as a whole. `optional`: empty, or null in YAML, means none."""

    expected: str
    pattern: str = r"\S(.*\S)?"
    optional: bool = False

    def from_yaml(self, value: object) -> str | None:
        if value is None and self.optional:
            return None
        if not isinstance(value, str):
            raise BadValue
        return self.from_text(value)

    def from_text(self, text: str) -> str | None:
        if not text and self.optional:
            return None
        if len(text) > LONGEST_TEXT_CHARACTERS or not re.fullmatch(self.pattern, text):
            raise BadValue
        return text


LONGEST_TEXT_CHARACTERS = 4096
"""PATH_MAX of Linux: nothing that we are told is longer than a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    expected: str = "true or false"

    def from_yaml(self, value: object) -> bool:
        if value in ("yes", "no", "on", "off"):  # booleans too for the YAML 1.1 of Kubernetes' own tools
            return value in ("yes", "on")
        if not isinstance(value, bool):
            raise BadValue
        return value

    def from_text(self, text: str) -> bool:
        words = {"true": True, "false": False, "yes": True, "no": False, "on": True, "off": False, "1": True, "0": False}
        if text.strip().lower() not in words:
            raise BadValue
        return words[text.strip().lower()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    words: tuple[str, ...]

    @property
    def expected(self) -> str:
        return "one of " + ", ".join(self.words)

    def from_yaml(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadValue
        return self.from_text(value)

    def from_text(self, text: str) -> str:
        if text not in self.words:
            raise BadValue
        return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where the HTTP server listens. `address` None: all addresses of all families."""

    address: IPAddress | None
    port: int

    @property
    def host(self) -> str | None:
        """As socket functions and aiohttp take it."""
        return str(self.address) if self.address is not None else None

    def __str__(self) -> str:
        if self.address is None:
            return f":{self.port}"
        return f"[{self.address}]:{self.port}" if self.address.version == 6 else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """IP:PORT, [IP]:PORT (IPv4 in brackets too, so that a manifest can bracket a host IP of either family) or :PORT."""

    expected: str = "IP:PORT, [IPv6]:PORT or :PORT with a port from 0 to 65535, for instance 0.0.0.0:9811"

    def from_yaml(self, value: object) -> ListenAddress:
        if not isinstance(value, str):
            raise BadValue
        return self.from_text(value)

    def from_text(self, text: str) -> ListenAddress:
        match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]*)):([0-9]{1,5})", text.strip())
        if not match or int(match[3]) > 65535:
            raise BadValue
        host = match[1] or match[2]
        try:
            return ListenAddress(address=ipaddress.ip_address(host) if host else None, port=int(match[3]))
        except ValueError:
            raise BadValue from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Many:
    """A list of one kind without repetitions; in a text, separated by commas."""

    item: Kind
    fewest: int = 1
    most: int = 16
    """Nobody listens on more addresses or has more runtimes; a longer list is a pasted mistake."""

    @property
    def expected(self) -> str:
        return f"a list: {self.item.expected}"

    def from_yaml(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise BadValue
        return self._checked([(element, self.item.from_yaml) for element in value])

    def from_text(self, text: str) -> tuple[Any, ...]:
        return self._checked([(part.strip(), self.item.from_text) for part in text.split(",") if part.strip()])

    def _checked(self, parts: list[tuple[Any, Any]]) -> tuple[Any, ...]:
        if not self.fewest <= len(parts) <= self.most:
            raise BadValue(f"{self.fewest} to {self.most} of {self.item.expected}")
        items: list[Any] = []
        for place, (part, read) in enumerate(parts, start=1):
            try:
                item = read(part)
            except BadValue:
                raise BadValue(self.item.expected, at=f"[{place}]", part=part) from None
            if item in items:
                raise BadValue("each only once", at=f"[{place}]", part=part)
            items.append(item)
        return tuple(items)


def seconds(low: float, high: float) -> Number:
    return Number(what="a number of seconds", low=low, high=high)


def count(what: str, low: int, high: int) -> Number:
    return Number(what=f"a whole number of {what}", low=low, high=high, whole=True)


RATIO = Number(what="a ratio", low=0, high=1)
PORT = Number(what="a TCP port", low=1, high=65535, whole=True)
PORT_OR_OFF = Number(what="0 for off or a TCP port", low=0, high=65535, whole=True)
NAMESPACE = Text(expected="the name of a Kubernetes namespace", pattern=r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
NODE = Text(expected="the name of a Kubernetes node", pattern=r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
PATH = Text(expected="an absolute path", pattern=r"/[^\x00\n]*")
FILE = Text(expected="a path of a file, or nothing", pattern=r"[^\x00\n]+", optional=True)
INTERFACE = Text(expected="an interface name of 1 to 15 characters", pattern=r"(?!\.\.?$)[^\s/:]{1,15}")
NAME = Text(expected="a user name, or nothing", pattern=r"[^:\x00\n]+", optional=True)
SELECTOR = Text(
    expected="a label selector such as app.kubernetes.io/name=lhnet-agent",
    pattern=r"[A-Za-z0-9][-A-Za-z0-9_./]*(=|==|!=)[-A-Za-z0-9_.]*(,[A-Za-z0-9][-A-Za-z0-9_./]*(=|==|!=)[-A-Za-z0-9_.]*)*",
)
