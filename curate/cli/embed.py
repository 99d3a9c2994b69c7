"""`curate embed`: compute the vectors that are missing."""

from __future__ import annotations

import click

from curate.cli._session import Session, verb

FAILED = 3


@click.command()
@verb("dataset", "network", "model", "loading", "embedding")
def command(session: Session) -> int:
    """Pull the rows and compute the vectors that are missing; judges and pushes nothing."""
    from curate.cli._interrupt import graceful
    from curate.errors import ConfigError
    from curate.pipeline.pull import pull
    from curate.pipeline.sync import embed_missing

    target = session.target
    connector = session.connector(target.connector)
    connector.check(target.dataset_id)
    with session.open_store(write=True, create=True) as store, graceful(session.warn) as stop:
        embedder = session.model_of(store, connector, target)
        pulled = pull(store, connector, target.key, target.dataset_id, reporter=session.terminal)
        if not pulled.of(embedder.spec.media):
            raise ConfigError(f"{target.address} has no {embedder.spec.media} rows for {embedder.spec.name}")
        done = embed_missing(
            store,
            connector,
            target.key,
            embedder,
            retry_failed=bool(session.flags["retry_failed"]),
            verify=bool(session.flags["verify"]),
            reporter=session.terminal,
            stop=stop,
            batch_size=session["batch_size"] or None,
            thumbs=session["thumbs"],
            max_pixels=session["max_pixels"],
            codec=session["codec"],
        )
    spec = embedder.spec
    session.emit(
        {
            "dataset": target.address,
            "model": {"name": spec.name, "fingerprint": spec.fingerprint, "dim": spec.dim, "geometry": spec.geometry},
            "rows": {
                "seen": done.seen,
                "embedded": done.embedded,
                "reused": done.reused,
                "failed": len(done.failures),
            },
            "failures": [{"id": f.id, "reason": f.reason, "detail": f.detail} for f in done.failures],
        },
        f"{done.embedded:,} vectors computed, {done.reused:,} reused, {len(done.failures):,} failed "
        f"({spec.name}, {spec.dim}-d)",
    )
    if not session.as_json:
        failed = [f"failed: {f.id}: {f.reason}: {f.detail}".removesuffix(": ") for f in done.failures]
        session.warn_each(failed, rest="--json lists them all")
    return FAILED if len(done.failures) > float(session["tolerate_failed"]) * max(done.seen, 1) else 0
