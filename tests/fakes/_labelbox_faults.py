"""What can go wrong in the Labelbox stand-in, and what is not known about the real service."""

from __future__ import annotations

import fnmatch
import random
import threading
from dataclasses import dataclass, field


@dataclass
class Switches:
    """The unknowns of the real service; every connector test must pass with each setting.

    vector_reply: body of a good vector upload: "json", "empty", "text".
    bad_vector: one vector of a wrong size or of an unknown row in a chunk: "refuse_named" (400 that names the row), "refuse"
    (400 that does not), "skip" (200, the row is left out).
    reimport: the same row again: "overwrite", "refuse" (409), "twice" (counted twice).
    taken_name: create_embedding with a taken name: "conflict", "second" (another one of the same name), "malformed".
    metadata_rows_per_call: more rows are refused.  enum_write: "replace" or "add".
    too_many: body of a 429: "json", "html", "graphql".  retry_after: whether a 429 has the header.
    vectors_bump_activity: whether a vector upload is activity.  schema_kind: whether exports name it.
    iam: row_data is the raw bucket address.  task_type: `type` of an export task.
    chunk_bytes: size of an export file.  cut_anywhere: export files end inside lines and characters, not only at line ends.
    expired: an expired image address gives "403" or "xml200" (an error page with status 200).
    embedding_limit: 100, or 10 as an SDK comment says.  bad_field: one refused metadata row: "listed" or "whole_call".
    count_lag: how many count requests still miss the newest vectors.  user_timezone: profile of the key's user.
    """

    vector_reply: str = "json"
    bad_vector: str = "refuse_named"
    reimport: str = "overwrite"
    taken_name: str = "conflict"
    metadata_rows_per_call: int = 50
    enum_write: str = "replace"
    too_many: str = "json"
    retry_after: bool = True
    vectors_bump_activity: bool = False
    schema_kind: bool = False
    iam: bool = False
    task_type: str | None = "export-data-rows"
    chunk_bytes: int = 4_000_000
    cut_anywhere: bool = False
    expired: str = "403"
    embedding_limit: int = 100
    bad_field: str = "listed"
    count_lag: int = 0
    user_timezone: str = "UTC"


@dataclass
class Fault:
    """One rule.  operation: a glob over operation names, "import_vectors", "count_vectors", "export_file", "image".

    kind: "429", "503", "503_after" (the write was applied), "drop" (nothing applied, no reply), "drop_after" (applied, the
    reply is cut), "hang", "slow", "truncate" (an export file cut at a line end), "401", "403", "html502", "error:CODE".
    times: how often (None: always).  rate: probability of each.  seconds: Retry-After, length of a hang, a slow reply.
    """

    operation: str
    kind: str
    times: int | None = 1
    rate: float = 1.0
    seconds: float = 1.0


@dataclass
class Faults:
    """The rules in force, drawn with a seeded generator under a lock."""

    rules: list[Fault] = field(default_factory=list)
    seed: int = 0
    hit: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._rng = random.Random(self.seed)

    def add(self, operation: str, kind: str, *, times: int | None = 1, rate: float = 1.0, seconds: float = 1.0) -> None:
        """One more rule; see Fault."""
        with self._lock:
            self.rules.append(Fault(operation, kind, times, rate, seconds))

    def random(self, seed: int, rules: list[Fault]) -> None:
        """Replaces the rules by random ones."""
        with self._lock:
            self.rules, self.seed, self._rng = list(rules), seed, random.Random(seed)

    def clear(self) -> None:
        """No more faults."""
        with self._lock:
            self.rules.clear()

    def draw(self, operation: str) -> Fault | None:
        """The fault of this request, if any; at most one."""
        with self._lock:
            for rule in self.rules:
                if not fnmatch.fnmatchcase(operation, rule.operation) or rule.times == 0:
                    continue
                if rule.kind == "truncate" and operation != "export_file":
                    continue
                if rule.rate < 1 and self._rng.random() >= rule.rate:
                    continue
                if rule.times is not None:
                    rule.times -= 1
                self.hit.append((operation, rule.kind))
                return rule
        return None
