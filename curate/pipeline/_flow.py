"""Threads and bounded memory of the embedding stage: items flow through fetch, prepare and finish, and come out in order.

The bound is in bytes, not only in rows: a folder of 12-megapixel files must not grow with a queue.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from curate.errors import Transient

In = TypeVar("In")
Ready = TypeVar("Ready")
Out = TypeVar("Out")

ATTEMPTS = 4
AHEAD = 2
"""Batches a device that may wait for their commit while it goes on, where each is kept as soon as it is computed."""
LONGEST_WAIT_S = 60.0
_POLL_S = 0.05


class Cancelled(Exception):
    """The flow was stopped while a row was waiting; the row is left for the next run."""


def read_with_retries(item: In, read: Callable[[In], bytes], stopped: Callable[[float], bool]) -> bytes:
    """`read(item)`, tried at most 4 times while it raises Transient, waiting as long as the other side asked (at most 60 s).

    stopped: waits some seconds and says whether to give up; then Cancelled is raised.  The last Transient is raised on.
    """
    for attempt in range(ATTEMPTS):
        try:
            return read(item)
        except Transient as err:
            if attempt == ATTEMPTS - 1:
                raise
            wait = err.retry_after if err.retry_after is not None else 0.5 * 2**attempt
            if stopped(min(max(wait, 0.0), LONGEST_WAIT_S)):
                raise Cancelled from err
    raise AssertionError("unreachable")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is done at once.  held_bytes, held_rows: what all rows between fetch and finish may hold together."""

    batch_size: int
    readers: int
    decoders: int
    held_bytes: int
    held_rows: int


class _Slot(Generic[Ready]):
    """One batch on its way: a place for every row, and an event for the last one to arrive."""

    def __init__(self, number: int, size: int) -> None:
        self.number, self.size = number, size
        self.rows: list[Ready | None] = [None] * size
        self.bytes = 0
        self.left = size
        self.full = threading.Event()


class _Pool:
    """Daemon threads that run what is put in, in order: a read that hangs must not hold up the end of the program."""

    def __init__(self, threads: int, name: str, guard: Callable[[Callable[[], None]], None]) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._guard = guard
        self._threads = [threading.Thread(target=self._run, name=f"{name}-{n}", daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], None]) -> None:
        self._work.put(work)

    def close(self, *, wait: bool) -> None:
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            self._guard(work)


class Flow(Generic[In, Ready, Out]):
    """An iterator over finished batches, in order.  Use as a context manager: leaving it ends the threads.

    fetch(item, stopped) -> data; prepare(item, data) -> (row, bytes it holds); finish: one callable a device, each a list of
    rows -> a batch.  stop: asked often, from several threads.
    keep: called in the device's thread with a batch as soon as it is finished; once it returns the batch survives a kill, and
    the device goes on while the caller commits it.  Without `keep` a device waits for the commit of its last batch.  Either
    way a kill costs at most the batch that is on each device.
    An error in any thread, and a KeyboardInterrupt while waiting, is raised after the batches that were being finished.
    """

    def __init__(
        self,
        items: Iterable[In],
        limits: Limits,
        *,
        fetch: Callable[[In, Callable[[float], bool]], Any],
        prepare: Callable[[In, Any], tuple[Ready, int]],
        finish: Sequence[Callable[[Sequence[Ready]], Out]],
        stop: Callable[[], bool],
        keep: Callable[[Out], None] | None = None,
    ) -> None:
        self._items, self._limits, self._keep = items, limits, keep
        self._most_uncommitted = len(finish) * (1 + (AHEAD if keep else 0))
        self._fetch, self._prepare, self._finish, self._asked = fetch, prepare, finish, stop
        self._lock = threading.Condition()
        self._halt = threading.Event()
        self._waiting: dict[int, _Slot[Ready]] = {}
        self._done: dict[int, Out] = {}
        self._made = self._claimed = self._returned = 0
        self._unfinished: set[int] = set()
        self._feeding, self._working = 1, len(finish)
        self._held_bytes = self._held_rows = 0
        self._read_rows, self._read_bytes = 1, 2**20
        self._error: BaseException | None = None

    def __enter__(self) -> Flow[In, Ready, Out]:
        self._readers = _Pool(self._limits.readers, "curate-read", self._guarded)
        self._decoders = _Pool(self._limits.decoders, "curate-decode", self._guarded)
        self._feeder = _Pool(1, "curate-feed", self._guarded)
        self._devices = _Pool(len(self._finish), "curate-device", self._guarded)
        self._feeder.submit(lambda: self._closing(self._feed, "_feeding"))
        for finish in self._finish:
            self._devices.submit(lambda work=finish: self._closing(lambda: self._lane(work), "_working"))  # type: ignore[misc]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._halt.set()
        with self._lock:
            self._lock.notify_all()
        self._readers.close(wait=False)
        for pool in (self._feeder, self._decoders, self._devices):
            pool.close(wait=True)

    def __iter__(self) -> Iterator[Out]:
        interrupt: KeyboardInterrupt | None = None
        number = 0
        while True:
            try:
                found = self._take(number)
            except KeyboardInterrupt as err:
                self._halt.set()
                interrupt = err
                continue
            if found is None:
                break
            number = found[0] + 1
            yield found[1]
            # The caller is back: it has committed the batch.
            with self._lock:
                self._returned += 1
                self._lock.notify_all()
        error = self._error or interrupt
        if error is not None:
            raise error

    def _take(self, number: int) -> tuple[int, Out] | None:
        """The batch of this number; after a stop the lowest that was finished; None when there is no more."""
        with self._lock:
            while number not in self._done and self._working:
                self._lock.wait(_POLL_S)
            if not self._done:
                return None
            lowest = min(self._done)
            batch = self._done.pop(lowest)
            self._lock.notify_all()
            return lowest, batch

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Cancelled:
            return
        except BaseException as err:  # noqa: BLE001 - carried to the thread that iterates, and raised there
            with self._lock:
                self._error = self._error or err
                self._halt.set()
                self._lock.notify_all()

    def _closing(self, work: Callable[[], None], counter: str) -> None:
        # The error first, then the end: who sees the end must see the error too.
        self._guarded(work)
        with self._lock:
            setattr(self, counter, getattr(self, counter) - 1)
            self._lock.notify_all()

    def _stopped(self, wait_s: float = 0.0) -> bool:
        """Waits, at most `wait_s`, and says whether to stop."""
        while not self._halt.is_set():
            if self._asked():
                self._halt.set()
                break
            if wait_s <= 0:
                return False
            self._halt.wait(min(wait_s, _POLL_S))
            wait_s -= _POLL_S
        return True

    def _wait_until(self, ready: Callable[[], bool]) -> bool:
        """Waits, holding the lock, until `ready()`; False when stopped."""
        while not self._stopped():
            if ready():
                return True
            self._lock.wait(_POLL_S)
        return False

    # rows in

    def _feed(self) -> None:
        pending: list[In] = []
        for item in self._items:
            pending.append(item)
            if len(pending) == self._limits.batch_size:
                if not self._submit(pending):
                    return
                pending = []
        if pending:
            self._submit(pending)

    def _submit(self, items: Sequence[In]) -> bool:
        slot: _Slot[Ready] = _Slot(self._made, len(items))
        with self._lock:
            self._waiting[slot.number] = slot
            self._unfinished.add(slot.number)
            self._made += 1
            self._lock.notify_all()
        for place, item in enumerate(items):
            reserved = self._enter(slot)
            if reserved is None:
                return False
            self._readers.submit(lambda at=place, it=item, size=reserved: self._read(slot, at, it, size))  # type: ignore[misc]
        return True

    def _enter(self, slot: _Slot[Ready]) -> int | None:
        """Waits until one more row may be held; the bytes reserved for it, or None when stopped.

        A row is taken to be as long as those read so far, until its length is known.  Rows of the first unfinished batch
        always pass, so that nothing can lock up.
        """
        limits = self._limits

        def room() -> bool:
            fits = self._held_rows < limits.held_rows and self._held_bytes < limits.held_bytes
            return fits or slot.number == min(self._unfinished)

        with self._lock:
            if not self._wait_until(room):
                return None
            reserved = self._read_bytes // self._read_rows
            self._held_rows += 1
            self._hold(slot, reserved)
            return reserved

    def _hold(self, slot: _Slot[Ready], size: int) -> None:
        slot.bytes += size
        self._held_bytes += size

    def _read(self, slot: _Slot[Ready], place: int, item: In, reserved: int) -> None:
        if self._stopped():
            return
        data = self._fetch(item, self._stopped)
        size = len(data) if isinstance(data, bytes | bytearray) else 0
        with self._lock:
            self._read_rows, self._read_bytes = self._read_rows + 1, self._read_bytes + size
            self._hold(slot, size - reserved)
        self._decoders.submit(lambda: self._decode(slot, place, item, data, size))

    def _decode(self, slot: _Slot[Ready], place: int, item: In, data: Any, size: int) -> None:
        if self._halt.is_set():
            return
        row, held = self._prepare(item, data)
        with self._lock:
            self._hold(slot, held - size)
            slot.rows[place] = row
            slot.left -= 1
            if not slot.left:
                slot.full.set()
            self._lock.notify_all()

    # batches out

    def _lane(self, finish: Callable[[Sequence[Ready]], Out]) -> None:
        while (slot := self._claim()) is not None:
            batch = finish([row for row in slot.rows if row is not None])
            if self._keep is not None:
                self._keep(batch)
            with self._lock:
                self._done[slot.number] = batch
                self._unfinished.discard(slot.number)
                self._held_bytes -= slot.bytes
                self._held_rows -= slot.size
                self._lock.notify_all()

    def _claim(self) -> _Slot[Ready] | None:
        """The next complete batch that nobody works on; None at the end, or when stopped.

        Waits while too many batches wait for the caller.
        """

        def ready() -> bool:
            if self._claimed >= self._made:
                return not self._feeding
            return self._waiting[self._claimed].full.is_set() and self._claimed - self._returned < self._most_uncommitted

        with self._lock:
            if not self._wait_until(ready) or self._claimed >= self._made:
                return None
            self._claimed += 1
            return self._waiting.pop(self._claimed - 1)
