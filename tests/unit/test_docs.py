"""Documentation that cannot go stale without somebody noticing."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from agent.cli import main
from agent.config_sources import known_keys, known_sections
from agent.model.catalogue import CATALOGUE, Kind
from agent.model.finding import Scope
from agent.model.peers import Mode
from agent.model.probe import Reason
from agent.model.records import SourceState

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
REFERENCE = (ROOT / "docs/reference.md").read_text()
README = (ROOT / "README.md").read_text()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted(RUNBOOKS.glob("*.md"))]
SECTIONS = ["What it means", "How we know", "Check by hand", "Mend", "Clears when"]


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^(    .*|```[\s\S]*?^```)$", "", text, flags=re.MULTILINE)


def rows(text: str) -> dict[str, list[str]]:
    """Tables whose first cell is the id of a finding."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`([a-z-]+)`|\[([a-z-]+)\]\(.*\)", cells[0])
        if name and (name[1] or name[2]) in CATALOGUE:
            found[name[1] or name[2]] = cells[1:]
    return found


def marks(kind: Kind) -> str:
    """As the reference writes them: H only where the scope does not say it already."""
    holder = "H" if kind.holder and kind.scope not in (Scope.POOL, Scope.CLUSTER) else ""
    return " ".join(word for word in (kind.severity.value, holder, "2" if kind.two_looks else "") if word)


def test_every_finding_has_its_page_and_every_page_its_finding() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == set(CATALOGUE)


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_a_page_says_what_how_check_mend_and_clear(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n\n{CATALOGUE[name].severity}, scope {CATALOGUE[name].scope}, ")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS
    parts = re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]
    assert all(part.strip() for part in parts)
    assert "```sh" in parts[2], "commands that can be pasted"


def test_severity_and_scope_are_the_same_in_code_reference_and_index() -> None:
    expected = {name: (marks(kind), kind.scope.value) for name, kind in CATALOGUE.items()}
    assert {name: (cells[0], cells[1].split()[0]) for name, cells in rows(REFERENCE).items()} == expected
    index = rows((RUNBOOKS / "README.md").read_text())
    assert {name: tuple(cells[:2]) for name, cells in index.items()} == {
        name: (kind.severity.value, kind.scope.value) for name, kind in CATALOGUE.items()
    }


def test_the_reference_names_every_key_of_a_findings_identity() -> None:
    for name, cells in rows(REFERENCE).items():
        extra = re.sub(r"\(.*?\)", "", cells[1].partition("*")[2]).strip(" *")
        assert tuple(word.strip() for word in extra.split(",") if word.strip()) == CATALOGUE[name].extra_keys, name


def test_the_reference_names_every_word_that_we_say() -> None:
    for word in [*Reason, *Mode]:
        assert f"`{word}`" in REFERENCE
    assert "|".join(SourceState) in REFERENCE


def test_the_status_document_of_the_reference_is_json() -> None:
    (text,) = re.findall(r"^```json\n([\s\S]*?)^```$", REFERENCE, flags=re.MULTILINE)
    assert json.loads(text)["findings"][0]["id"] in CATALOGUE


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_settings_are_called_by_their_names(path: Path) -> None:
    sections = "|".join(sorted(known_sections() - {"findings", "probe.ports"}))
    for name in re.findall(rf"`((?:{sections})\.[a-z_.]+)[`:]", path.read_text()):
        assert name in known_keys() or name in known_sections(), name


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_metrics_are_called_by_their_names(path: Path) -> None:
    for name in re.findall(r"\blhnet_[a-z_]+[a-z]\b", path.read_text()):
        assert f"`{name}`" in REFERENCE or any(known.startswith(name) for known in re.findall(r"`(lhnet_[a-z_]+)`", REFERENCE)), name


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_commands_are_whole(path: Path) -> None:
    """Bash reads every block without running it."""
    for block in re.findall(r"^```sh\n([\s\S]*?)^```$", path.read_text(), flags=re.MULTILINE):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_prose_has_one_sentence_a_line(path: Path) -> None:
    """So that a change shows as the sentence that changed."""
    for line in without_code(path.read_text()).splitlines():
        if line.startswith("|"):
            continue
        assert not re.search(r"[a-z)`\"]\. [A-Z*`]", re.sub(r"`[^`]*`", "``", line)), line


def readme_lines() -> list[str]:
    """What the README tells people to type, without the comments beside it."""
    blocks = [line.strip() for line in README.splitlines() if line.startswith("    ")]
    inline = re.findall(r"`((?:make|lhnet-agent|kubectl) [^`]*)`", README)
    return [re.sub(r"\s+#.*$", "", line) for line in [*blocks, *inline]]


def test_the_two_commands_stand_on_top() -> None:
    assert readme_lines()[:2] == ["make demo", "make test"]


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    used = {line.split()[1] for line in readme_lines() if line.startswith("make ")}
    assert {"demo", "lab", "test", "check", "lock"} <= used
    assert used <= targets


OURS = [line.replace(".venv/bin/", "") for line in readme_lines() if re.match(r"(\.venv/bin/)?lhnet-agent ", line)]


@pytest.mark.parametrize("line", OURS)
def test_every_command_of_the_readme_exists_with_its_options(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = line.split()[1:]
    command = words[:2] if words[0] == "lab" else words[:1]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in (word for word in words if word.startswith("--")):
        assert option in text, line


@pytest.mark.parametrize(
    "line", [line for line in OURS if line.split()[1] in ("plan-range", "explain-event", "config") and "FILE" not in line]
)
def test_every_offline_command_of_the_readme_runs(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [part.strip("'") for part in re.findall(r"'[^']*'|\S+", line)][1:]
    assert main(words) == 0
    assert capsys.readouterr().out.strip()


def test_the_fault_of_the_quick_tour_exists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lab", "faults", "-o", "json"]) == 0
    known = {fault["name"] for fault in json.loads(capsys.readouterr().out)}
    used = set(re.findall(r"lab inject (\S+)", README))
    assert used
    assert used <= known


def test_every_path_of_the_readme_is_in_the_reference() -> None:
    paths = {match or "/" for match in re.findall(r"curl harv41:9811([^\s`]*)", README)}
    assert len(paths) >= 5
    for path in paths:
        assert f"`{path}`" in REFERENCE, path


def test_what_the_readme_applies_is_there() -> None:
    for folder in re.findall(r"kubectl (?:apply|delete) -k (\S+?)`?;?$", README, flags=re.MULTILINE):
        assert (ROOT / folder.rstrip("`;") / "kustomization.yaml").is_file()
