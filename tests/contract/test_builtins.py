"""The public contract suite over everything that is built in."""

from importlib.metadata import entry_points

import pytest

from connectors.folder import FolderConnector
from curate import embedders
from curate.errors import CurateError
from curate.protocols import ConnectorSettings
from curate.testing import (
    FakeConnector,
    FakeEmbedder,
    check_connector,
    check_embedder,
    sample_images,
    sample_texts,
)


def rows(count=5):
    return {f"{n}.img": data for n, data in enumerate(sample_images(count))}


def test_fake_connector():
    fake = FakeConnector(rows(), fields={"0.img": {"split": "train"}})
    check_connector(lambda: fake, "rows")


@pytest.mark.parametrize("geometry", ["euclidean", "cosine"])
def test_fake_embedder(geometry):
    check_embedder(FakeEmbedder(geometry=geometry))


def folder(tmp_path, options=None):
    settings = ConnectorSettings(options=options or {}, results=tmp_path / "store" / "results")
    return lambda: FolderConnector(settings)


@pytest.mark.parametrize("labels", ["", "folder", "labels.csv"])
def test_folder(tmp_path, labels):
    photos = tmp_path / "photos"
    for n, data in enumerate(sample_images(6)):
        (photos / f"class {n % 2}").mkdir(parents=True, exist_ok=True)
        (photos / f"class {n % 2}" / f"{n}.png").write_bytes(data)
    (photos / "labels.csv").write_text("file,label,split\nclass 0/0.png,cat,train\nclass 1/1.png,dog,\n")
    check_connector(folder(tmp_path, {"labels": labels} if labels else {}), str(photos), fields=FIELDS)


FIELDS = ("duplicate", "duplicate_score", "cluster", "sample", "path", "path_confidence")


def test_folder_of_texts(tmp_path):
    for n, data in enumerate(sample_texts(4)):
        (tmp_path / f"{n}.txt").write_bytes(data)
    check_connector(folder(tmp_path / "elsewhere"), str(tmp_path), fields=FIELDS)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_folder_with_a_table(tmp_path, suffix):
    import csv
    import json

    table = tmp_path / f"rows.{suffix}"
    records = [{"id": f"r{n}", "text": data.decode() + ',\n"quoted"', "lang": "en"} for n, data in enumerate(sample_texts(5))]
    with table.open("w", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(record) + "\n" for record in records)
        else:
            writer = csv.DictWriter(file, ["id", "text", "lang"], delimiter="\t" if suffix == "tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    check_connector(folder(tmp_path, {"text_field": "text"}), str(table), fields=FIELDS)


WEIGHT_FREE = ("pixels", "pixels-784")


@pytest.mark.parametrize("name", WEIGHT_FREE)
@pytest.mark.parametrize("preprocess", ["exact", "fast"])
def test_weight_free_embedders(name, preprocess):
    check_embedder(embedders.load(name, preprocess=preprocess))


def test_every_embedder_that_needs_no_weights_is_checked():
    constructible = set()
    for point in entry_points(group="curate.embedders"):
        if not point.module.startswith("curate."):
            continue
        try:
            embedders.load(point.name, offline=True)
        except (CurateError, ModuleNotFoundError):
            continue
        constructible.add(point.name)
    assert constructible == set(WEIGHT_FREE)
