"""What is wrong must be an error: each comment says which, and one that is not needed is an error itself."""

import threading

import looop_portable
from looop_portable import Backend, Claims, Hold, Renewed, Won, aio, hold, hold_all, wait_for
from looop_portable.aio import AsyncHold

print(looop_portable.nothing)  # type: ignore[attr-defined]
hold(7)  # type: ignore[arg-type]
hold("repo-x", "/srv/claims")  # type: ignore[call-arg]
hold("repo-x", timeout="30")  # type: ignore[arg-type]
hold("repo-x", lease=30)  # type: ignore[call-arg]
hold("repo-x", cancel=threading.Event())  # type: ignore[arg-type]
hold_all(["repo-x"])  # type: ignore[arg-type]
hold("repo-x").generation = 3  # type: ignore[misc]
hold("repo-x")(len)(7)  # type: ignore[arg-type]
aio.hold("repo-x")(len)  # type: ignore[arg-type]
aio.hold_all(["repo-x"])  # type: ignore[arg-type]


def told(lease: AsyncHold) -> None:
    """Of `aio`, and not of threads."""


hold("repo-x", on_lost=told)  # type: ignore[arg-type]
aio.hold("repo-x", on_lost=told)


async def waits() -> None:
    with aio.hold("repo-x"):  # type: ignore[attr-defined]
        pass
    async with hold("repo-x"):  # type: ignore[attr-defined]
        pass


def asks(claims: Claims) -> None:
    claims.claim("repo-x", 7)  # type: ignore[arg-type]
    print(claims.claim("repo-x", "w1").generation)  # type: ignore[union-attr]
    print(claims.show("repo-x").lease.session)  # type: ignore[union-attr]
    print(claims.release("repo-x", "w1").verdict)  # type: ignore[union-attr]
    wait_for(claims, "repo-x", "w1")  # type: ignore[arg-type]


def forgets(claims: Claims) -> Won | Renewed:
    return claims.claim("repo-x", "w1")  # type: ignore[return-value]


class Half:
    """It has no sessions, and no way to advance."""

    name = "half"


half: Backend = Half()  # type: ignore[assignment]
held: Hold = aio.hold("repo-x")  # type: ignore[assignment]
