"""Counting members by their networks, against a count made anew each time."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from p2pnode.resources.crowd import Crowd
from p2pnode.resources.networks import networks_of

ADDRESSES = [
    "192.0.2.1",
    "192.0.2.2",
    "2001:db8:1::1",
    "2001:db8:1:1::1",
    "2001:db8:1:ff00::1",
    "2001:db8:2::1",
]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=120))
def test_it_knows_each_network_and_the_fullest_one(steps):
    crowd: Crowd[int] = Crowd()
    here: dict[int, str] = {}
    for comes, number in steps:
        if comes and number not in here:
            here[number] = ADDRESSES[number % len(ADDRESSES)]
            crowd.add(number, networks_of(here[number]))
        elif not comes:
            here.pop(number, None)
            crowd.remove(number)

        counts = Counter(n for ip in here.values() for n in networks_of(ip))
        largest = Counter(networks_of(ip)[-1] for ip in here.values())
        assert len(crowd) == len(here)
        assert {n: crowd.count(n) for ip in ADDRESSES for n in networks_of(ip)} == {
            n: counts[n] for ip in ADDRESSES for n in networks_of(ip)
        }
        assert crowd.most == max(largest.values(), default=0)
        members = list(crowd.of_fullest())
        assert len(members) == crowd.most
        assert len({networks_of(here[m])[-1] for m in members}) <= 1
        order = {number: place for place, number in enumerate(here)}
        assert members == sorted(members, key=order.__getitem__, reverse=True)
