"""`curate report`: the stored results as one page, and in the terminal."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from curate.cli._session import Session, verb

if TYPE_CHECKING:
    from curate.cli._target import Target
    from curate.gates import Gate
    from curate.report import Curve, Histogram, Report, Table
    from curate.store import Store
    from curate.types import EmbedderSpec

LABEL_FIELDS = ("label", "labels", "ground_truth", "split")
MEASURED = 20_000
"""Vectors that distributions are measured on."""

PACKAGES = ("curate-vision", "numpy", "scikit-learn", "torch", "transformers")


@click.command()
@verb("dataset", "model")
@click.option("--to", default="report.html", show_default=True, metavar="FILE.html", help="Where the page is written.")
@click.option("--markdown", default="", metavar="FILE.md", help="Also write a summary in Markdown.")
def command(session: Session, to: str, markdown: str) -> int:
    """Write the stored results as one self-contained page; reaches no platform and computes no vectors."""
    from curate.report.html import write_html
    from curate.report.summary import capped, report_markdown
    from curate.report.text import renderables

    with session.open_store() as store:
        target = session.stored_target(store)
        report = stored_report(session, store, target, session.stored_spec(store, target))
        path = write_html(report, Path(to), lambda item: store.thumb(target.key, item))
    if markdown:
        Path(markdown).write_text(capped(report_markdown(report), 1_000_000), encoding="utf-8")
    document = {
        "dataset": target.address,
        "report": str(path),
        "size_bytes": path.stat().st_size,
        "found": list(report.found),
        "sections": [section.key for section in report.sections],
    }
    session.emit(document, *renderables(report), "", f"report: {path}")
    return 0


def write(session: Session, store: Store, target: Target, spec: EmbedderSpec, path: Path) -> Path:
    """The page of the stored results at `path`, as `sync --report` writes it."""
    from curate.report.html import write_html

    return write_html(stored_report(session, store, target, spec), path, lambda item: store.thumb(target.key, item))


def stored_report(session: Session, store: Store, target: Target, spec: EmbedderSpec) -> Report:
    """The report of what the store holds for a dataset and a model."""
    from curate.cli._geometry_parts import geometry_parts
    from curate.report import Material, build_report

    session.warn_outdated(store, target, spec)
    findings = store.findings(target.key, spec.fingerprint)
    names = set(store.field_names(target.key))
    curves, tables = _compression(store, target, spec)
    texts, walks = geometry_parts(store, target.key, spec.fingerprint)
    material = Material(
        target.address,
        spec,
        rows=store.count(target.key),
        vectors=len(store.embedded_ids(target.key, spec.fingerprint)),
        findings=findings,
        failures=store.failures(target.key, spec.fingerprint),
        fields={name: store.fields(target.key, name) for name in LABEL_FIELDS if name in names},
        histograms=[*_histograms(store, target, spec), *texts],
        bars=walks,
        curves=curves,
        tables=tables,
        made=_made(session),
        gates=_gates(session, store, target),
        flags=session.again("").strip(),
    )
    return build_report(material)


def _histograms(store: Store, target: Target, spec: EmbedderSpec) -> list[Histogram]:
    """Distance from [ROOT], norms and values of the vectors, on at most `MEASURED` of them."""
    from curate.ops.distributions import describe
    from curate.report import Histogram

    ids = store.embedded_ids(target.key, spec.fingerprint)
    if not ids:
        return []
    step = -(-len(ids) // MEASURED)
    vectors = store.embeddings(target.key, spec.fingerprint, ids=ids[::step]).vectors
    found = describe(spec.space, vectors)
    note = f"measured on {len(vectors):,} of {len(ids):,} rows" if step > 1 else ""
    dead = len(found["dead_dimensions"])
    values = f"{dead:,} of {spec.dim:,} dimensions hardly vary" + (f"; {note}" if note else "")
    parts = (
        ("Distance from [ROOT]", found["from_root"]["unit"], found["from_root"]["images"], note),
        ("Length of the vectors", "Euclidean length", found["norms"], note),
        ("Values of the vectors", "value", found["values"], values),
    )
    return [Histogram(title, unit, counts["edges"], counts["counts"], text) for title, unit, counts, text in parts]


def _gates(session: Session, store: Store, target: Target) -> list[Gate]:
    """The gates of [check]; none where it is empty, or where results that it needs are not there yet, which is said."""
    from curate.cli._gates import stored_of
    from curate.errors import ConfigError
    from curate.gates import run_gates

    if not session.config.check:
        return []
    try:
        return run_gates(session.config.check, stored_of(session, store, target))
    except ConfigError as err:
        session.warn(f"the report shows no gates: {err}")
        return []


def _compression(store: Store, target: Target, spec: EmbedderSpec) -> tuple[list[Curve], list[Table]]:
    """The last `curate compress --evaluate` as a curve and a table; nothing when there was none."""
    from curate.cli.compress import advised, kept_as, parts
    from curate.report import Curve, Point, Table

    found = store.cached(kept_as(target.key, spec.fingerprint))
    if not found:
        return [], []
    advice = found.get("recommendation") or {}
    points = []
    for c in found["codecs"]:
        recall, size = float(c["recall"]["10"]), int(c["bytes_per_vector"])
        text = f"{size:,} bytes, {c['ratio']:.1f} times smaller, recall@10 {recall:.3f}"
        points.append(Point(c["codec"], size, recall, text, strong=c["codec"] == advice.get("codec")))
    note = f"Measured on {found['rows']:,} rows, both sides decoded. Grey: another codec is smaller and keeps more."
    if advice:
        note = f"{advised(found)} {note}"
    curve = Curve(
        "What compressed vectors keep",
        "bytes a vector",
        "recall@10: the share of the 10 nearest rows that stay the nearest",
        points,
        note,
    )
    note = "From: curate compress --evaluate"
    tables = [Table(title, head, rows, note, frozenset(range(1, len(head)))) for title, head, rows in parts(found)]
    return [curve], tables


def _made(session: Session) -> dict[str, str]:
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    config = session.config.path
    return {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["curate", *sys.argv[1:]]),
        "store": str(session.store_path),
        "configuration": str(config) if config else "none (defaults and flags)",
        "versions": ", ".join(versions),
        "python": f"{platform.python_version()}, {platform.system()} {platform.machine()}",
    }
