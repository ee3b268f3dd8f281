"""Turns and shares of the queue itself; circuits through it: test_circuit_table.py."""

import pytest

from p2pnode.machine import SocketAddr, SocketId
from p2pnode.protocols.relay.fair_queue import MAX_HELD, RESUME, Bucket, FairQueue, Flow

RATE = 10_000_000
"""bytes a second"""
STEP = 0.001
"""seconds"""
SIZE = 1_000
"""bytes"""
PLENTY = 1 << 20
"""bytes"""


def flow_to(port: int, *buckets: Bucket) -> Flow:
    flow = Flow(b"", buckets, PLENTY)
    flow.socket, flow.remote = SocketId(0), SocketAddr("192.0.2.1", port)
    return flow


def fill(queue: FairQueue, flow: Flow, size: int, now: float) -> None:
    """Queues packets of SIZE bytes until `size` wait."""
    while flow.queued < size:
        queue.put(flow, (now, 0, SIZE, SIZE, bytes(SIZE)))


@pytest.mark.spec("RELAY-17")
def test_who_comes_back_each_time_it_was_served_is_not_new_each_time() -> None:
    """RFC 8290 section 4.2: else a flow that is never busy for long always goes first."""
    queue = FairQueue(RATE)
    greedy, polite = flow_to(1), flow_to(2)
    now = 0.0
    fill(queue, polite, PLENTY // 2, now)
    queue.take(now)
    start = polite.forwarded_bytes
    for _ in range(200):
        now += STEP
        fill(queue, polite, PLENTY // 2, now)
        # as much as the relay forwards in a step, and again at once when that has left
        fill(queue, greedy, int(RATE * STEP), now)
        queue.take(now)
    # One turn as new and one as old for each of the other's: RFC 8290 gives no more than that.
    assert polite.forwarded_bytes - start > 0.33 * RATE * STEP * 200
    assert greedy.forwarded_bytes > 0.33 * RATE * STEP * 200


@pytest.mark.spec("RELAY-17")
def test_one_that_has_just_become_busy_goes_first() -> None:
    queue = FairQueue(RATE)
    old, fresh = flow_to(1), flow_to(2)
    fill(queue, old, PLENTY // 2, 0.0)
    queue.take(0.0)
    fill(queue, fresh, SIZE, 0.01)
    first = queue.take(0.01)[0]
    assert first.remote == fresh.remote


def test_a_flow_with_an_empty_bucket_waits_and_costs_the_others_nothing() -> None:
    queue = FairQueue(0)
    slow = flow_to(1, Bucket(100_000))
    fast = flow_to(2)
    fill(queue, slow, PLENTY // 2, 0.0)
    queue.take(0.0)
    deadline = queue.poll_timeout()
    assert deadline is not None
    assert deadline.at >= RESUME
    fill(queue, fast, 50 * SIZE, 0.0)
    queue.take(0.0)
    assert fast.forwarded_bytes == 50 * SIZE
    before = slow.forwarded_bytes
    fill(queue, slow, PLENTY // 2, deadline.at)
    queue.take(deadline.at)
    assert slow.forwarded_bytes > before


@pytest.mark.spec("RELAY-17")
def test_where_all_queues_are_full_the_longest_one_loses_its_oldest_packets() -> None:
    queue = FairQueue(RATE)
    flows = [flow_to(port) for port in range(2 * MAX_HELD // PLENTY)]
    fill(queue, flows[0], 10 * SIZE, 0.0)
    for flow in flows[1:]:
        fill(queue, flow, PLENTY - SIZE, 0.0)
        assert queue.held <= MAX_HELD
    assert queue.held == queue.count_held() == sum(flow.queued for flow in flows)
    assert queue.held > MAX_HELD - PLENTY
    assert flows[0].queued == 10 * SIZE
    assert flows[-1].queued >= PLENTY - 2 * SIZE

    queue.clear(flows[-1])
    queue.take(0.001)
    assert queue.held == queue.count_held()
    queue.take(1.0)
    assert queue.held == queue.count_held() < MAX_HELD
