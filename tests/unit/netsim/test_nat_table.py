"""p2pnode/netsim/nat_table.py: RFC 4787 word by word."""

from dataclasses import replace
from random import Random

import pytest

from p2pnode.machine import SocketAddr
from p2pnode.netsim import nat_presets as presets
from p2pnode.netsim.nat_behaviour import (
    Collision,
    Dependence,
    FilterScope,
    NatBehaviour,
    Pooling,
    PortChoice,
    Refresh,
)
from p2pnode.netsim.nat_table import NatTable
from p2pnode.netsim.trace import Drop

PUBLIC = "22.0.0.1"
INSIDE = SocketAddr("192.168.1.10", 4001)
NEIGHBOUR = SocketAddr("192.168.1.11", 4001)
SERVER = SocketAddr("30.0.0.1", 1000)
SAME_ADDRESS = SocketAddr("30.0.0.1", 2000)
STRANGER = SocketAddr("40.0.0.1", 1000)

EIM = Dependence.ENDPOINT_INDEPENDENT
ADM = Dependence.ADDRESS_DEPENDENT
APDM = Dependence.ADDRESS_AND_PORT_DEPENDENT


def table(behaviour: NatBehaviour, *public_ips: str) -> NatTable:
    return NatTable(public_ips or (PUBLIC,), behaviour, Random("nat"))


def mapped(nat: NatTable, src: SocketAddr, dst: SocketAddr, now: float = 0.0) -> SocketAddr:
    external = nat.outbound(src, dst, now)
    assert isinstance(external, SocketAddr)
    return external


@pytest.mark.spec("NETSIM-4")
@pytest.mark.parametrize("filtering", Dependence)
@pytest.mark.parametrize(
    ("mapping", "same_address", "stranger"),
    [(EIM, True, True), (ADM, True, False), (APDM, False, False)],
)
def test_mapping_says_which_remotes_see_one_external_address(
    mapping: Dependence, filtering: Dependence, same_address: bool, stranger: bool
) -> None:
    nat = table(presets.box(mapping, filtering))

    external = mapped(nat, INSIDE, SERVER)

    assert mapped(nat, INSIDE, SERVER) == external
    assert (mapped(nat, INSIDE, SAME_ADDRESS) == external) is same_address
    assert (mapped(nat, INSIDE, STRANGER) == external) is stranger


@pytest.mark.spec("NETSIM-4")
@pytest.mark.parametrize("mapping", Dependence)
@pytest.mark.parametrize(
    ("filtering", "same_address", "stranger"),
    [(EIM, True, True), (ADM, True, False), (APDM, False, False)],
)
def test_filtering_says_who_may_send_to_it(
    mapping: Dependence, filtering: Dependence, same_address: bool, stranger: bool
) -> None:
    nat = table(presets.box(mapping, filtering))
    external = mapped(nat, INSIDE, SERVER)

    assert nat.inbound(SERVER, external, 0.0) == INSIDE
    assert nat.inbound(SAME_ADDRESS, external, 0.0) == (INSIDE if same_address else Drop.FILTERED)
    assert nat.inbound(STRANGER, external, 0.0) == (INSIDE if stranger else Drop.FILTERED)


@pytest.mark.spec("NETSIM-5")
@pytest.mark.parametrize(
    ("scope", "passes"), [(FilterScope.INTERNAL_ENDPOINT, True), (FilterScope.MAPPING, False)]
)
def test_filter_scope_says_whether_a_permission_holds_for_the_other_mappings(
    scope: FilterScope, passes: bool
) -> None:
    nat = table(presets.box(APDM, ADM, scope))
    towards_server = mapped(nat, INSIDE, SERVER)
    mapped(nat, INSIDE, STRANGER)

    assert (nat.inbound(STRANGER, towards_server, 0.0) == INSIDE) is passes


def test_a_port_that_nobody_mapped_is_closed() -> None:
    assert table(presets.home()).inbound(SERVER, SocketAddr(PUBLIC, 5), 0.0) is Drop.NO_MAPPING


@pytest.mark.spec("NETSIM-6")
def test_an_unanswered_mapping_dies_after_the_unreplied_timeout() -> None:
    for quiet, answer in ((29.9, INSIDE), (30.0, Drop.NO_MAPPING)):
        nat = table(presets.home())
        external = mapped(nat, INSIDE, SERVER)

        assert nat.inbound(SERVER, external, quiet) == answer


@pytest.mark.spec("NETSIM-6")
def test_an_answered_mapping_lives_for_the_stream_timeout() -> None:
    for quiet, answer in ((310.0, INSIDE), (310.1, Drop.NO_MAPPING)):
        nat = table(presets.home())
        external = mapped(nat, INSIDE, SERVER)
        nat.inbound(SERVER, external, 10.0)

        assert nat.inbound(SERVER, external, quiet - 0.05) == answer


@pytest.mark.spec("NETSIM-6")
def test_outbound_packets_of_an_answered_mapping_renew_the_stream_timeout() -> None:
    nat = table(replace(presets.home(), refresh=Refresh.OUTBOUND))
    external = mapped(nat, INSIDE, SERVER)
    nat.inbound(SERVER, external, 10.0)
    mapped(nat, INSIDE, SERVER, 20.0)

    assert nat.inbound(SERVER, external, 319.0) == INSIDE
    assert nat.inbound(SERVER, external, 321.0) is Drop.NO_MAPPING


@pytest.mark.spec("NETSIM-6")
@pytest.mark.parametrize(
    ("refresh", "by_accepted", "by_filtered"),
    [
        (Refresh.OUTBOUND, False, False),
        (Refresh.OUTBOUND_AND_ACCEPTED_INBOUND, True, False),
        (Refresh.OUTBOUND_AND_ANY_INBOUND, True, True),
    ],
)
def test_refresh_says_which_inbound_packets_keep_a_mapping(
    refresh: Refresh, by_accepted: bool, by_filtered: bool
) -> None:
    behaviour = NatBehaviour(
        unreplied_timeout=60, stream_timeout=60, filter_timeout=1000, refresh=refresh
    )
    for source, refreshes in ((SERVER, by_accepted), (STRANGER, by_filtered)):
        nat = table(behaviour)
        external = mapped(nat, INSIDE, SERVER)
        nat.inbound(source, external, 50.0)

        assert (nat.inbound(SERVER, external, 90.0) == INSIDE) is refreshes


def test_outbound_packets_always_keep_a_mapping() -> None:
    nat = table(presets.impatient())
    external = mapped(nat, INSIDE, SERVER)

    for now in range(10, 200, 10):
        assert mapped(nat, INSIDE, SERVER, float(now)) == external


def test_the_filter_timer_runs_apart_from_the_mapping_timer() -> None:
    nat = table(NatBehaviour(unreplied_timeout=300, filter_timeout=20))
    external = mapped(nat, INSIDE, SERVER)
    mapped(nat, INSIDE, STRANGER, 15.0)

    assert nat.inbound(SERVER, external, 30.0) is Drop.FILTERED
    assert nat.inbound(STRANGER, external, 30.0) == INSIDE


def test_inbound_packets_do_not_keep_a_filter_entry_with_a_timer_of_its_own() -> None:
    nat = table(NatBehaviour(filter_timeout=20))
    external = mapped(nat, INSIDE, SERVER)

    assert nat.inbound(SERVER, external, 15.0) == INSIDE
    assert nat.inbound(SERVER, external, 25.0) is Drop.FILTERED


@pytest.mark.parametrize("same", [True, False])
def test_after_expiry_the_mapping_comes_back_on_its_old_port_or_on_another(same: bool) -> None:
    behaviour = NatBehaviour(port_choice=PortChoice.RANDOM, same_port_after_expiry=same)
    nat = table(behaviour)
    external = mapped(nat, INSIDE, SERVER)

    assert (mapped(nat, INSIDE, SERVER, 1000.0) == external) is same


def test_an_old_port_that_somebody_took_meanwhile_is_not_given_back() -> None:
    nat = table(NatBehaviour(same_port_after_expiry=True))
    external = mapped(nat, INSIDE, SERVER)
    assert mapped(nat, NEIGHBOUR, SERVER, 1000.0) == external

    assert mapped(nat, INSIDE, SERVER, 1001.0) != external


def test_a_port_is_held_after_expiry_for_its_owner() -> None:
    behaviour = NatBehaviour(port_hold=120.0)

    nat = table(behaviour)
    external = mapped(nat, INSIDE, SERVER)
    assert mapped(nat, INSIDE, SERVER, 100.0) == external

    nat = table(behaviour)
    external = mapped(nat, INSIDE, SERVER)
    assert mapped(nat, NEIGHBOUR, SERVER, 149.0) != external
    nat = table(behaviour)
    external = mapped(nat, INSIDE, SERVER)
    assert mapped(nat, NEIGHBOUR, SERVER, 151.0) == external


@pytest.mark.spec("NETSIM-7")
def test_two_inside_hosts_on_one_port_get_different_ports_where_sharing_is_forbidden() -> None:
    for collision in (Collision.NEXT, Collision.RANDOM):
        nat = table(NatBehaviour(collision=collision))

        first, second = mapped(nat, INSIDE, SERVER), mapped(nat, NEIGHBOUR, STRANGER)

        assert first == SocketAddr(PUBLIC, 4001)
        assert second != first
        assert nat.inbound(STRANGER, second, 0.0) == NEIGHBOUR


def test_a_collision_may_lock_the_second_host_out() -> None:
    nat = table(NatBehaviour(collision=Collision.DROP))
    mapped(nat, INSIDE, SERVER)

    assert nat.outbound(NEIGHBOUR, SERVER, 0.0) is Drop.NO_FREE_PORT


@pytest.mark.spec("NETSIM-7")
def test_overloading_shares_a_port_between_hosts_that_talk_to_different_remotes() -> None:
    nat = table(presets.linux())

    first, second = mapped(nat, INSIDE, SERVER), mapped(nat, NEIGHBOUR, STRANGER)

    assert first == second
    assert nat.inbound(SERVER, first, 0.0) == INSIDE
    assert nat.inbound(STRANGER, first, 0.0) == NEIGHBOUR
    assert mapped(nat, NEIGHBOUR, SERVER) != first


def test_masquerade_keeps_the_port_towards_every_remote() -> None:
    nat = table(presets.linux())

    seen = {mapped(nat, INSIDE, remote).port for remote in (SERVER, SAME_ADDRESS, STRANGER)}

    assert seen == {4001}


@pytest.mark.parametrize(("pooling", "count"), [(Pooling.PAIRED, 1), (Pooling.ARBITRARY, 3)])
def test_pooling_says_whether_a_host_keeps_its_public_address(pooling: Pooling, count: int) -> None:
    nat = table(replace(presets.corporate(), pooling=pooling), "22.0.0.1", "22.0.0.2", "22.0.0.3")

    seen = {mapped(nat, INSIDE, SocketAddr("30.0.0.1", port)).ip for port in range(1, 40)}

    assert len(seen) == count


def test_families_use_public_addresses_of_their_own() -> None:
    nat = table(presets.home(), "22.0.0.1", "2a00:2::1")

    assert mapped(nat, SocketAddr("fd00::1", 5), SocketAddr("2a00:3::1", 5)).ip == "2a00:2::1"
    assert mapped(nat, INSIDE, SERVER).ip == "22.0.0.1"


def test_a_quota_stops_one_host_and_leaves_the_others_alone() -> None:
    nat = table(replace(presets.corporate(), max_mappings_per_host=10))
    for port in range(1, 11):
        mapped(nat, INSIDE, SocketAddr("30.0.0.1", port))

    assert nat.outbound(INSIDE, STRANGER, 0.0) is Drop.QUOTA
    assert mapped(nat, NEIGHBOUR, STRANGER)
    assert mapped(nat, INSIDE, STRANGER, 31.0)


def test_a_mapping_that_comes_back_counts_once() -> None:
    nat = table(replace(presets.corporate(), max_mappings_per_host=2))
    for now in (0.0, 31.0, 62.0):
        mapped(nat, INSIDE, SERVER, now)

    assert mapped(nat, INSIDE, STRANGER, 63.0)


@pytest.mark.spec("NETSIM-8")
def test_a_full_table_drops_new_flows_until_old_ones_expire() -> None:
    nat = table(replace(presets.corporate(), max_mappings=10))
    for port in range(1, 11):
        mapped(nat, INSIDE, SocketAddr("30.0.0.1", port), port * 1.0)

    assert nat.outbound(NEIGHBOUR, STRANGER, 11.0) is Drop.TABLE_FULL
    assert nat.outbound(NEIGHBOUR, STRANGER, 12.0) is Drop.TABLE_FULL
    assert mapped(nat, INSIDE, SocketAddr("30.0.0.1", 10), 12.0)
    assert mapped(nat, NEIGHBOUR, STRANGER, 31.5)
    assert len(nat.mappings(31.5)) == 10


def test_permissions_survive_when_a_full_table_is_cleared_of_other_hosts() -> None:
    nat = table(replace(presets.box(APDM, APDM), max_mappings=2))
    kept = mapped(nat, INSIDE, SERVER, 20.0)
    mapped(nat, NEIGHBOUR, SERVER, 0.0)
    mapped(nat, NEIGHBOUR, STRANGER, 31.0)

    assert nat.inbound(SERVER, kept, 32.0) == INSIDE
    assert mapped(nat, INSIDE, SERVER, 33.0) == kept


def test_a_port_forward_is_open_to_everybody_and_names_the_source_of_answers() -> None:
    nat = table(presets.home())
    external = SocketAddr(PUBLIC, 9000)

    nat.add_forward(external, INSIDE)
    assert nat.inbound(STRANGER, external, 1e6) == INSIDE
    assert mapped(nat, INSIDE, STRANGER) == external

    nat.remove_forward(external)
    assert nat.inbound(STRANGER, external, 1e6) is Drop.NO_MAPPING


@pytest.mark.spec("NETSIM-10")
def test_a_strangers_early_packet_takes_the_port_of_a_leaky_router() -> None:
    nat = table(presets.leaky_linux())
    assert mapped(nat, INSIDE, SERVER).port == 4001

    assert nat.inbound(STRANGER, SocketAddr(PUBLIC, 4001), 0.0) is Drop.FILTERED

    assert mapped(nat, INSIDE, STRANGER, 1.0).port != 4001
    assert mapped(nat, INSIDE, SERVER, 1.0).port == 4001


@pytest.mark.spec("NETSIM-10")
def test_the_port_is_free_again_when_the_stranger_has_been_quiet() -> None:
    nat = table(presets.leaky_linux())
    nat.inbound(STRANGER, SocketAddr(PUBLIC, 4001), 0.0)

    assert mapped(nat, INSIDE, STRANGER, 30.0).port == 4001


@pytest.mark.spec("NETSIM-10")
def test_leaking_breaks_an_endpoint_independent_mapping_for_that_stranger_only() -> None:
    nat = table(replace(presets.home(), leaky=True))
    external = mapped(nat, INSIDE, SERVER)
    nat.inbound(STRANGER, external, 0.0)

    detour = mapped(nat, INSIDE, STRANGER, 1.0)

    assert detour != external
    assert mapped(nat, INSIDE, STRANGER, 29.0) == detour
    assert mapped(nat, INSIDE, SocketAddr("41.0.0.1", 1), 1.0) == external
    assert nat.inbound(STRANGER, detour, 29.0) == INSIDE


def test_a_tight_router_forgets_what_strangers_sent() -> None:
    nat = table(presets.linux())
    nat.inbound(STRANGER, SocketAddr(PUBLIC, 4001), 0.0)

    assert mapped(nat, INSIDE, STRANGER, 1.0).port == 4001


def test_strangers_cannot_fill_a_leaky_router_beyond_its_table() -> None:
    nat = table(replace(presets.leaky_linux(), max_mappings=5))
    for port in range(1, 20):
        nat.inbound(SocketAddr("40.0.0.1", port), SocketAddr(PUBLIC, 4001), 0.0)

    assert mapped(nat, INSIDE, SocketAddr("40.0.0.1", 5)).port != 4001
    assert mapped(nat, INSIDE, SocketAddr("40.0.0.1", 6)).port == 4001
