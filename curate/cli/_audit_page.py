"""The page on which pairs are judged by eye, and the table of answers."""

from __future__ import annotations

import base64
import csv
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.errors import ConfigError

COLUMNS = ("a", "b", "kind", "distance", "probability", "copy")

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Are these copies?</title>
<style>body{font:16px sans-serif;margin:2em auto;max-width:60em}figure{display:inline-block;margin:.5em}img{max-width:320px}
section{border-top:1px solid #999;padding:.7em 0}figcaption{font-size:.8em;max-width:320px;overflow-wrap:anywhere}</style>
<h1>Are these copies of one another?</h1>
<p>Judge every pair, then save the answers and run <code>curate duplicates --judged FILE.csv</code>.</p>
%s
<p><button id="save">Save the answers</button></p>
<script>
document.getElementById("save").onclick = () => {
  const quote = (v) => '"' + v.replaceAll('"', '""') + '"';
  const rows = [...document.querySelectorAll("section")].map((s) => {
    const chosen = s.querySelector("input:checked");
    return [s.dataset.a, s.dataset.b, s.dataset.kind, s.dataset.distance, s.dataset.probability, chosen ? chosen.value : ""]
      .map(quote).join(",");
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([["%s", ...rows].join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "judged.csv";
  link.click();
};
</script></html>
"""


def write_audit(path: Path, pairs: Sequence[Mapping[str, Any]], thumb: Callable[[str], bytes | None]) -> None:
    """Writes pairs to judge: an HTML page with pictures, or (FILE.csv) a table with an empty column `copy`."""
    if path.suffix.lower() == ".csv":
        write_table(path, pairs, COLUMNS)
        return
    sections = []
    for number, pair in enumerate(pairs):
        data = " ".join(f'data-{name}="{html.escape(str(pair.get(name, "")))}"' for name in COLUMNS[:-1])
        figures = "".join(_figure(str(pair[side]), thumb(str(pair[side]))) for side in ("a", "b"))
        answers = "".join(
            f'<label><input type="radio" name="p{number}" value="{value}"> {value}</label> ' for value in ("yes", "no")
        )
        sections.append(f"<section {data}>{figures}<p>Copies? {answers}</p></section>")
    path.write_text(_PAGE % ("\n".join(sections), ",".join(COLUMNS)), encoding="utf-8")


def _figure(item: str, data: bytes | None) -> str:
    picture = (
        "(no picture)"
        if data is None
        else f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data).decode("ascii")}">'
    )
    return f"<figure>{picture}<figcaption>{html.escape(item)}</figcaption></figure>"


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Writes rows as CSV; what a row lacks stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(columns), extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV.  Raises ConfigError for a file that cannot be read or has no column `copy`."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise ConfigError(f"--judged {path}: {err}") from err
    if "copy" not in (reader.fieldnames or ()):
        raise ConfigError(f"--judged {path}: there is no column 'copy'; write the file with --audit N")
    return rows
