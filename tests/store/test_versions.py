"""Stores of older and newer versions, read-only disks."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from curate.errors import Corrupt, StoreError, WrongVersion
from curate.store import Store, _schema
from tests.store.conftest import DATASET, SPEC, assert_right, embed_all, listed, rows


@pytest.fixture
def made(tmp_path):
    with Store.open(tmp_path / "s", write=True, create=True) as store:
        listed(store, rows(20))
        embed_all(store)
    return tmp_path / "s"


def test_a_newer_store_is_refused(made):
    with Store.open(made, write=True) as store:
        store._db.run(f"PRAGMA user_version={len(_schema.MIGRATIONS) + 1}")
    for write in (False, True):
        with pytest.raises(WrongVersion, match=r"newer curate.*pip install --upgrade"):
            Store.open(made, write=write)


def test_an_older_store_is_migrated_by_a_writer(made, monkeypatch):
    added = "CREATE TABLE later(x INTEGER) STRICT; INSERT INTO later SELECT count(*) FROM row;"
    monkeypatch.setattr(_schema, "MIGRATIONS", (*_schema.MIGRATIONS, added))
    with pytest.raises(WrongVersion, match="it migrates the store"):
        Store.open(made)
    with Store.open(made, write=True) as store:
        assert store._db.value("SELECT x FROM later") == 20
        assert assert_right(store) == 20
    with Store.open(made) as store:
        assert store._db.value("PRAGMA user_version") == len(_schema.MIGRATIONS)


def test_a_migration_that_fails_leaves_the_store_as_it_was(made, monkeypatch):
    released = _schema.MIGRATIONS
    monkeypatch.setattr(_schema, "MIGRATIONS", (*released, "CREATE TABLE later(x INTEGER); INSERT INTO nowhere VALUES(1);"))
    with pytest.raises(StoreError):
        Store.open(made, write=True)
    monkeypatch.setattr(_schema, "MIGRATIONS", released)
    with Store.open(made, write=True) as store:
        assert assert_right(store) == 20
        assert not store._db.rows("SELECT 1 FROM sqlite_schema WHERE name='later'")


def test_a_database_of_another_program_is_left_alone(tmp_path):
    db = sqlite3.connect(tmp_path / "catalog.sqlite")
    db.execute("CREATE TABLE theirs(x)")
    db.commit()
    db.close()
    with pytest.raises(Corrupt, match="not a catalog of curate"):
        Store.open(tmp_path, write=True)


def test_a_segment_of_a_newer_format_is_refused(made):
    (first, *_) = sorted((made / "segments").iterdir())
    data = bytearray(first.read_bytes())
    data[8] = 9
    first.write_bytes(data)
    with Store.open(made) as store, pytest.raises(WrongVersion, match=first.name):
        store.embeddings(DATASET, SPEC.fingerprint)


READ = """
import os, sys
import numpy.testing
from pathlib import Path
from curate.store import Store
from tests.store.conftest import DATASET, assert_right
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
path = Path(sys.argv[1])
try:
    (path / "probe").write_text("x")
    sys.exit("the folder is not read-only")
except PermissionError:
    pass
with Store.open(path) as store:
    print(store.count(DATASET), assert_right(store))
try:
    Store.open(path, write=True)
except Exception as err:
    print(type(err).__name__, err)
"""


@pytest.mark.parametrize("crashed", [False, True])
def test_a_read_only_store_is_read(made, crashed):
    folder = Path(tempfile.mkdtemp(prefix="curate-test-"))
    try:
        folder.chmod(0o755)
        store = Store.open(made, write=True) if crashed else None
        if store:
            listed(store, rows(25))
            embed_all(store)
        copy = folder / "s"
        shutil.copytree(made, copy, ignore=shutil.ignore_patterns("*-shm"))
        if store:
            store.close()
            assert (copy / "catalog.sqlite-wal").stat().st_size > 0
        for path in [*copy.rglob("*"), copy]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        root = Path(__file__).parents[2]
        done = subprocess.run(
            [sys.executable, "-c", READ, str(copy)],
            capture_output=True,
            text=True,
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        first, second = done.stdout.splitlines()
        assert first == ("25 25" if crashed else "20 20")
        assert second.startswith("StoreError cannot lock")
    finally:
        for path in folder.rglob("*"):
            path.chmod(0o700)
        shutil.rmtree(folder)
