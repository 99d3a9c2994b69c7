"""The verbs of the command line, run for the App: the same code on the same store, with lines and progress passed on."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.cli._call import Relay, call
from curate.pipeline.plan import read_plan
from curate.pipeline.platform import shown_extras
from curate.types import Change, Plan

STAGES: Mapping[str, str] = {
    "check": "Reaching the dataset",
    "pull": "Listing the samples",
    "embed": "Embedding the images",
    "push": "Writing fields",
    "vectors": "Writing vectors",
}
EXAMPLES = 6


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is.  share: 0 to 1, None while it is not known.  text: for people."""

    text: str
    share: float | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a job: its JSON document, and the lines that it said."""

    document: dict[str, Any]
    lines: Sequence[str]


def run(
    verb: str,
    store: Path,
    options: Mapping[str, Any],
    *arguments: str,
    told: Callable[[Progress], None] = lambda _p: None,
) -> Finished:
    """Runs a verb on a store, to the end.  Raises what the command line would print."""
    lines: list[str] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        of = f"{done:,} of {total:,}" if total else f"{done:,}"
        told(Progress(f"{STAGES.get(stage, stage.capitalize())}: {of}", done / total if total else None))

    relay = Relay(lines.append, progress)
    return Finished(call(verb, {**options, "store": str(store)}, *arguments, terminal=relay), lines)


def steps(
    verb: str, store: Path, options: Mapping[str, Any], *arguments: str, every_s: float = 0.25
) -> Iterator[Progress | Finished]:
    """The same, as its progress (at most one every `every_s`) and its end; the job runs in a thread of its own.

    An error of the job is raised here.
    """
    told: queue.SimpleQueue[Progress | Finished | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            told.put(run(verb, store, options, *arguments, told=told.put))
        except BaseException as err:  # noqa: BLE001 - carried to the thread that waits, and raised there
            told.put(err)

    thread = threading.Thread(target=work, name=f"curate-{verb}", daemon=True)
    thread.start()
    while True:
        latest = told.get()
        while not told.empty():
            latest = told.get()
        if isinstance(latest, BaseException):
            raise latest
        yield latest
        if isinstance(latest, Finished):
            return
        time.sleep(every_s)


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan for people.

    fields: (name, set, changed, cleared).  samples: how many are touched.  examples: some changes.  also: what else would be
    made (brain runs, saved views), a line each.
    """

    path: Path
    fields: Sequence[tuple[str, int, int, int]]
    changes: int
    vectors: int
    samples: int
    examples: Sequence[Change]
    also: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.changes or self.vectors or self.also)


def shown_plan(path: Path) -> PlanView:
    """The plan in a file.  Raises ConfigError when it cannot be read."""
    plan: Plan = read_plan(path)
    names = sorted({c.field for c in plan.changes})
    fields = []
    for name in names:
        mine = [c for c in plan.changes if c.field == name]
        new, gone = sum(c.before is None for c in mine), sum(c.after is None for c in mine)
        fields.append((name, new, len(mine) - new - gone, gone))
    spread = [next(c for c in plan.changes if c.field == name) for name in names]
    rest = [c for c in plan.changes if c not in spread]
    examples = [*spread, *rest][:EXAMPLES]
    touched = len({c.item_id for c in plan.changes})
    return PlanView(path, fields, len(plan.changes), len(plan.vectors), touched, examples, shown_extras(plan))
