"""The main job: check, pull, embed, judge, plan, push, and an account of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from curate.errors import ConfigError, Corrupt
from curate.pipeline import Reporter, Silent
from curate.pipeline.embed import embed_shard, settle
from curate.pipeline.judge import judge
from curate.pipeline.plan import make_plan, plan_to_json
from curate.pipeline.platform import HeldVectors, fitting, project_extras, pushable, remember_towers, shown_anew, vector_target
from curate.pipeline.pull import Pulled, pull
from curate.pipeline.push import ending, push
from curate.protocols import Connector, CurationOp, Embedder
from curate.store import Run, Store
from curate.types import Applied, Batch, EmbedderSpec, Failure, Findings, Plan


@dataclass(frozen=True, slots=True)
class Embedded:
    """What the embedding stage did.  embedded: vectors computed now.  reused: vectors that were there."""

    embedded: int
    reused: int
    failures: Sequence[Failure]

    @property
    def seen(self) -> int:
        """Rows of the embedder's media type."""
        return self.embedded + self.reused + len(self.failures)

    def after(self, earlier: int) -> Embedded:
        """The same, when `earlier` vectors were computed by the same run before."""
        both = min(self.embedded + earlier, self.embedded + self.reused)
        return Embedded(both, self.embedded + self.reused - both, self.failures)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run.  dataset: the store's key.  dataset_id: as the connector takes it.  address: as shown.

    ops: in order.  vectors: push vectors where the platform takes them.  dry_run: push nothing.  verify: read every byte of
    the store first.
    """

    dataset: str
    dataset_id: str
    address: str
    ops: Sequence[CurationOp]
    vectors: bool = True
    dry_run: bool = False
    seed: int = 0
    retry_failed: bool = False
    verify: bool = False
    embed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Synced:
    """The account of a run; `as_dict` is the JSON document of `curate sync`."""

    run: Run
    job: Job
    connector: str
    spec: EmbedderSpec
    pulled: Pulled
    embedded: Embedded
    findings: Mapping[str, Findings]
    plan: Plan
    pushed: Applied | None
    seconds: Mapping[str, float]

    @property
    def failed_share(self) -> float:
        """Rows that failed, or that the platform refused in part, over rows seen."""
        refused = {r.item_id for r in self.pushed.rejected} if self.pushed is not None else set()
        return len(refused | {f.id for f in self.embedded.failures}) / max(self.embedded.seen, 1)

    def as_dict(self) -> dict[str, Any]:
        """The shape of contract.md; documented in docs/json.md."""
        counts = self.pulled.counts
        return {
            "run_id": self.run.id,
            "dataset": self.job.address,
            "connector": self.connector,
            "model": {
                "name": self.spec.name,
                "fingerprint": self.spec.fingerprint,
                "dim": self.spec.dim,
                "geometry": self.spec.geometry,
            },
            "rows": {
                "seen": self.embedded.seen,
                "new": counts.new,
                "changed": counts.changed,
                "retired": counts.retired,
                "embedded": self.embedded.embedded,
                "reused": self.embedded.reused,
                "failed": len(self.embedded.failures),
                "skipped": dict(self.pulled.others(self.spec.media)),
            },
            **{key: summary_of(self.findings, key) for key in ("duplicates", "clusters", "sample", "tags")},
            "plan": {"changes": len(self.plan.changes), "vectors": len(self.plan.vectors)},
            "pushed": None
            if self.pushed is None
            else {"accepted": self.pushed.accepted, "rejected": len(self.pushed.rejected)},
            "failures": [{"id": f.id, "reason": f.reason, "detail": f.detail} for f in self.embedded.failures],
            "rejections": [] if self.pushed is None else self.pushed.rejections(),
            "seconds": {stage: round(s, 3) for stage, s in self.seconds.items()},
        }


SUMMARY_KEYS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "duplicates": ("duplicates", ("groups", "rows")),
    "clusters": ("clusters", ("count",)),
    "sample": ("sample", ("name", "rows")),
    "tags": ("tag", ("tagged", "abstained")),
}
"""Key of the JSON document -> the op it comes from, and the counts that are taken from its summary."""


def summary_of(findings: Mapping[str, Findings], key: str) -> dict[str, Any] | None:
    """The counts of one op as the JSON document shows them; None when it did not run."""
    op, counts = SUMMARY_KEYS[key]
    return {name: findings[op].summary.get(name) for name in counts} if op in findings else None


def embed_missing(
    store: Store,
    connector: Connector,
    dataset: str,
    embedder: Embedder,
    *,
    retry_failed: bool = False,
    codec: str = "f32",
    verify: bool = False,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Embedded:
    """Computes the vectors that the store has not, batch by batch; every batch is one commit.

    A device does not wait for the commit: a batch is spooled as soon as it is computed, so that a kill of the process costs
    at most the batch on each device (a power cut: that one and those being committed, at most three a device).

    codec: how the new vectors are held.  options: as `embed_shard` takes them (batch_size, workers, thumbs, max_pixels).
    `--dtype auto` is decided first, on the user's own rows (see `settle`).
    Files of the store that changed since they were last checked, and do not match their checksum, are named, dropped and
    computed again.  verify: every file is checked, whatever it looks like.
    Raises KeyboardInterrupt after the batch in flight when `stop` says so.
    """
    reporter = reporter or Silent()
    held = [stored.spec.fingerprint for stored in store.specs(dataset)]
    decided = settle(embedder, store.items(dataset), connector.read, stored=held)
    if decided:
        reporter.say(decided)
    remember_towers(store, embedder)
    spec = embedder.spec
    for line in store.verify(dataset, quick=not verify):
        reporter.say(f"corrupt, dropped and computed again: {line}")
    todo = store.missing(dataset, spec, retry_failed=retry_failed)
    done = 0
    if todo:
        reporter.progress("embed", 0, len(todo))
    if isinstance(embedder, HeldVectors):
        batches = embedder.batches(todo, stop=stop)
    else:

        def keep(batch: Batch) -> None:
            store.spool(dataset, spec, batch, codec=codec)

        batches = embed_shard(todo, embedder, connector.read, stop=stop, keep=keep, **options)
    for batch in batches:
        store.append(dataset, spec, batch, codec=codec)
        done += len(batch.ids) + len(batch.failures)
        reporter.progress("embed", done, len(todo))
    if stop():
        raise KeyboardInterrupt
    failures = store.failures(dataset, spec.fingerprint)
    new_failures = {f.id for f in failures} & {item.id for item in todo}
    embedded = len(todo) - len(new_failures)
    total = len(store.embedded_ids(dataset, spec.fingerprint))
    return Embedded(embedded, total - embedded, failures)


def sync(
    store: Store,
    connector: Connector,
    embedder: Embedder,
    job: Job,
    *,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Synced:
    """Runs the whole job on an open, writable store.

    The destination is reached before compute is spent.  A row that fails is recorded, the run goes on.
    Raises ConfigError when there is nothing to embed, ConnectorError from the platform, KeyboardInterrupt when stopped.
    """
    reporter = reporter or Silent()
    seconds: dict[str, float] = {}
    with _timed(seconds, "check"):
        connector.check(job.dataset_id)
        owned = frozenset[str]().union(*(op.owns for op in job.ops))
        sent = pushable(connector, embedder.spec, vectors=job.vectors)
        fields = fitting(connector, job.dataset_id, spec=sent, fields=owned, create=not job.dry_run)
    run = store.new_run(job.dataset, "sync")
    with ending(store, run):
        result = _synced(store, connector, embedder, job, run, (owned, sent, fields), seconds, reporter=reporter, stop=stop)
        store.finish_run(run.id, "planned" if job.dry_run else "done", result.as_dict())
    return result


def _synced(
    store: Store,
    connector: Connector,
    embedder: Embedder,
    job: Job,
    run: Run,
    places: tuple[frozenset[str], EmbedderSpec | None, Collection[str] | None],
    seconds: dict[str, float],
    *,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> Synced:
    """The stages.  places: fields that the ops own, spec of the vectors to push, fields that the platform takes."""
    owned, sent, fields = places
    with _timed(seconds, "pull"):
        pulled = pull(store, connector, job.dataset, job.dataset_id, reporter=reporter, stop=stop)
    for kind, count in pulled.others(embedder.spec.media).items():
        reporter.say(f"{count:,} {kind} rows are skipped: {embedder.spec.name} takes {embedder.spec.media}")
    if not pulled.of(embedder.spec.media):
        raise ConfigError(f"{job.address} has no {embedder.spec.media} rows for {embedder.spec.name}. Nothing was changed.")
    embedded, findings = _embed_and_judge(store, connector, embedder, job, seconds, reporter=reporter, stop=stop)
    with _timed(seconds, "plan"):
        plan = make_plan(
            store,
            job.dataset,
            findings=findings.values(),
            owned=owned if findings else (),
            spec=embedder.spec,
            target=vector_target(connector, sent) if sent is not None else None,
            fields=fields,
            extras=project_extras(connector, findings) | shown_anew(store, connector, job.dataset, job.dataset_id, sent),
        )
        run.write("plan.json", plan_to_json(plan))
    pushed = None
    if not job.dry_run:
        with _timed(seconds, "push"):
            pushed = push(store, connector, job.dataset_id, plan, run_id=run.id, reporter=reporter, stop=stop)
    return Synced(run, job, connector.name, embedder.spec, pulled, embedded, findings, plan, pushed, seconds)


def _embed_and_judge(
    store: Store,
    connector: Connector,
    embedder: Embedder,
    job: Job,
    seconds: dict[str, float],
    *,
    reporter: Reporter,
    stop: Callable[[], bool],
) -> tuple[Embedded, dict[str, Findings]]:
    """Both stages; where judging meets a damaged file that looked sound, everything is checked and both run once more."""
    before = 0
    for verify in (job.verify, True):
        with _timed(seconds, "embed"):
            embedded = embed_missing(
                store,
                connector,
                job.dataset,
                embedder,
                retry_failed=job.retry_failed and not before,
                verify=verify,
                reporter=reporter,
                stop=stop,
                **job.embed,
            )
        try:
            with _timed(seconds, "judge"):
                return embedded.after(before), _judged(store, embedder, job, reporter, stop)
        except Corrupt as err:
            if verify:
                raise
            before = embedded.embedded
            reporter.say(f"{err.args[0].partition(' Run ')[0]} Checking every file of the store.")
    raise AssertionError


def _judged(store: Store, embedder: Embedder, job: Job, reporter: Reporter, stop: Callable[[], bool]) -> dict[str, Findings]:
    embeddings = store.embeddings(job.dataset, embedder.spec.fingerprint)
    if not len(embeddings):
        return {}
    return judge(
        store,
        job.dataset,
        embeddings,
        job.ops,
        seed=job.seed,
        embed_text=getattr(embedder, "embed_text", None),
        embed_pixels=getattr(embedder, "embed_pixels", None),
        logit=getattr(embedder, "logit", ""),
        logit_scale=getattr(embedder, "logit_scale", None),
        reporter=reporter,
        stop=stop,
    )


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
