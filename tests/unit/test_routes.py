"""Where a storage pod's kernel sends packets for the storage range."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import pairwise

from unitworld import DEFAULT, GATEWAY, LHNET1, ON_LINK, facts, pod

from agent.model.net import Route, Rule
from agent.rules.routes import cut, judge_routes

RANGE = (ip_network("192.168.0.0/24"),)


def test_the_routes_of_the_guide_are_fine():
    assert judge_routes(pod(), facts(), ranges=RANGE) is None


def test_a_deleted_range_route_is_missing_and_says_where_packets_go_instead():
    found = judge_routes(pod(), facts(routes=(DEFAULT, GATEWAY)), ranges=RANGE)
    assert found is not None
    assert found.id == "route-missing"
    assert "192.168.0.0/24" in found.summary
    assert "default via 169.254.1.1 dev eth0" in found.seen
    assert "nor any other" not in found.summary


def test_a_pod_without_any_route_is_told_as_that():
    """Putting the one route back would mend the storage network and leave the pod without its default route."""
    found = judge_routes(pod(), facts(routes=()), ranges=RANGE)
    assert found is not None
    assert (found.id, found.reason) == ("route-missing", "none")
    assert "nor any other route" in found.summary
    assert found.next_step.endswith("have Longhorn make the pod anew: `kubectl -n longhorn-system delete pod instance-manager-a`")


def test_part_of_the_range_over_eth0_is_shadowed_and_names_the_peers_in_it():
    stray = Route(to=ip_network("192.168.0.128/25"), link_index=2)
    peer = pod("b", node="harv42", address="192.168.0.200", pod_ip="10.52.1.3")
    found = judge_routes(pod(), facts(routes=(DEFAULT, ON_LINK, stray)), ranges=RANGE, peers=[peer])
    assert found is not None
    assert (found.id, found.reason) == ("route-shadowed", "other_device")
    assert "192.168.0.128 – 192.168.0.255" in found.summary
    assert "192.168.0.200" in found.evidence[0]


def test_a_blackhole_inside_the_range_is_shadowed_with_that_reason():
    hole = Route(to=ip_network("192.168.0.3/32"), kind="blackhole")
    found = judge_routes(pod(), facts(routes=(DEFAULT, ON_LINK, hole)), ranges=RANGE)
    assert found is not None
    assert (found.id, found.reason) == ("route-shadowed", "blackhole")


def test_the_same_range_over_eth0_with_a_lower_metric_wins_in_the_kernel_and_is_told():
    better = Route(to=ip_network("192.168.0.0/24"), link_index=2, metric=0)
    worse = Route(to=ip_network("192.168.0.0/24"), link_index=3, metric=100, scope="link")
    found = judge_routes(pod(), facts(routes=(better, worse)), ranges=RANGE)
    assert found is not None
    assert found.id == "route-shadowed"


def test_a_higher_metric_on_eth0_loses_in_the_kernel_and_is_nothing():
    worse = Route(to=ip_network("192.168.0.0/24"), link_index=2, metric=500)
    assert judge_routes(pod(), facts(routes=(DEFAULT, ON_LINK, worse)), ranges=RANGE) is None


def test_two_halves_that_cover_the_range_are_as_good_as_one_route():
    halves = tuple(Route(to=network, link_index=3, scope="link") for network in ip_network("192.168.0.0/24").subnets())
    assert judge_routes(pod(), facts(routes=(DEFAULT, *halves)), ranges=RANGE) is None


def test_half_of_the_range_without_a_route_is_missing_in_part():
    half = Route(to=ip_network("192.168.0.0/25"), link_index=3, scope="link")
    found = judge_routes(pod(), facts(routes=(DEFAULT, half)), ranges=RANGE)
    assert found is not None
    assert (found.id, found.reason) == ("route-missing", "partial")
    assert "192.168.0.128 – 192.168.0.255" in found.summary


def test_a_route_by_way_of_a_gateway_is_not_on_link():
    by_gateway = Route(to=ip_network("192.168.0.0/24"), via=ip_address("192.168.0.1"), link_index=3)
    found = judge_routes(pod(), facts(routes=(DEFAULT, by_gateway)), ranges=RANGE)
    assert found is not None
    assert found.id == "route-missing"


def test_routes_of_other_tables_and_families_do_not_count():
    other = Route(to=ip_network("192.168.0.0/24"), link_index=2, table=100)
    six = Route(to=ip_network("::/0"), link_index=2)
    assert judge_routes(pod(), facts(routes=(DEFAULT, ON_LINK, other, six)), ranges=RANGE) is None


def test_pieces_cover_the_range_without_gap_or_overlap():
    routes = (
        DEFAULT,
        ON_LINK,
        Route(to=ip_network("192.168.0.64/26"), link_index=2),
        Route(to=ip_network("192.168.0.70/32"), link_index=3),
    )
    pieces = cut(RANGE[0], facts(routes=routes), LHNET1, source=ip_address("192.168.0.2"))
    assert pieces[0].first == int(RANGE[0][0])
    assert pieces[-1].last == int(RANGE[0][-1])
    assert all(left.last + 1 == right.first for left, right in pairwise(pieces))
    assert [piece.best and piece.best.link_index for piece in pieces] == [3, 2, 3, 2, 3]


def ruled(*rules, routes):
    every = [Rule(family=4, priority=0, table=255), Rule(family=4, priority=32766, table=254), *rules]
    return replace(facts(routes=routes), rules=tuple(every))


STRAY = Route(to=ip_network("0.0.0.0/0"), via=ip_address("10.52.0.1"), link_index=2, table=100)


def test_a_policy_rule_that_sends_a_peer_to_another_table_shadows_that_peer():
    rule = Rule(family=4, priority=100, table=100, to=ip_network("192.168.0.3/32"))
    found = judge_routes(pod(), ruled(rule, routes=(DEFAULT, ON_LINK, STRAY)), ranges=RANGE)
    assert found is not None
    assert found.id == "route-shadowed"
    assert "sends 192.168.0.3 past lhnet1" in found.summary
    assert "table 100" in found.summary


def test_a_policy_rule_for_the_pods_own_address_takes_everything():
    rule = Rule(family=4, priority=100, table=100, source=ip_network("192.168.0.2/32"))
    found = judge_routes(pod(), ruled(rule, routes=(DEFAULT, ON_LINK, STRAY)), ranges=RANGE)
    assert found is not None
    assert found.id == "route-shadowed"


def test_a_rule_that_forbids_is_told_with_its_kind():
    rule = Rule(family=4, priority=100, action="prohibit", to=ip_network("192.168.0.0/25"))
    found = judge_routes(pod(), ruled(rule, routes=(DEFAULT, ON_LINK)), ranges=RANGE)
    assert found is not None
    assert (found.id, found.reason) == ("route-shadowed", "prohibit")


def test_rules_for_others_and_tables_that_know_nothing_of_the_range_change_nothing():
    rules = (
        Rule(family=4, priority=100, table=100, source=ip_network("10.9.9.9/32")),
        Rule(family=4, priority=101, table=100, mark=7),
        Rule(family=6, priority=102, table=100),
        Rule(family=4, priority=103, table=200),
        Rule(family=4, priority=40000, table=100),
    )
    assert judge_routes(pod(), ruled(*rules, routes=(DEFAULT, ON_LINK, STRAY)), ranges=RANGE) is None


def test_what_is_to_be_removed_is_named_so_that_the_right_route_of_the_same_prefix_stays():
    better = Route(to=ip_network("192.168.0.0/24"), link_index=2, via=ip_address("169.254.1.1"))
    worse = Route(to=ip_network("192.168.0.0/24"), link_index=3, metric=100, scope="link")
    found = judge_routes(pod(), facts(routes=(better, worse)), ranges=RANGE)
    assert found is not None
    assert found.next_step.endswith("-- ip route del 192.168.0.0/24 via 169.254.1.1 dev eth0`")


def test_where_a_policy_rule_decides_the_next_step_is_the_rule_and_no_route_of_the_main_table():
    asked = Rule(family=4, priority=100, table=100, to=ip_network("192.168.0.3/32"))
    found = judge_routes(pod(), ruled(asked, routes=(DEFAULT, ON_LINK, STRAY)), ranges=RANGE)
    assert found is not None
    assert "-- ip rule` `kubectl" in found.next_step
    assert found.next_step.endswith("-- ip route show table 100`")
    assert "route del" not in found.next_step
    forbidden = Rule(family=4, priority=100, action="prohibit", to=ip_network("192.168.0.0/25"))
    found = judge_routes(pod(), ruled(forbidden, routes=(DEFAULT, ON_LINK)), ranges=RANGE)
    assert found is not None
    assert found.next_step.endswith("-- ip rule`")
