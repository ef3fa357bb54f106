"""The pages that an agent can hand out by itself, at night and without a way to the web."""

from pathlib import Path

import pytest

from agent.model.catalogue import CATALOGUE
from agent.serve import runbooks

ROOT = Path(__file__).resolve().parents[2]


def test_every_finding_has_its_page_in_the_package() -> None:
    assert set(runbooks.names()) == set(CATALOGUE)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_page_is_the_one_of_its_finding_and_says_how_to_mend_it(name: str) -> None:
    page = runbooks.text(name)
    assert page is not None
    assert page.startswith(f"# {name}\n")
    assert "\n## Check by hand\n" in page
    assert "\n## Mend\n" in page
    assert page.endswith("\n")


def test_the_index_can_be_read_and_lists_every_page() -> None:
    index = runbooks.text("README")
    assert index is not None
    assert all(f"[{name}]({name}.md)" in index for name in CATALOGUE)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "no-such-finding",
        "peer-unreachable.md",
        "../runbooks.py",
        "../runbooks/peer-unreachable",
        "/etc/passwd",
        "a\0b",
        "x" * 5000,
    ],
)
def test_what_is_no_finding_is_no_page(name: str) -> None:
    """The name comes out of a URL: nothing that anybody writes there may lead to another file."""
    assert runbooks.text(name) is None


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_page_can_be_read_in_a_terminal_as_it_is(name: str) -> None:
    """Plain text for curl: no HTML, no tabs, nothing that a terminal would act on."""
    page = runbooks.text(name)
    assert page is not None
    assert all(character == "\n" or character.isprintable() for character in page)
    assert "<br" not in page


def test_those_who_browse_the_documentation_find_the_same_pages() -> None:
    folder = ROOT / "docs/runbooks"
    assert folder.is_symlink()
    assert not folder.readlink().is_absolute(), "a checkout can lie anywhere"
    for name in CATALOGUE:
        assert (folder / f"{name}.md").read_text() == runbooks.text(name)
