"""`curate status`: what the store holds."""

from __future__ import annotations

from collections import Counter

import click

from curate.cli._session import Session, verb


@click.command()
@verb()
def command(session: Session) -> int:
    """What the store holds for every dataset: rows, vectors by model, failures, rows left to embed, the last runs."""
    from rich.table import Table

    with session.open_store() as store:
        datasets, sets = [], Table(title=f"store {store.path}", title_justify="left")
        for column in ("dataset", "rows", "model", "vectors", "failed", "left", "codec", "size"):
            sets.add_column(column, justify="right" if column in ("rows", "vectors", "failed", "left", "size") else "left")
        for dataset in store.datasets():
            rows, models = store.count(dataset), []
            specs = store.specs(dataset)
            names = Counter(held.spec.name for held in specs)
            for held in specs:
                failed = len(store.failures(dataset, held.spec.fingerprint))
                left = len(store.missing(dataset, held.spec))
                models.append(
                    {
                        "name": held.spec.name,
                        "layer": held.spec.layer,
                        "fingerprint": held.spec.fingerprint,
                        "vectors": held.rows,
                        "failed": failed,
                        "left": left,
                        "codec": held.codec,
                        "size_bytes": held.size_bytes,
                    }
                )
                sets.add_row(
                    dataset,
                    f"{rows:,}",
                    f"{held.spec.name} ({held.spec.layer})" if names[held.spec.name] > 1 else held.spec.name,
                    f"{held.rows:,}",
                    f"{failed:,}",
                    f"{left:,}",
                    held.codec,
                    f"{held.size_bytes / 1e6:,.1f} MB",
                )
            if not models:
                sets.add_row(dataset, f"{rows:,}", "-", "0", "0", "-", "-", "-")
            results = sorted(store.findings(dataset))
            datasets.append({"dataset": dataset, "rows": rows, "models": models, "results": results})
        runs = [
            {"run_id": r.id, "dataset": r.dataset, "command": r.command, "state": r.state, "started": str(r.started)}
            for r in store.runs()[-10:]
        ]
    last = [f"{r['run_id']}  {r['command']:<8} {r['state']:<10} {r['dataset']}" for r in runs]
    session.emit(
        {"store": str(session.store_path), "datasets": datasets, "runs": runs}, sets, *(["last runs:", *last] if last else [])
    )
    return 0
