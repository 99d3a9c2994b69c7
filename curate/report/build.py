"""From findings to a report: counts, sentences, and what is worth showing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from curate.report import _judged, _sections
from curate.report._words import counted
from curate.report.parts import Bars, Curve, Gate, Histogram, Map, Report, Section, Step, Table, Tile
from curate.types import EmbedderSpec, Failure, Findings, Scalar


@dataclass(frozen=True, slots=True)
class Material:
    """What a report is built from, all of it stored results.

    dataset: as addressed.  spec: of the vectors.  rows: live rows.  vectors: rows with a vector.  findings: by op name.
    failures: rows without a vector.  fields: field of the platform -> id -> value (labels, splits).  map: points, or None.
    histograms, bars, curves, tables: further measurements (distance from root, compression).  made: versions, config, command.
    flags: what every command of "What to do next" needs to find the same store, such as "--store demo/store".
    """

    dataset: str
    spec: EmbedderSpec
    rows: int
    vectors: int
    findings: Mapping[str, Findings]
    failures: Sequence[Failure] = ()
    fields: Mapping[str, Mapping[str, Scalar]] = field(default_factory=dict)
    map: Map | None = None
    histograms: Sequence[Histogram] = ()
    bars: Sequence[Bars] = ()
    curves: Sequence[Curve] = ()
    tables: Sequence[Table] = ()
    made: Mapping[str, str] = field(default_factory=dict)
    gates: Sequence[Gate] = ()
    flags: str = ""


def build_report(material: Material) -> Report:
    """The report of some stored results; ops that did not run have no section, and the page says which."""
    m = material
    parts = [
        _sections.duplicates(m.findings.get("duplicates"), m.vectors, m.dataset),
        _sections.sample(m.findings.get("sample"), m.vectors, m.dataset),
        _sections.clusters(m.findings.get("clusters"), m.vectors),
        _judged.classes(m.findings.get("labels"), m.fields),
        _judged.mistakes(m.findings.get("labels"), m.dataset),
        _judged.outliers(m.findings.get("quality")),
        _judged.quality(m.findings.get("quality")),
        _judged.tags(m.findings.get("tag")),
    ]
    told = [part for part in parts if part is not None]
    more = _measured(m)
    failed = _failed(m.failures, m.dataset)
    found = [_rows_line(m), *(line for part in told for line in part.found)]
    steps = [step for part in told for step in part.steps]
    tiles = [Tile(f"{m.vectors:,}", "rows judged"), *(part.tile for part in told if part.tile)]
    sections = [part.section for part in told]
    if failed is not None:
        found.append(
            f"{counted(len(m.failures), 'row')} could not be read or embedded, for the reasons listed below."
        )
        steps.append(Step("Try the failed rows again", f"curate embed{_which(m)} --retry-failed"))
        tiles.append(Tile(f"{len(m.failures):,}", "rows failed", "failures"))
    if not steps:
        steps = [Step("Run the ops on this dataset", f"curate sync{_which(m)} --dry-run")]
    steps = [_complete(step, m) for step in steps]
    sections += [section for section in (more, failed) if section is not None]
    return Report(
        m.dataset, tiles, found, steps, sections, _made(m), m.map or _sections.stored_map(m.findings, m.fields), m.gates
    )


def _complete(step: Step, m: Material) -> Step:
    """The step with a command that finds the same vectors in the same store."""
    if not step.command:
        return step
    model = f" --model {shlex.quote(m.spec.name)}" if step.command.split()[1] in ("duplicates", "quality") else ""
    return replace(step, command=f"{step.command}{model} {m.flags}".rstrip())


def _which(m: Material) -> str:
    return f" --dataset {shlex.quote(m.dataset)} --model {shlex.quote(m.spec.name)}"


def _rows_line(m: Material) -> str:
    line = (
        f"{m.vectors:,} of {m.rows:,} rows were judged with the model {m.spec.name} "
        f"({m.spec.dim:,} dimensions, {m.spec.space.unit_name})."
    )
    return line if m.vectors < m.rows else line.replace(f"{m.vectors:,} of {m.rows:,} rows", f"All {m.rows:,} rows")


def _measured(m: Material) -> Section | None:
    if not (m.histograms or m.bars or m.curves or m.tables):
        return None
    text = "How the vectors are spread" + (", and what compressed ones would cost." if m.tables else ".")
    return Section("measured", "Measurements", text, bars=m.bars, histograms=m.histograms, curves=m.curves, tables=m.tables)


def _failed(failures: Sequence[Failure], dataset: str) -> Section | None:
    if not failures:
        return None
    reasons = Counter(failure.reason for failure in failures).most_common()
    by_reason = Table(
        "By reason", ("reason", "rows"), [(reason, f"{count:,}") for reason, count in reasons], numeric=frozenset({1})
    )
    most = _sections.LISTED
    rows = [(f.id, f.reason, f.detail, "yes" if f.retry else "no") for f in failures[:most]]
    each = Table("Rows", ("id", "reason", "detail", "another try may help"), rows)
    left = f"{len(failures) - most:,} further failed rows" if len(failures) > most else ""
    text = "These rows have no vector, so nothing above speaks about them. Everything else went on without them."
    return Section("failures", "Rows that failed", text, tables=(by_reason, each), left_out=left)


def _made(m: Material) -> dict[str, str]:
    model = {
        "model": m.spec.name,
        "revision": m.spec.revision or "(weight-free)",
        "layer": m.spec.layer,
        "dimensions": f"{m.spec.dim:,}",
        "distance": m.spec.space.unit_name,
        "preprocessing": f"{m.spec.preprocess}, {m.spec.dtype}",
        "fingerprint": m.spec.fingerprint,
    }
    return {**model, **m.made}
