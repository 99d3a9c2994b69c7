"""What the connector writes into a real FiftyOne dataset, and that it is taken away again."""

import pytest

from curate.types import Change
from tests.connectors.fiftyone_place import dataset, pictures


@pytest.fixture
def photos(fo, tmp_path):
    return dataset("photos", pictures(tmp_path / "photos"))


def listed(connector, name="photos"):
    return {item.id: item for page in connector.pages(name) for item in page.items}


def test_copies_are_tagged_and_the_tag_follows_the_value(photos, fiftyone_connect):
    first, second, *_ = photos.values("id")
    connector = fiftyone_connect()
    applied = connector.push_fields(
        "photos", [Change(first, "duplicate", None, "kept"), Change(second, "duplicate", None, f"copy-of/{first}")]
    )
    connector.flush("photos")
    assert applied.accepted == 2
    photos.reload()
    assert photos.match_tags("curate:duplicate").values("id") == [second]
    assert photos[second].curate.duplicate == f"copy-of/{first}"
    assert photos.count_sample_tags()["mine"] == 14
    connector.push_fields("photos", [Change(second, "duplicate", f"copy-of/{first}", None)])
    assert "curate:duplicate" not in photos.count_sample_tags()
