"""Bytes of Labelbox rows: signatures, private hosts, buckets; never with the API key."""

import threading
from dataclasses import replace

import pytest

from curate.errors import ConfigError, MediaError, Transient
from tests.connectors.conftest import listed
from tests.fakes.labelbox_server import image


def test_an_image_is_read_and_an_expired_address_signed_again(box, connect):
    for expired in ("403", "xml200"):
        box.switches.expired = expired
        dataset = box.state.add_dataset()
        rows = box.add_images(dataset, 30)
        connector = connect()
        items = listed(connector, dataset)
        assert connector.read(items[rows[3].id]) == image(3)
        box.expire_urls()
        box.reset_counts()
        for number in range(30):
            assert connector.read(items[rows[number].id]) == image(number)
        # One export signs all rows that follow in id order; rows before the first one asked for need at most a second.
        assert box.calls("exportDataRowsInCatalogPyApi") <= 30
        assert box.calls("image_expired") <= 30


def test_reading_in_id_order_signs_once_for_all(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 300)
    connector = connect()
    items = listed(connector, dataset)
    box.expire_urls()
    box.reset_counts()
    failures = []

    def read(part):
        for row in part:
            try:
                connector.read(items[row.id])
            except Exception as err:
                failures.append(err)

    ordered = sorted(rows, key=lambda r: r.id)
    connector.read(items[ordered[0].id])
    threads = [threading.Thread(target=read, args=(ordered[n::8],)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures
    assert box.calls("exportDataRowsInCatalogPyApi") == 1


def test_a_fresh_process_signs_without_a_listing(box, connect):
    dataset = box.state.add_dataset()
    row = box.add_images(dataset, 1)[0]
    item = listed(connect(), dataset)[row.id]
    assert connect().read(item) == image(0)


@pytest.mark.parametrize(("fault", "reason"), [("404", "http_404"), ("private", "blocked_address")])
def test_a_row_that_cannot_be_read_is_a_media_error(box, connect, fault, reason):
    dataset = box.state.add_dataset()
    row = box.add_images(dataset, 1)[0]
    box.image_faults["img/0.png"] = fault
    connector = connect()
    with pytest.raises(MediaError) as err:
        connector.read(listed(connector, dataset)[row.id])
    assert err.value.reason == reason


def test_a_forbidden_row_does_not_ask_for_signatures_forever(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 5)
    connector = connect()
    items = listed(connector, dataset)
    box.faults.add("image", "403", times=None)
    for row in rows:
        with pytest.raises(MediaError, match="http_403"):
            connector.read(items[row.id])
    assert box.calls("exportDataRowsInCatalogPyApi") <= 1 + len(rows)
    box.reset_counts()
    for row in rows:
        with pytest.raises(MediaError, match="http_403"):
            connector.read(items[row.id])
    assert box.calls("exportDataRowsInCatalogPyApi") == 0


def test_a_deleted_row_and_a_passing_failure(box, connect):
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 2)
    connector = connect()
    items = listed(connector, dataset)
    box.faults.add("image", "503", times=3)
    with pytest.raises(Transient):
        connector.read(items[rows[0].id])
    assert connector.read(items[rows[0].id]) == image(0)
    box.expire_urls()
    box.state.remove_row(rows[1].id)
    with pytest.raises(MediaError, match="gone"):
        connector.read(items[rows[1].id])


def test_private_hosts_need_to_be_allowed(box, connect):
    from connectors.labelbox import LabelboxConnector

    dataset = box.state.add_dataset()
    row = box.add_images(dataset, 1)[0]
    guarded = LabelboxConnector(replace(connect().settings, allow_hosts=()))
    with pytest.raises(MediaError, match="blocked_address"):
        guarded.read(listed(guarded, dataset)[row.id])


def test_a_bucket_is_read_from_a_media_root_and_named_without_one(box, connect, tmp_path):
    box.switches.iam = True
    dataset = box.state.add_dataset()
    rows = box.add_images(dataset, 2)
    rows[1].asset = "../../secret.png"
    (tmp_path / "b" / "img").mkdir(parents=True)
    (tmp_path / "b" / "img" / "0.png").write_bytes(image(0))
    (tmp_path / "secret.png").write_bytes(b"x")
    plain = connect()
    items = listed(plain, dataset)
    with pytest.raises(MediaError, match="needs_media_root"):
        plain.read(items[rows[0].id])
    rooted = connect(media_root=[f"gs://customer-bucket/={tmp_path / 'b'}"])
    assert rooted.read(items[rows[0].id]) == image(0)
    with pytest.raises(MediaError, match="blocked_path"):
        rooted.read(items[rows[1].id])
    for wrong in ("nothing", "gs://b/=", f"gs://b/={tmp_path / 'none'}"):
        with pytest.raises(ConfigError, match="media-root"):
            connect(media_root=[wrong])


def test_text_rows_give_their_text(box, connect):
    dataset = box.state.add_dataset()
    row = box.add_images(dataset, 1, mime="text/plain", width=None)[0]
    connector = connect()
    box.state.image_url = lambda _row: "a sentence, żółć"
    item = listed(connector, dataset)[row.id]
    assert item.media_type == "text" and "sentence" not in item.uri
    assert connector.read(item).decode() == "a sentence, żółć"


def test_a_media_root_covers_whole_names_only_and_names_as_they_are(tmp_path):
    from connectors._labelbox_media import Roots

    for name in ("a b.png", "100%25.png", "what?.png"):
        (tmp_path / name).write_bytes(b"x")
    roots = Roots([f"gs://photos={tmp_path}", f"https://cdn/={tmp_path}"])
    assert roots.file("gs://photos-2/a.png") is None and roots.file("gs://photos") is None
    assert roots.file("gs://photos/a%20b.png") == tmp_path / "a b.png"
    assert roots.file("gs://photos/100%25.png") == tmp_path / "100%25.png"
    assert roots.file("gs://photos/what?.png") == tmp_path / "what?.png"
    assert roots.file("https://cdn/a%20b.png?sig=1") == tmp_path / "a b.png"
    for address in ("gs://photos/../secret", "gs://photos/%2e%2e/secret", "https://cdn/..%2fsecret"):
        with pytest.raises(MediaError, match="leads out"):
            roots.file(address)


def test_long_texts_are_not_kept_in_memory(box, connect, monkeypatch):
    monkeypatch.setattr("connectors._labelbox_media.REMEMBERED_CHARS", 10_000)
    dataset = box.state.add_dataset()
    texts = {}
    for number in range(40):
        text = f"text {number} " * (600 if number % 2 else 60)
        row = box.state.add_row(dataset, text + "://", mime="text/plain", width=None)
        texts[row.id] = row.asset
    connector = connect()
    items = listed(connector, dataset)
    for _ in range(2):
        assert {i: connector.read(item).decode() for i, item in items.items()} == texts
        assert sum(len(content) for content, _ in connector.media._known.values()) <= 10_000 + 4096
