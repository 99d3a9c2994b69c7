"""The folder connector: labels, and tables of texts as datasets."""

import contextlib
import csv
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError, ConnectorError, MediaError
from tests.connectors.folder_place import Place


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_labels_by_folder(place):
    place.add("train/cat/1.png")
    place.add("dog/2.png")
    place.add("3.png")
    labels = {i: item.fields.get("label") for i, item in place.items(labels="folder").items()}
    assert labels == {"3.png": None, "dog/2.png": "dog", "train/cat/1.png": "cat"}


def test_labels_from_a_csv(place, tmp_path):
    place.add("a/1.png")
    place.add("2.png")
    place.add("labels.csv", "\ufeffsplit,file,label\ntrain,a/1.png,cat\n,./2.png,\ntest,3.png,dog\n")
    items = place.items(labels="labels.csv")
    assert {i: dict(item.fields) for i, item in items.items()} == {"2.png": {}, "a/1.png": {"split": "train", "label": "cat"}}
    assert any("1 rows of the labels" in line for line in place.said)
    elsewhere = tmp_path / "truth.csv"
    elsewhere.write_text("id,grade\n2.png,7\n")
    assert place.items(labels=str(elsewhere))["2.png"].fields == {"grade": "7"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,label\na,b\n", "id or file or filename"),
        ("id,cluster\na,1\n", "result that curate writes"),
        (b"id\n\xff\n", "cannot be read"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(place, content, message):
    place.add("a.png")
    place.add("labels.csv", content)
    with pytest.raises(ConfigError, match=message):
        place.connector(labels="labels.csv").check(str(place.root))
    with pytest.raises(ConfigError, match=r"none\.csv"):
        place.connector(labels="none.csv").check(str(place.root))


TEXTS = ["plain", 'with "quotes", commas', "two\nlines", "  spaces  ", "\u00fc\U0001f600", "x" * 200_000]


def table(place, suffix, records):
    path = place.root / f"rows.{suffix}"
    with path.open("w", encoding="utf-8", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        else:
            writer = csv.DictWriter(file, list(records[0]), delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    return path


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_tables_of_texts(place, suffix):
    path = table(place, suffix, [{"id": f"r{n}", "body": text, "lang": "en"} for n, text in enumerate(TEXTS)])
    items = place.items(path, text_field="body")
    connector = place.connector(text_field="body")
    assert [connector.read(item).decode() for item in items.values()] == TEXTS
    assert list(items) == [f"r{n}" for n in range(len(TEXTS))]
    assert all(item.media_type == "text" and item.fields == {"lang": "en"} for item in items.values())
    path.write_bytes(path.read_bytes().replace(b"plain", b"plainer"))
    later = place.items(path, text_field="body")
    assert {i for i in items if later[i].version != items[i].version} == {"r0"}
    assert [connector.read(item).decode() for item in later.values()] == ["plainer", *TEXTS[1:]]
    with pytest.raises(MediaError):
        connector.read(items["r1"])


def test_rows_without_an_id_are_numbered_and_rows_without_a_text_fail(place):
    path = place.add("rows.jsonl", '{"text": "a"}\n\nnot json\n{"text": 5}\n["text"]\n{"id": 7, "text": "b", "score": 0.5}\n')
    items = place.items(path, text_field="text")
    assert list(items) == ["1", "2", "3", "4", "7"]
    assert items["7"].fields == {"score": 0.5}
    connector, reasons = place.connector(text_field="text"), []
    for item in items.values():
        try:
            connector.read(item)
        except MediaError as err:
            reasons.append(err.reason)
    assert reasons == ["no_text"] * 3


def test_a_table_needs_its_text_field(place):
    path = table(place, "csv", [{"id": "1", "body": "a"}])
    with pytest.raises(ConfigError, match="--text-field"):
        place.connector().check(str(path))
    with pytest.raises(ConfigError, match="its columns are: id, body"):
        place.connector(text_field="text").check(str(path))
    with pytest.raises(ConfigError, match="rename the column"):
        place.connector(text_field="body").check(str(table(place, "csv", [{"body": "a", "cluster": "1"}])))
    with pytest.raises(ConfigError, match="needs a folder"):
        place.connector(text_field="body", labels="folder").check(str(path))


NOISE = st.one_of(
    st.binary(max_size=300),
    st.text('",\n\r\t{}[]:idtex\u00fc\x00 ', max_size=200).map(lambda text: text.encode()),
    st.lists(
        st.sampled_from(
            [
                '{"text": "a", "id": 1}',
                '{"text": "\\ud800"}',
                '{"id": "\\ud800", "text": "x", "f": 1e999}',
                "[" * 9000,
                "9" * 5000,
                '"',
                "a,b",
            ]
        )
    ).map(lambda lines: "\n".join(lines).encode()),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=NOISE, header=st.booleans(), suffix=st.sampled_from(["csv", "tsv", "jsonl"]))
def test_no_table_however_broken_raises_anything_of_its_own(place, noise, header, suffix):
    line = {"csv": b"id,text\n", "tsv": b"id\ttext\n", "jsonl": b'{"id": "first", "text": "a"}\n'}[suffix]
    path = place.add(f"noise.{suffix}", (line if header else b"") + noise)
    connector = place.connector(text_field="text")
    try:
        items = [item for page in connector.pages(str(path)) for item in page.items]
    except (ConfigError, ConnectorError):
        return
    for item in items:
        item.id.encode(), json.dumps(dict(item.fields), allow_nan=False).encode()
        with contextlib.suppress(MediaError):
            assert hashlib.sha256(connector.read(item)).hexdigest() == item.version
