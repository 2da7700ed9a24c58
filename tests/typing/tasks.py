"""A user's program with tasks: `aio.hold`, and the verbs that can be awaited."""

import asyncio
from typing import assert_type

from looop_portable import Claims, Held, Lease, Refused, Released, Renewed, Won, aio
from looop_portable.aio import AsyncHold, AsyncHoldAll


async def deploys() -> int:
    block = aio.hold("repo-x", timeout=None, on_lost=lambda lease: print(lease.name))
    assert_type(block, AsyncHold)
    async with block as lease:
        assert_type(lease, AsyncHold)
        assert_type(lease.lost, asyncio.Event)
        assert_type(lease.lease, Lease)
        await lease.check()
        return assert_type(lease.generation, int)


async def claims_and_releases(claims: Claims) -> bool:
    outcome = await aio.claim(claims, "repo-x", "w1", timeout=3, slots=2)
    assert_type(outcome, Won | Renewed | Held)
    if isinstance(outcome, Held):
        return False
    assert_type(outcome.generation, int)
    done = await aio.release(claims, "repo-x", "w1")
    assert_type(done, Released | Refused)
    return isinstance(done, Released)


async def deploys_both() -> None:
    block = aio.hold_all("repo-x", "repo-y", timeout=2.5, on_lost=lambda lease: print(lease.name))
    assert_type(block, AsyncHoldAll)
    async with block as leases:
        assert_type(leases, tuple[AsyncHold, ...])
    assert_type(await block.acquire(), tuple[AsyncHold, ...])
    await block.release()
    assert_type(await aio.hold("repo-x").acquire(), AsyncHold)


@aio.hold("nightly", timeout=None)
async def backs_up(directory: str, *, again: bool = False) -> int:
    return len(directory) + again


async def main() -> None:
    assert_type(await backs_up("/srv", again=True), int)
    async with asyncio.TaskGroup() as tasks:
        assert_type(tasks.create_task(deploys()), asyncio.Task[int])


asyncio.run(main())
