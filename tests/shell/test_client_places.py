import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2pnode.io.client_places import ClientPlaces, Standing


async def test_the_oldest_of_those_with_least_to_lose_gives_way() -> None:
    places = ClientPlaces(3)
    busy, answered, silent = [await places.take() for _ in range(3)]
    busy.standing, answered.standing = Standing.BUSY, Standing.ANSWERED

    newest = await places.take()
    assert silent.scope.cancel_called
    newest.standing = Standing.BUSY
    last = await places.take()
    assert answered.scope.cancel_called
    assert not busy.scope.cancel_called
    assert not newest.scope.cancel_called
    # Those who have left already leave nothing behind.
    places.release(silent)
    assert await places.take() is not last
    assert last.scope.cancel_called


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_client_waits_while_all_others_are_being_answered(is_gone: bool) -> None:
    places = ClientPlaces(2)
    first, second = [await places.take() for _ in range(2)]
    first.standing = second.standing = Standing.BUSY
    got = trio.Event()

    async def wait() -> None:
        await places.take()
        got.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert not got.is_set()
        if is_gone:
            places.release(second)
        else:
            second.standing = Standing.ANSWERED
        await got.wait()
    assert second.scope.cancel_called is not is_gone
    assert not first.scope.cancel_called
