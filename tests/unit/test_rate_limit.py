"""Token buckets by key, and the shares of peers and networks."""

from p2pnode.rate_limit import MAX_KEYS, KeyedRateLimit, SharedRateLimit


def test_so_many_pass_at_once_and_as_many_again_in_each_window() -> None:
    rate = KeyedRateLimit[str](100, 1.0)
    assert sum(rate.take("a", 5.0) for _ in range(1000)) == 100
    assert sum(rate.take("a", 5.0 + n / 1000) for n in range(1, 1001)) == 100
    assert rate.take("b", 5.0)


def test_what_was_not_used_is_not_saved_up() -> None:
    rate = KeyedRateLimit[None](100, 1.0)
    rate.take(None, 5.0)
    assert sum(rate.take(None, 1005.0) for _ in range(1000)) == 100


def test_looking_costs_nothing() -> None:
    rate = KeyedRateLimit[None](1, 1.0)
    assert all(rate.has(None, 0.0) for _ in range(10))
    assert rate.take(None, 0.0)
    assert not rate.has(None, 0.9)


def test_several_pass_together_or_not_at_all() -> None:
    rate = KeyedRateLimit[None](10, 10.0)
    assert not rate.take(None, 0.0, 11)
    assert rate.take(None, 0.0, 7)
    assert not rate.take(None, 0.0, 4)
    assert rate.take(None, 0.0, 3)
    assert not rate.take(None, 3.9, 4)
    assert rate.take(None, 4.0, 4)


def test_the_table_of_rates_is_bounded_and_forgets_the_fullest() -> None:
    rates = KeyedRateLimit[int](2, 10.0)
    for key in range(MAX_KEYS + 10):
        assert rates.take(key, key * 1e-6)
    assert len(rates) <= MAX_KEYS
    assert rates.take(MAX_KEYS + 9, 0.01)
    assert not rates.take(MAX_KEYS + 9, 0.01)
    assert rates.take(MAX_KEYS + 10, 99.0)


def test_a_peer_a_network_and_all_have_their_shares() -> None:
    rate = SharedRateLimit(60.0, per_peer=2, per_network=3, total=5)
    assert [rate.take("a", "net", 0.0) for _ in range(3)] == [True, True, False]
    assert [rate.take("b", "net", 0.0) for _ in range(2)] == [True, False]
    assert [rate.take(name, name, 0.0) for name in "cde"] == [True, True, False]


def test_a_request_that_one_limit_refuses_counts_with_none() -> None:
    rate = SharedRateLimit(60.0, per_peer=2, per_network=1, total=3)
    assert rate.take("a", "net", 0.0)
    for _ in range(10):
        assert not rate.take("a", "net", 0.0)
        assert not rate.take("b", "net", 0.0)

    assert rate.take("a", "other", 0.0)
    assert rate.take("b", "third", 0.0)
    assert not rate.take("b", "fourth", 0.0), "three in all"


def test_without_a_total_the_networks_shares_add_up() -> None:
    rate = SharedRateLimit(60.0, per_peer=1, per_network=1)
    assert all(rate.take(name, name, 0.0) for name in range(100))
