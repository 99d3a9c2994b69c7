"""`curate export` after a sync: kept, copies and sample, copied and linked."""


def tree(to):
    return {p.relative_to(to).as_posix() for p in to.rglob("*") if not p.is_dir()}


def test_the_verb_exports_what_was_found(photos, curate):
    assert curate("sync", "--dataset", "photos", "--model", "pixels", "--sample", "4", "--json")[0] == 0
    code, document, _ = curate("export", "--to", "kept", "--json")
    kept = tree(photos.parent / "kept")
    assert code == 0 and document["rows"] == document["written"] == len(kept) and document["mode"] == "copy"
    code, document, _ = curate("export", "--to", "copies", "--only", "duplicates", "--link", "--json")
    copies = tree(photos.parent / "copies")
    assert code == 0 and document["mode"] == "link" and copies and not copies & kept
    assert copies | kept == tree(photos)
    assert all((photos.parent / "copies" / name).resolve() == (photos / name).resolve() for name in copies)
    assert curate("export", "--to", "copies", "--only", "duplicates", "--link", "--json")[1]["present"] == len(copies)
    code, document, _ = curate("export", "--to", "sample", "--only", "sample", "--json")
    assert code == 0 and len(tree(photos.parent / "sample")) == 4
    assert curate("export", "--to", "none", "--only", "sample", "--name", "other")[0] == 2
    assert curate("export", "--to", "none", "--name", "other")[0] == 2
    (photos / "00.png").unlink()
    code, document, _ = curate("export", "--to", "again", "--json")
    assert code in (0, 3) and document["written"] + len(document["failures"]) == len(kept)


def test_before_anything_was_judged_the_verb_says_what_to_run(photos, curate):
    assert curate("pull", "--dataset", "photos")[0] == 0
    for only, verb in (("kept", "curate duplicates"), ("sample", "curate sample")):
        code, _, said = curate("export", "--to", "out", "--only", only)
        assert code == 2 and verb in said


def test_a_folder_inside_the_dataset_is_refused(photos, curate):
    assert curate("sync", "--dataset", "photos", "--model", "pixels")[0] == 0
    for to in ("photos", "photos/kept", "photos/sub"):
        code, _, said = curate("export", "--to", to)
        assert code == 2 and "rows of the next run" in said


def test_files_are_exported_from_a_store_that_is_only_read(photos, curate, monkeypatch):
    from connectors.folder import FolderConnector
    from curate.errors import ConnectorError

    assert curate("sync", "--dataset", "photos", "--model", "pixels")[0] == 0

    def refuse(_self, _dataset_id):
        raise ConnectorError("the results cannot be written there")

    monkeypatch.setattr(FolderConnector, "check", refuse)
    code, document, _ = curate("export", "--to", "kept", "--json")
    assert code == 0 and document["written"] == len(tree(photos.parent / "kept")) > 0
    photos.rename(photos.parent / "moved")
    code, _, said = curate("export", "--to", "again")
    assert code == 4 and "is not there any more" in said
