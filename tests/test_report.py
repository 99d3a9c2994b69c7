"""Reports: what they say, that names stay names, and that the page stands alone."""

import base64
import hashlib
import io
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from curate.report import Bar, Bars, Curve, Histogram, Map, Material, Point, Section, Table, build_report
from curate.report._words import shown
from curate.report.curve import drawing
from curate.report.html import IMAGES_BYTES, POINTS, drawn, page, write_html
from curate.report.junit import junit_xml, write_junit
from curate.report.summary import LIMIT, append_summary, capped, escaped, gates_markdown, report_markdown
from curate.report.text import renderables
from curate.types import EmbedderSpec, Failure, Findings

SPEC = EmbedderSpec("clip", "abc", "projected", 512, "cosine")
HOSTILE = (
    "</script><img src=x onerror=alert(1)>.jpg",
    '"><svg onload=alert(2)>.png',
    "'-->]]></style><script>alert(3)</script>",
    "\u202egpj.exe\u2066",
    '=HYPERLINK("http://x")',
    "../../etc/passwd",
    "{{ 7 * 7 }}{% include 'page.css' %}",
    "a\nb\x00\x1b[31m",
    "\ud800 lone",
    "x" * 4096,
    "javascript:alert(4)",
    "😀 名前",
)


@dataclass(frozen=True)
class Gate:
    name: str
    value: float
    limit: float
    passed: bool
    unit: str = "share"
    detail: str = ""


def jpeg(_id="", size=(200, 150)):
    out = io.BytesIO()
    Image.new("RGB", size, (90, 120, 40)).save(out, "JPEG")
    return out.getvalue()


def findings(ids):
    keep, *copies = ids[:4]
    listed = [{"id": c, "kind": "near", "distance": 0.01, "evidence": {"probability": 0.98}} for c in copies]
    unit = "cosine distance"
    duplicates = {"groups": [{"keep": keep, "why": f"labelled, {keep}", "copies": listed}], "unit": unit}
    cover = {"mean": 0.2, "max": 0.5, "random_mean": 0.25, "random_max": 0.6, "measured_on": len(ids)}
    sample = {"ids": ids, "method": "cluster", "unit": unit, "coverage": cover}
    clusters = [{"cluster": 0, "size": len(ids), "medoids": ids[:3], "spread": 0.1, "description": ids[0]}]
    classes = [{"label": i, "count": 3, "spread": 0.1, "nearest": ids[0], "nearest_distance": 0.2, "mistakes": 1} for i in ids]
    mistakes = [{"id": ids[0], "label": ids[1], "suggested": ids[2], "agreement": 0.9, "times_farther": 2.0}]
    errors = {"cluster": [{"value": ids[0], "rows": 9, "errors": 3, "rate": 1 / 3, "low": 0.1, "high": 0.6}]}
    labels = {"field": ids[0], "unit": unit, "classes": classes, "mistakes": mistakes, "errors": errors}
    issues = {"dark": [{"id": ids[0], "value": 0.1, "text": ids[1]}]}
    outliers = [{"id": ids[1], "distance": 0.9, "nearest": 0.8, "text": "2 times as far"}]
    quality = {"unit": unit, "issues": issues, "outliers": outliers}
    paths = {i: i.replace("/", "|") + "/b" for i in ids}
    return {
        "duplicates": Findings("duplicates", {}, duplicates, {}),
        "sample": Findings("sample", {}, sample, {"name": ids[0]}),
        "clusters": Findings("clusters", {}, {"unit": unit, "clusters": clusters}, {}),
        "labels": Findings("labels", {}, labels, {}),
        "quality": Findings("quality", {}, quality, {"checked": 10}),
        "tag": Findings("tag", {"path": paths, "path_breed": {ids[0]: "dog/beagle"}}, {}, {"abstained": 2}),
    }


def material(ids, **more):
    points = Map(ids, list(range(len(ids))), list(range(len(ids))), {ids[0]: list(ids)}, "UMAP.")
    return Material(
        ids[0],
        SPEC,
        rows=len(ids) + 1,
        vectors=len(ids),
        findings=findings(ids),
        failures=[Failure(i, "1", i, i) for i in ids],
        map=points,
        histograms=[Histogram("Distance from [ROOT]", "cosine distance", [0, 1, 2], [3, 4])],
        tables=[Table(ids[0], ("codec", "bytes"), [(ids[1], "4")], numeric=frozenset({1}))],
        made={"command": ids[0]},
        **more,
    )


PLAIN = [f"row{i}.jpg" for i in range(6)]


class Elements(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes, self.text, self.scripts = [], [], [], 0

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.text.append(data)


def parsed(text):
    elements = Elements()
    elements.feed(text)
    elements.close()
    return elements


def without_plotly(report, **more):
    from dataclasses import replace

    return page(replace(report, map=None), more.get("thumb", jpeg))


def test_hostile_names_add_no_element_and_no_attribute():
    hostile, plain = (
        parsed(page(build_report(material(list(ids))), jpeg)) for ids in (HOSTILE, [f"r{i}" for i in range(len(HOSTILE))])
    )
    assert hostile.tags == plain.tags
    assert {(t, n) for t, n, _ in hostile.attributes} <= {(t, n) for t, n, _ in plain.attributes} | {("bdi", "title")}
    for tag, name, value in hostile.attributes:
        assert not name.startswith("on") and not (name in ("href", "src") and not value.startswith(("#", "data:")))
    assert "img src=x onerror=alert(1)" in "".join(hostile.text) and "49{%" not in "".join(hostile.text)


def test_hostile_names_cannot_turn_the_text_round_or_fill_the_page():
    text = without_plotly(build_report(material(list(HOSTILE))))
    assert not any(c in text for c in "\u202e\u2066\x00\x1b") and "\\u202e" in text
    visible = [part for part in parsed(text).text if "xxxx" in part]
    assert visible and max(map(len, visible)) < 700


def test_the_page_loads_nothing_and_runs_only_what_it_hashes():
    text = page(build_report(material(PLAIN)), jpeg)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'") and "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.partition("script-src")[2]
    scripts = re.findall(r"<script>(.*?)</script>", text, re.S)
    assert len(scripts) == 2
    for script in scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    for tag, name, value in parsed(text).attributes:
        assert not (name in ("src", "href") and re.match(r"[a-z]+:", value) and not value.startswith("data:")), (tag, name)
    assert "<script" not in without_plotly(build_report(material(PLAIN)))


def test_the_summary_comes_first_in_plain_words_with_what_to_do_next():
    report = build_report(material(PLAIN))
    assert "3 rows (50 %) are copies of another row, in 1 group: 3 near copies." in report.found
    assert any("20 % nearer to all rows than a random choice" in line for line in report.found)
    assert [step.command.split()[1] for step in report.steps if step.command][:2] == ["duplicates", "export"]
    keys = [section.key for section in report.sections]
    assert keys == [
        "duplicates",
        "sample",
        "clusters",
        "classes",
        "mistakes",
        "outliers",
        "quality",
        "tags",
        "measured",
        "failures",
    ]
    text = without_plotly(report)
    assert text.index("What was found") < text.index("What to do next") < text.index("Near duplicates</h2>")


def test_the_kept_row_comes_first_with_its_reason_and_every_distance_has_a_unit():
    section = build_report(material(PLAIN)).section("duplicates")
    (group,) = section.groups
    assert [(s.id, s.mark) for s in group.shown] == [("row0.jpg", "kept"), *((f"row{i}.jpg", "copy") for i in (1, 2, 3))]
    assert group.note.startswith("Kept: labelled") and "cosine distance" in section.text
    assert group.shown[1].caption == ("near copy", "distance 0.01", "sure to 98.0 %") or list(group.shown[1].caption) == [
        "near copy",
        "distance 0.01",
        "sure to 98.0 %",
    ]


def test_tags_are_a_tree_with_counts():
    found = {"tag": Findings("tag", {"path": {"a": "x/y", "b": "x/z", "c": "x", "d": "w"}}, {}, {})}
    (x, w) = build_report(Material("d", SPEC, 4, 4, found)).section("tags").tree
    assert (x.name, x.count, [(b.name, b.count) for b in x.children]) == ("x", 3, [("y", 1), ("z", 1)])
    assert (w.name, w.count, w.children) == ("w", 1, ())


def test_slashes_inside_names_make_no_level():
    found = {"tag": Findings("tag", {"path": {"a": "in\\/out/c\\\\d", "b": "in\\/out"}}, {}, {})}
    (one,) = build_report(Material("d", SPEC, 2, 2, found)).section("tags").tree
    assert (one.name, one.count, [b.name for b in one.children]) == ("in/out", 2, ["c\\d"])


def test_tags_say_whether_they_are_calibrated_and_count_what_stayed_untagged():
    def section(values, **facet):
        found = Findings("tag", {"path": values}, {"facets": {"path": facet}}, {"abstained": 4 - len(values)})
        return build_report(Material("d", SPEC, 4, 4, {"tag": found}))

    free = section({"a": "x"}, calibrated=False, tau=0.6)
    assert "Uncalibrated: tau = 0.6 promises nothing" in free.section("tags").text
    kept = section({"a": "x"}, calibrated=True, tau=0.8, risk_bound=0.096)
    assert "tau = 0.8: at most 9.6 % of the images get a wrong tag" in kept.section("tags").text
    none = section({}, calibrated=False, tau=None)
    assert "no threshold keeps the risk" in none.section("tags").text.replace("No t", "no t")
    assert any("0 rows were tagged; 4 were left untagged" in line for line in none.found)


def test_without_results_it_says_what_to_run():
    report = build_report(Material("folder:my photos", SPEC, 3, 3, {}))
    assert report.sections == [] and report.steps[0].command.startswith("curate sync --dataset 'folder:my photos' --model ")
    assert "All 3 rows were judged" in report.found[0] and "row" in without_plotly(report)


def test_classes_are_counted_from_fields_when_labels_were_not_judged():
    fields = {"label": {"a": "cat", "b": "cat", "c": "dog", "d": None}}
    section = build_report(Material("d", SPEC, 4, 4, {}, fields=fields)).section("classes")
    assert [(b.label, b.text) for b in section.bars[0].bars] == [("cat", "2"), ("dog", "1")]


def test_missing_and_broken_thumbnails_leave_a_gap_not_an_error():
    thumbs = {"row0.jpg": jpeg(), "row1.jpg": b"not a jpeg", "row2.jpg": jpeg()[:100]}
    text = without_plotly(build_report(material(PLAIN)), thumb=thumbs.get)
    assert "no thumbnail" in text and "data:image/jpeg" in text


def test_thumbnails_are_small_and_bounded():
    rng = np.random.default_rng(0)

    def noise(_id):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (320, 320, 3), dtype=np.uint8)).save(out, "JPEG", quality=95)
        return out.getvalue()

    ids = [f"{i}" for i in range(110)]
    text = without_plotly(build_report(material(ids)), thumb=noise)
    images = re.findall(r"data:image/jpeg;base64,[^\"]+", text)
    with Image.open(io.BytesIO(base64.b64decode(images[0].partition(",")[2]))) as small:
        assert max(small.size) <= 176
    assert sum(len(i) for i in set(images)) <= IMAGES_BYTES


def test_long_lists_are_cut_and_said():
    groups = [
        {"keep": f"k{i}", "why": "", "copies": [{"id": f"c{i}", "kind": "bytes", "distance": 0.0, "evidence": {}}]}
        for i in range(130)
    ]
    found = {"duplicates": Findings("duplicates", {}, {"groups": groups, "unit": "u"}, {})}
    section = build_report(Material("d", SPEC, 260, 260, found)).section("duplicates")
    assert len(section.groups) == 100 and section.left_out == "30 further groups, decided more surely"


def test_many_clusters_are_cut_and_said():
    entries = [{"cluster": i, "size": 500 - i, "medoids": [f"m{i}"], "spread": 0.1, "description": ""} for i in range(200)]
    found = {"clusters": Findings("clusters", {}, {"clusters": entries, "unit": "u"}, {})}
    section = build_report(Material("d", SPEC, 1, 1, found)).section("clusters")
    assert len(section.groups) == 120 and section.left_out == "80 smaller clusters"


def test_the_least_sure_groups_come_first():
    groups = [
        {
            "keep": f"k{i}",
            "why": "",
            "copies": [{"id": f"c{i}", "kind": "near", "distance": 0.0, "evidence": {"probability": p}}],
        }
        for i, p in enumerate((0.999, 0.91, 0.97))
    ]
    found = {"duplicates": Findings("duplicates", {}, {"groups": groups, "unit": "u"}, {})}
    section = build_report(Material("d", SPEC, 6, 6, found)).section("duplicates")
    assert [g.shown[0].id for g in section.groups] == ["k1", "k2", "k0"]


def test_a_large_map_is_drawn_from_and_says_so():
    n = POINTS + 500
    points = drawn(Map([str(i) for i in range(n)], np.arange(n), np.arange(n), {"c": ["a"] * n}, "PCA."))
    assert len(points.ids) == len(points.x) == len(points.colours["c"]) == POINTS and f"of {n:,} rows are drawn" in points.note


def test_the_file_appears_whole_under_its_name(tmp_path):
    path = write_html(build_report(material(PLAIN)), tmp_path / "deep" / "r.html", jpeg)
    assert path.read_text().rstrip().endswith("</html>") and [p.name for p in path.parent.iterdir()] == ["r.html"]

    def broken(_id):
        raise RuntimeError("thumbnail store is gone")

    with pytest.raises(RuntimeError):
        write_html(build_report(material(PLAIN)), tmp_path / "other.html", broken)
    assert not (tmp_path / "other.html").exists()


def test_names_are_shown_safely_and_short():
    assert shown("plain.jpg") == "plain.jpg" and shown("a\nb") == "a b" and shown("\u202ex") == "\\u202ex"
    assert len(shown("\x00" * 100_000, 60)) <= 60 and shown("a" * 100, 30).count("a") == 29 and "…" in shown("a" * 100, 30)


GATES = (
    Gate("max_duplicate_rate", 0.12, 0.05, False, detail="worst: <b>copy</b> | of `x`"),
    Gate("min_class_count", 40, 10, True, unit="rows"),
)


def test_gates_stand_on_the_page():
    text = without_plotly(build_report(material(PLAIN, gates=GATES)))
    assert "12.00%" in text and "40 rows" in text and "failed: worst: &lt;b&gt;" in text


def test_junit_holds_every_gate(tmp_path):
    root = ET.parse(write_junit(GATES, tmp_path / "out" / "j.xml", name="folder:x\x00")).getroot()
    assert root.get("tests") == "2" and root.get("failures") == "1"
    cases = root.findall(".//testcase")
    assert [c.get("name") for c in cases] == ["max_duplicate_rate", "min_class_count"]
    assert "12.00%, limit 5.00%" in cases[0].find("failure").get("message") and cases[1].find("failure") is None
    for name in HOSTILE:
        ET.fromstring(junit_xml([Gate(name, 1, 0, False, detail=name)], name=name).partition("\n")[2])


def test_summaries_are_markdown_whose_names_stay_names():
    text = gates_markdown(GATES, name="folder:x")
    assert text.index("max\\_duplicate") < text.index("min\\_class") and "1 of 2 gates failed" in text
    for name in HOSTILE:
        cell = escaped(name)
        assert "\n" not in cell and not re.search(r"(?<!\\)[|<>`\[]", cell) and "://" not in cell
    assert report_markdown(build_report(material(PLAIN))).count("| codec |") == 1


def test_a_step_summary_stays_below_its_limit(tmp_path):
    path = tmp_path / "summary.md"
    path.write_text("earlier\n" * 10)
    assert append_summary(GATES, path, name="d", report=build_report(material(PLAIN)))
    assert path.read_text().startswith("earlier")
    path.write_text("y\n" * (LIMIT // 2 - 300))
    assert append_summary(GATES, path, name="d", report=build_report(material(PLAIN))) and path.stat().st_size <= LIMIT
    assert "Cut here" in path.read_text()
    path.write_text("y" * LIMIT)
    assert not append_summary(GATES, path, name="d") and path.stat().st_size == LIMIT
    assert capped("é\n" * 1000, 500).encode().__len__() <= 500


def test_the_terminal_shows_the_same_without_colour():
    from rich.console import Console

    texts = []
    for colour in (None, "standard"):
        out = io.StringIO()
        console = Console(file=out, width=100, color_system=colour, force_terminal=colour is not None)
        for part in renderables(build_report(material(list(HOSTILE), gates=GATES))):
            console.print(part)
        texts.append(re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()))
    assert texts[0] == texts[1] and "\x1b" not in texts[0] and "What to do next" in texts[0]
    assert not any(c in texts[0] for c in "\u202e\x00")


def test_ten_thousand_rows_make_a_page_below_twelve_megabytes():
    ids = [f"folder/image-{i:05d}.jpg" for i in range(10_000)]
    one = jpeg(size=(320, 240))
    text = page(build_report(material(ids)), lambda _id: one)
    assert len(text.encode()) < 12_000_000
    chart = Bars("c", [Bar("a", 1.0, "1")])
    assert Section("k", "t", "x", bars=(chart,)).bars[0] is chart


def codecs_curve():
    large = {"f32": (2048, 1.0), "int8": (516, 0.99), "int4": (262, 0.93)}
    small = {"tc:4": (260, 0.96), "tc:3": (196, 0.95), "binary": (68, 0.5)}
    points = [Point(name, x, y, f"{x} bytes", name == "int8") for name, (x, y) in (large | small).items()]
    return Curve("kept", "bytes", "recall", points)


def test_a_curve_joins_what_nothing_else_beats():
    made = drawing(codecs_curve())
    assert [s.point.label for s in made.line] == ["binary", "tc:3", "tc:4", "int8", "f32"]
    assert {s.point.label: s.side for s in made.spots}["int4"] == "below"
    assert [s.side for s in made.line] == ["above", "above", "lifted", "above", "above"]
    assert all(0 < s.x < 100 and 0 <= s.y < 100 for s in made.spots)
    assert [t.text for t in made.across] == ["64", "128", "256", "512", "1,024", "2,048"]
    assert made.up[-1].text == "1.00" and drawing(Curve("none", "x", "y", ())).spots == ()
    one = drawing(Curve("one", "x", "y", [Point("a", 3.0, 0.25)]))
    assert len(one.spots) == len(one.line) == 1 and 0 <= one.spots[0].y < 100


def test_the_page_and_the_terminal_show_a_curve():
    from rich.console import Console

    report = build_report(material(PLAIN, curves=[codecs_curve()]))
    text = without_plotly(report)
    assert text.count('class="dot') == 6 and "<polyline" in text and 'class="dot strong"' in text
    console = Console(width=80, file=io.StringIO())
    console.print(*renderables(report))
    assert re.search(r"int8 +516 +0.990", console.file.getvalue())
