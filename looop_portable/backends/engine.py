"""What an engine is: a store that compares and sets numbered records, and has one clock. The page for authors of plug-ins.

An engine knows nothing of claims, sessions or leases. It keeps *records*: bytes with a number, each under a kind and a key.
And it keeps *beats*: a word, and when it was last said, by the engine's own clock. `on_engine.OnEngine` makes a backend of
it. What must hold, of every method:

- A failure of any sort is `Unavailable`: one line, without a password, a token or anything else that is secret. It is a
  `CannotExclude` where this store cannot do what it must, and never will. Nothing is answered that was not looked up.
- An engine gives up soon: an `advance` at its `not_after`, anything else after some seconds. The clients of most servers
  try again for minutes, or wait for ever, unless they are told.
- Any thread may call any method at any time, and so may a signal's handler in the middle of another: it gets an answer, or
  `Unavailable`.
- A forked child may call any method. How it comes to a connection of its own is the engine's affair: it neither uses nor
  closes its parent's.
- Keys are text without control characters, of at most 400 bytes in UTF-8. They differ by every byte: `A` is not `a`. The
  data of a record have at most 1 MiB.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache

from looop_portable.backends.base import Fact
from looop_portable.protocol.codec import decode, text
from looop_portable.typed import NamedTuple, Self

__all__ = [
    "BEAT",
    "CLAIM",
    "NONSENSE",
    "NOTHING",
    "SESSION",
    "TICKET",
    "Engine",
    "Fact",
    "Heard",
    "Known",
    "Look",
    "Record",
    "Ring",
    "Step",
    "Told",
    "Unheard",
    "kept",
    "surveyed",
    "tell",
    "word_in",
]

CLAIM, SESSION, TICKET, BEAT = "claim", "session", "ticket", "beat"
"""The kinds. Records have the first three; `forget` alone is called with the last."""

NONSENSE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""By what reading fails where a server has answered what is no answer."""


class Record(NamedTuple):
    """What was published last under a key, and its `number` there. Number 0: nothing ever was.

    One without data holds nothing, whatever its number: numbers up to that are not used any more. So a store says what may
    have lost what it had confirmed: it lets all numbers leap to one that it has certainly not given yet.
    """

    number: int
    data: bytes


NOTHING = Record(0, b"")
"""What stands where nothing was ever published, or where it was forgotten."""


class Step(NamedTuple):
    """What came of an `advance`, and which record stands after it, whoever published that."""

    won: bool
    now: Record


class Told(Step):
    """A step that was won, of a claim whose data name a holder, and the registration of its session as it stood after that.

    It is a `Step` in all else. See `Engine.tells_sessions`.
    """

    session: Record

    def __new__(cls, now: Record, session: Record) -> Self:
        found = super().__new__(cls, True, now)
        found.session = session
        return found


class Heard(NamedTuple):
    """How many seconds ago a word was last said, and what tells that from any other time that it was said.

    `seconds` by the engine's clock; where that is `steady`, never more than have truly passed. `beat` is a text of at most
    100 characters that is never used twice, not after a `forget` either: a random one will do.
    """

    seconds: float
    beat: str


class Look(NamedTuple):
    """A claim's record, the registration of the session that its data name, and that session's last beat.

    Of a registration in a survey: no claim, the record itself, and the last beat of the word that its data name.
    """

    claim: Record
    session: Record = NOTHING
    heard: Heard | None = None


class Unheard(Look):
    """A `Look` that asks for the beat when `heard` is read: whoever looks at what is its own does not need it.

    Reading it raises `Unavailable`, and asks anew each time.
    """

    _hear: Callable[[], Heard | None]

    def __new__(cls, claim: Record, session: Record, hear: Callable[[], Heard | None]) -> Self:
        found = super().__new__(cls, claim, session)
        found._hear = hear
        return found

    @property
    def heard(self) -> Heard | None:
        return self._hear()


Ring = Callable[[], None]
Known = dict[str, tuple[Record, Heard | None]]
"""Of words: the registration of the session that each names, and the last beat of it."""


def tell(ring: Ring, record: Record) -> None:
    """For an engine that has the record at hand: some rings want to know it."""
    if told := getattr(ring, "told", None):
        told(record)


@lru_cache(maxsize=256)
def word_in(data: bytes) -> str:
    """Who holds a claim, of which these are the data: the word of its session's beats; empty if they name none.

    What is before its first `/` is the key of that session's registration. In the JSON of the data it is the text "word".
    The data of a registration that promises beats have it as well.
    """
    return text(decode(data), "word")


class Engine(ABC):
    """One store, as this process reaches it. Making one touches nothing: the first call connects."""

    where: str
    """For people: scheme, host, port and prefix, or a path. Never a credential."""

    steady: bool = False
    """Whether nobody can set its clock. If so, a silence is what it says. If not, it is watched before it is believed."""

    local: bool = False
    """Whether this machine's kernel alone has processes that reach it. If so, a process that is gone is dead, at once.
    True where others can reach it as well, it makes two live holders.
    """

    tells_sessions: bool = False
    """Whether each step of a claim's that is won, and whose data name a holder, is a `Told`. If not, `hold` asks before."""

    has_lines: bool = True
    """Whether those who wait line up here, by records of kind TICKET. Where each look costs money, they only look again."""

    @abstractmethod
    def read(self, kind: str, key: str) -> Record:
        """What stands there now; `NOTHING` if nothing was ever published.

        It is the latest: what any process was told to have won before this call began is in it. No replica, no cache.
        """

    @abstractmethod
    def advance(self, kind: str, key: str, after: int, data: bytes, *, not_after: float) -> Step:
        """Publish `data` as number `after` + 1, if `after` is the number that stands there. All of it, or nothing.

        Of all who advance from one number, exactly one wins, whatever fails or restarts, and what was won stays: before it
        is told, it is where a crash of the server, a failover or an eviction does not reach it. A number is never used
        twice, and never goes back. `after` is from 0 to 2^63 - 2.

        It is `Settling` where the store may have lost what it had confirmed, and whoever held something may not know yet:
        for 4/3 of the longest lease that was promised there, nothing is published of kind CLAIM. All else is.

        `not_after` is a moment of `looop_portable.system.clock.elapsed`, in this process. What the *store* begins after
        that changes nothing: a request that was held up would else make a holder who does not know it. So the store
        compares, not the client before it sends: whoever knows the store's clock as of some moment, from an earlier reply,
        can send the deadline by that clock. It may end too early, never too late. One that comes too late is told as lost,
        with what stands, or is `Unavailable`.

        It may be called again with the very same data, after a reply that was lost. No two others have the same data. So
        whatever repeats a request, this engine's client or its caller, finds its own record standing, and `now` tells it:
        nothing else is needed. `won` may be False then.
        """

    @abstractmethod
    def scan(self, kind: str, prefix: str = "", start: str = "", limit: int = 1000) -> list[tuple[str, Record]]:
        """The keys of this kind that begin with `prefix`, and what stands there now, in an order that is always the same.

        Those behind the key `start`, in that order, and at most `limit`. Fewer than that: there are no more. A key that was
        there from the beginning of the first page to the end of the last one is in it.
        """

    @abstractmethod
    def forget(self, kind: str, key: str) -> None:
        """Remove a record, or a beat: as if nothing had ever been there. One that is not there is no error.

        Only what is never used again is forgotten: a ticket, a session whose id was made up, the beat of a session.
        """

    @abstractmethod
    def beat(self, word: str, lease: float) -> None:
        """Say `word`, now: by the engine's clock, at the moment of the deed. It is said again within `lease` seconds.

        It is kept for `kept(lease)` seconds at least, whether it is said again or not: a silence is judged by it. What is
        not there is made. What is said of one word is never heard of another.
        """

    @abstractmethod
    def heard(self, word: str) -> Heard | None:
        """When `word` was last said; None: never, or it is not kept any more. No replica, no cache."""

    def look(self, key: str) -> Look:
        """The claim `key`, and what is to be known of who holds it. In this order, or all at once.

        An engine that can do it in one round trip overrides this: a claim that is refused, or shown, costs no more then.
        One for which a beat is a request of its own overrides it with an `Unheard`.
        """
        claim = self.read(CLAIM, key)
        word = word_in(claim.data)
        if not word:
            return Look(claim)
        return Look(claim, self.read(SESSION, word.partition("/")[0]), self.heard(word))

    def survey(self, kind: str, start: str = "", limit: int = 1000, known: Known | None = None) -> list[tuple[str, Look]]:
        """A page of `scan`, of kind CLAIM or SESSION; with each record what is to be known of who is named in its data.

        As `look` has it: no registration was read before the first claim that names its word. `known` is what earlier pages
        have found of each word. Who asks for each by itself asks for no word twice, and adds what it finds. An engine that
        can tell all of a page in one round trip overrides this, and leaves `known` alone: then a list of claims costs one a
        page, however many hold them.
        """
        page = self.scan(kind, "", start, limit)
        words, known = [word_in(record.data) for _, record in page], {} if known is None else known
        for word in dict.fromkeys(words):
            if word and word not in known:
                session = self.read(SESSION, word.partition("/")[0]) if kind == CLAIM else NOTHING
                known[word] = session, self.heard(word)
        return surveyed(kind, page, words, known)

    def report(self, key: str, word: str, lease: float) -> Record:
        """Say `word`, as `beat` does, and then read the registration `key`, or at once.
        So a session begins, and goes on. An engine that can do it in one round trip overrides this.
        """
        self.beat(word, lease)
        return self.read(SESSION, key)

    def subscribe(self, kind: str, key: str, ring: Ring) -> Callable[[], None] | None:  # noqa: ARG002 (the interface)
        """Call `ring` after each change of this record, from any thread; None: nobody here tells of changes.

        Before that it may `tell` it which record this change has published: who waits for a claim that was let go has it
        without a look then.

        Every change that is made after this has returned rings; so does everything that may have hidden one, as a lost
        connection. What rings once too often does no harm. `ring` returns at once, and raises nothing. What is returned
        ends it, and may be called twice. Kind CLAIM, or TICKET: a ticket that is forgotten has changed.
        """
        return None

    def verify(self) -> list[Fact]:
        """What there is to be known of this store: its version, what survives a crash, who else has a copy, its clock.

        It changes nothing that anybody else can see. What cannot be found out is a fact as well.
        """
        return []

    def close(self) -> None:  # noqa: B027 (an engine that has nothing open closes nothing)
        """Nobody calls another method after this."""


def surveyed(kind: str, page: list[tuple[str, Record]], words: list[str], known: Known) -> list[tuple[str, Look]]:
    """What a survey tells of a page, whose records name these words, out of what is known of each word."""
    found = [known.get(word, (NOTHING, None)) for word in words]
    if kind == SESSION:
        return [(key, Look(NOTHING, record, heard)) for (key, record), (_, heard) in zip(page, found, strict=True)]
    return [(key, Look(record, *each)) for (key, record), each in zip(page, found, strict=True)]


def kept(lease: float) -> float:
    """Seconds for which a beat is kept that promises the next one within `lease`: who looks once a week still judges it."""
    return 7 * 86400.0 + 2 * lease
