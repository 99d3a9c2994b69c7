"""Gates as JUnit XML, which every CI reads."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from curate.report._words import shown
from curate.report.parts import Gate, measured


def junit_xml(gates: Sequence[Gate], *, name: str) -> str:
    """One test suite `name` with one test case a gate.  Characters that XML cannot hold are spelled out."""
    failed = sum(not gate.passed for gate in gates)
    counts = {"tests": str(len(gates)), "failures": str(failed), "errors": "0", "skipped": "0"}
    root = ET.Element("testsuites", {"name": "curate check", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": shown(name, 4000), **counts})
    for gate in gates:
        title = shown(gate.name, 4000)
        case = ET.SubElement(suite, "testcase", {"classname": "curate.check", "name": title})
        value, limit = measured(gate.value, gate.unit), measured(gate.limit, gate.unit)
        line = f"{title}: {value}, limit {limit}"
        if gate.passed:
            ET.SubElement(case, "system-out").text = line
        else:
            failure = ET.SubElement(case, "failure", {"message": line, "type": "GateFailed"})
            failure.text = shown(gate.detail, 20_000) or line
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def write_junit(gates: Sequence[Gate], path: Path, *, name: str) -> Path:
    """Writes `junit_xml`; the file appears under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    part.write_text(junit_xml(gates, name=name), encoding="utf-8")
    part.replace(path)
    return path
