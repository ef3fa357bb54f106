"""The runbook pages that come with the agent, so that whoever reaches an agent at night has them without a browser or a way to the web.

Pages are told by the id of their finding, out of a list read once: a name from a URL never becomes part of a path.
"""

from functools import cache
from importlib.resources import files

INDEX = "README"
"""The page that lists the others."""


def names() -> tuple[str, ...]:
    """Every id that has a page, in order; the index is not one of them."""
    return tuple(name for name in _pages() if name != INDEX)


def text(name: str) -> str | None:
    """The page of the finding `name` in Markdown, `README` being the index; None if there is no such page."""
    return _pages().get(name)


@cache
def _pages() -> dict[str, str]:
    """All of them, some 70 kB. Raises OSError where the package came without its pages: no question of ours could mend that."""
    found = {}
    for entry in files("agent.serve").joinpath("runbooks").iterdir():
        if entry.name.endswith(".md"):
            found[entry.name.removesuffix(".md")] = entry.read_text("utf-8")
    return dict(sorted(found.items()))
