"""`plan-range` as somebody asks it before the setting is applied."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cli import main
from agent.rules.demand import Rwx
from agent.rules.plan_range import plan_range


def ids(plan):
    return [problem.id for problem in plan.problems]


def run(capsys, *words):
    status = main(["plan-range", *words])
    return status, capsys.readouterr().out


GUIDE = ("--nodes", "5", "--disks", "10", "--images", "10")


@pytest.mark.parametrize(
    ("options", "demand", "prefix"),
    [
        (("--harvester", "1.2"), (30, 50, 50), 26),
        (("--harvester", "1.3"), (25, 40, 40), 26),
        (("--harvester", "1.7.1"), (25, 40, 40), 26),
        ((), (25, 40, 40), 26),
        (("--rwx", "shared"), (62, 77, 77), 25),
        (("--rwx", "dedicated"), (37, 37, 37), 26),
        (("--v2",), (30, 50, 40), 26),
    ],
)
def test_the_guides_example(capsys, options, demand, prefix):
    """Five nodes, two disks each, ten images."""
    status, out = run(capsys, "--range", "192.168.7.0/24", *GUIDE, *options, "-o", "json")
    answer = json.loads(out)
    assert status == 0
    assert answer["demand"] == dict(zip(("steady", "upgrade", "guide"), demand, strict=True))
    assert (answer["fits"], answer["smallest_prefix"], answer["problems"]) == (True, prefix, [])


def test_the_json_has_the_keys_of_the_reference(capsys):
    _, out = run(capsys, "--range", "172.16.0.0/29", "-o", "json")
    answer = json.loads(out)
    keys = {"range", "capacity", "first", "last", "demand", "fits", "smallest_prefix", "problems"}
    assert keys <= set(answer)
    assert (answer["range"], answer["capacity"], answer["first"], answer["last"]) == ("172.16.0.0/29", 6, "172.16.0.1", "172.16.0.6")


def test_without_nodes_the_demand_is_unknown_not_zero(capsys):
    status, out = run(capsys, "--range", "192.168.7.0/24", "-o", "json")
    answer = json.loads(out)
    assert (status, answer["fits"], answer["smallest_prefix"]) == (0, None, None)
    assert answer["demand"] == {"steady": None, "upgrade": None, "guide": None}


def test_a_plan_that_fits_reads_like_this(capsys):
    status, out = run(capsys, "--range", "192.168.7.0/26", "--exclude", "192.168.7.1/32", *GUIDE, "--harvester", "1.2")
    assert status == 0
    assert out == (
        "192.168.7.0/26: fits\n"
        "  gives    192.168.7.1 – 192.168.7.62, 1 excluded: 61 addresses\n"
        "  cluster  5 nodes, 10 disks in all, 10 images at a time\n"
        "  needs    30 now, 50 during an upgrade, 50 by the guide\n"
        "  formula  nodes x 4 + disks x 2 + images (Harvester 1.2)\n"
        "  smallest /26\n"
    )


def test_a_plan_that_does_not_fit_says_what_would(capsys):
    status, out = run(capsys, "--range", "192.168.7.0/29", *GUIDE)
    assert status == 2
    assert out.startswith("192.168.7.0/29: too small\n")
    assert out.endswith("too-small: 40 addresses are needed and 6 can be given: /26 would do\n")


def test_the_exclude_of_issue_6256(capsys):
    status, out = run(capsys, "--range", "192.168.205.0/24", "--exclude", "192.168.205.1/24", "--nodes", "3")
    assert status == 2
    assert out.startswith("192.168.205.0/24: cannot be used\n")
    assert "exclude-widened: exclude 192.168.205.1/24 has host bits" in out


def test_taken_for_granted_disks_are_said(capsys):
    _, out = run(capsys, "--range", "192.168.7.0/24", "--nodes", "3")
    assert "one disk each (taken for granted: no --disks)" in out
    assert "Harvester 1.3 and newer" in out


def test_text_keeps_to_eighty_columns(capsys):
    for words in (
        ("--range", "fd00:1111:2222:3333::/64", *GUIDE),
        ("--range", "10.52.0.9/15", "--exclude", "10.52.0.1/15", "--exclude", "1.2.3.4", *GUIDE),
    ):
        _, out = run(capsys, *words)
        assert max(len(line) for line in out.splitlines()) <= 80


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ((), "--range"),
        (("--range", "banana"), "--range"),
        (("--range", "10.0.0.0/33"), "--range"),
        (("--range", "10.0.0.0"), "--range"),
        (("--range", "10.0.0.0/24", "--exclude", "x"), "--exclude"),
        (("--range", "10.0.0.0/24", "--nodes", "-1"), "--nodes"),
        (("--range", "10.0.0.0/24", "--nodes", "9" * 30), "--nodes"),
        (("--range", "10.0.0.0/24", "--nodes", "3", "--disks", "2.5"), "--disks"),
        (("--range", "10.0.0.0/24", "--images", "4"), "--images"),
        (("--range", "10.0.0.0/24", "--v2"), "--v2"),
        (("--range", "10.0.0.0/24", "--rwx", "maybe"), "--rwx"),
        (("--range", "10.0.0.0/24", "--harvester", "1.0"), "--harvester"),
        (("--range", "10.0.0.0/24", "--harvester", "new"), "--harvester"),
        (("--range", "10.0.0.0/24", "-o", "yaml"), "--output"),
        (("--range", "10.0.0.0/24", "--gateway", "10.0.0.1"), "--gateway"),
    ],
)
def test_bad_options_end_with_64_and_one_line_that_names_the_option(capsys, words, option):
    with pytest.raises(SystemExit) as ended:
        main(["plan-range", *words])
    captured = capsys.readouterr()
    assert ended.value.code == 64
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert option in captured.err


@pytest.mark.parametrize(
    ("range_text", "excludes", "expected"),
    [
        ("192.168.0.0/24", ["192.168.0.1/32"], []),
        ("192.168.0.0/31", [], ["range-unusable"]),
        ("192.168.0.5/24", [], ["range-host-bits"]),
        ("192.168.0.10-192.168.0.20/24", [], ["range-not-cidr"]),
        ("172.0.0.0/8", [], ["prefix-too-short"]),
        ("10.42.7.0/24", [], ["range-overlap"]),
        ("10.43.0.0/16", [], ["range-overlap"]),
        ("10.52.0.0/15", [], ["prefix-too-short", "range-overlap", "range-overlap"]),
        ("169.254.1.0/24", [], ["range-reserved"]),
        ("fd00::/64", [], ["ipv6-unsupported"]),
        ("192.168.0.0/24", ["192.168.0.14/30"], ["exclude-widened"]),
        ("192.168.0.0/24", ["192.168.0.1"], ["exclude-not-cidr"]),
        ("192.168.0.0/24", ["192.168.1.1/32"], ["exclude-outside"]),
        ("192.168.0.0/24", ["fd00::1/128"], ["exclude-outside"]),
        ("192.168.0.0/24", ["192.168.0.0/28", "192.168.0.8/30"], ["exclude-overlap"]),
        ("192.168.0.0/24", ["192.168.0.0/24"], ["range-unusable", "exclude-covers-range"]),
        ("192.168.0.0/24", ["x"], ["range-unusable", "exclude-invalid"]),
        ("nowhere", [], ["range-invalid"]),
    ],
)
def test_what_is_wrong_with_a_range(range_text, excludes, expected):
    assert ids(plan_range(range_text, excludes=excludes)) == expected


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("--range", "192.168.0.0/24"), 0),
        (("--range", "10.52.0.0/24"), 1),
        (("--range", "192.168.0.5/24", "--nodes", "3"), 1),
        (("--range", "192.168.0.0/31"), 2),
        (("--range", "fd00::/64"), 2),
        (("--range", "192.168.0.0/30", "--nodes", "3"), 2),
        (("--range", "192.168.0.0/24", "--nodes", "3", "--rwx", "dedicated", "--harvester", "1.7"), 1),
    ],
)
def test_exit_status_is_0_fits_1_problems_2_unusable(capsys, words, status):
    assert run(capsys, *words)[0] == status


def test_the_smallest_prefix_leaves_room_for_the_excludes():
    roomy = plan_range("192.168.0.0/24", nodes=5, disks=10, images=10)
    tight = plan_range("192.168.0.0/24", excludes=["192.168.0.0/27"], nodes=5, disks=10, images=10)
    assert (roomy.smallest_prefix, tight.smallest_prefix) == (26, 25)


def test_a_demand_beyond_any_range_that_harvester_takes():
    plan = plan_range("10.0.0.0/16", nodes=40_000, disks=0)
    assert (plan.fits, plan.smallest_prefix) == (False, None)
    assert plan.problems[-1].summary == "80000 addresses are needed and 65534 can be given: not even /16 would do"


def test_an_old_whereabouts_counts_as_it_did():
    """Harvester 1.1 ships 0.5.4, which searches from the network address where only an end is given."""
    assert plan_range("192.168.0.0-192.168.0.20/24", harvester=(1, 1, 0)).capacity == 21
    assert plan_range("192.168.0.0-192.168.0.20/24").capacity == 20


@settings(deadline=None)
@given(
    text=st.text(max_size=30) | st.sampled_from(["10.0.0.0/24", "fd00::/64", "10.0.0.1-10.0.0.9/24", "0.0.0.0/0", "::/0"]),
    excludes=st.lists(st.text(max_size=20) | st.sampled_from(["10.0.0.1", "::/0", "0.0.0.0/0", "10.0.0.7/29"]), max_size=4),
    nodes=st.none() | st.integers(0, 1000),
    rwx=st.sampled_from(list(Rwx)),
    harvester=st.sampled_from([(1, 1, 0), (1, 1, 2), (1, 2, 0), (1, 3, 0), (1, 8, 0)]),
)
def test_no_text_makes_it_raise(text, excludes, nodes, rwx, harvester):
    plan = plan_range(text, excludes=excludes, nodes=nodes, rwx=rwx, harvester=harvester)
    assert plan.capacity >= 0
    assert plan.fits is not True or plan.capacity > 0 or nodes == 0
