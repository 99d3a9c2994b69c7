"""The Curate panel through the server's own executor: what each click shows and does, on a real database."""

import json

import pytest

from connectors.fiftyone_plugin.cutting import PRECISIONS, Cut, graph_of, recut
from curate.store import Store
from tests.connectors.fiftyone_place import dataset, pictures
from tests.fiftyone_plugin.driven import Panel, execute

TAXONOMY = "animal:\n  cat:\n  dog:\n"


def curate_fields(samples):
    return [i for i, doc in zip(*samples.values(["id", "curate"]), strict=True) if doc] if samples.has_field("curate") else []


# opening


def test_a_new_dataset_is_told_what_to_do(photos):
    panel = Panel("photos")
    assert "Nothing is stored for this dataset yet" in panel.words
    panel.button("Sync")
    assert panel.asked[-1]["operator_uri"] == "@curate/curate/curate_sync"
    for tab in ("duplicates", "map", "sample", "tags"):
        assert "Sync it first" in panel.tab(tab).words


def test_the_overview_counts_what_is_stored(panel):
    assert [panel.number(name) for name in ("samples", "embedded", "failed")] == [14, 14, 0]
    for word in ("pixels", "Euclidean distance", "fiftyone:photos", "What is stored"):
        assert word in panel.words


def test_new_samples_are_noticed_by_the_next_sync_only(panel, synced, plugin, tmp_path):
    more = pictures(tmp_path / "more", count=2, seed=9)
    synced.add_samples([plugin.Sample(filepath=str(p)) for p in more[:2]])
    result = execute("curate_sync", "photos", {"model": "pixels"})
    assert result.error is None
    assert panel.call("refresh").number("samples") == 16


def test_a_missing_file_is_a_failure_that_is_listed(synced, plugin):
    synced.add_sample(plugin.Sample(filepath="/nowhere/gone.png"))
    execute("curate_sync", "photos", {"model": "pixels"})
    panel = Panel("photos")
    assert panel.number("failed") == 1
    assert "gone.png: missing" in panel.words


def test_another_dataset_takes_nothing_along(panel, plugin, tmp_path):
    panel.state |= {"plan": "x", "body": {"radius_at": 0.1}, "group_page": 3}
    dataset("others", pictures(tmp_path / "others", count=3))
    panel.dataset = "others"
    panel.call("on_change_dataset")
    assert "Nothing is stored" in panel.words
    assert not panel.state["plan"] and not panel.state["body"]["radius_at"]


# duplicates


def test_groups_have_pictures_reasons_and_counts(panel):
    panel.tab("duplicates")
    assert (panel.number("copies would go"), panel.number("groups")) == (2, 1)
    assert "Groups 1 to 1 of 1" in panel.words and "Stays: " in panel.words
    sheet = panel.data["body"]["sheet_0"]
    assert sheet.startswith("data:image/webp;base64,") and len(sheet) > 1000


def test_the_sliders_cut_again_without_computing_anything(panel, synced, monkeypatch):
    import curate.index

    def refuse(*_args, **_more):
        raise AssertionError("the slider searched")

    with Store.open(synced.info["curate"]["store"]) as store:
        [held] = store.specs("fiftyone:photos")
        graph = graph_of(store, "fiftyone:photos", held.spec)
    strictest = recut(graph, Cut(precision=PRECISIONS[-1], radius=10.0)).rows
    monkeypatch.setattr(curate.index, "neighbours_within", refuse)
    monkeypatch.setattr(Store, "embeddings", refuse)
    panel.tab("duplicates")
    before = json.dumps(synced.stats(), default=str)
    panel.moved(radius_at=0.0)
    assert panel.number("copies would go") == 1  # the same file is a copy at any distance
    for stop in range(8):
        panel.moved(precision_stop=stop)
        assert panel.number("copies would go") == 1
    panel.moved(radius_at=10)
    assert panel.number("copies would go") == strictest  # where the last stop left the precision
    panel.moved(precision_stop=5)
    assert panel.number("copies would go") == 2
    assert json.dumps(synced.stats(), default=str) == before


def test_show_copies_and_groups_go_to_the_grid(panel, synced):
    panel.tab("duplicates").button("Show copies")
    names = {s.filepath.rpartition("/")[2] for s in synced.select(panel.ids)}
    panel.button("Show groups")
    assert len(panel.ids) == 3 and len(names) == 2
    panel.button("Show in grid")
    assert len(panel.ids) == 3
    assert {s.filepath.rpartition("/")[2] for s in synced.select(panel.ids)} == {"00.png", "again.jpg", "copy.png"}


def test_a_plan_is_shown_applied_and_undone(panel, synced):
    panel.tab("duplicates").button("Review changes")
    assert "Review before anything is written" in panel.words
    assert "copy of " in panel.words and "duplicate_score" in panel.words
    assert curate_fields(synced) == [] and synced.count_sample_tags().get("curate:duplicate") is None

    panel.button("Apply")
    assert "5 values written" in panel.words and panel.reloads == 1
    synced.reload()
    assert synced.count_sample_tags()["curate:duplicate"] == 2
    assert synced.count_sample_tags()["mine"] == 14
    assert sorted(v for v in synced.values("curate.duplicate") if v)[-1] == "kept"

    panel.button("Undo")
    assert "5 values restored" in panel.words
    synced.reload()
    assert curate_fields(synced) == []
    assert synced.count_sample_tags() == {"mine": 14, "test": 5, "train": 9}


def test_cancel_writes_nothing(panel, synced):
    panel.tab("duplicates").button("Review changes").button("Cancel")
    assert "copies would go" in panel.words
    synced.reload()
    assert curate_fields(synced) == []


def test_the_plan_is_that_of_the_slider(panel, synced):
    panel.tab("duplicates").moved(radius_at=0.0)
    panel.button("Review changes").button("Apply")
    synced.reload()
    assert synced.count_sample_tags()["curate:duplicate"] == 1
    with Store.open(panel_store(synced)) as store:
        assert store.values("fiftyone:photos", store.specs()[0].spec.fingerprint, "duplicates")["duplicate"]


def panel_store(samples):
    from pathlib import Path

    return Path(samples.info["curate"]["store"])


def test_undo_keeps_what_was_edited_since_and_says_so(panel, synced):
    panel.tab("duplicates").button("Review changes").button("Apply")
    synced.reload()
    copy = synced.match_tags("curate:duplicate").first()
    copy["curate.duplicate"] = "kept"
    copy.save()
    panel.tab("overview").button("Undo")
    assert "kept: edited since" in panel.words
    synced.reload()
    assert synced[copy.id]["curate.duplicate"] == "kept"


def test_a_stale_plan_is_refused_in_words(panel, synced):
    panel.tab("duplicates").button("Review changes")
    synced.delete_samples([synced.first().id])
    panel.button("Apply")
    assert panel.state["notice"]["severity"] == "error"
    assert "changed since the plan was made" in panel.words


def test_protected_groups_never_go(panel, synced):
    panel.tab("duplicates").button("Protect")
    synced.reload()
    assert synced.count_sample_tags()["curate:protect"] == 3
    assert panel.number("copies would go") == 0 and panel.number("protected") == 3
    assert "no sample is a copy" in panel.words
    execute("curate_duplicates", "photos", {})  # a new search honours the tag as well
    assert panel.call("refresh").number("copies would go") == 0
    panel.button("Unprotect all")
    execute("curate_duplicates", "photos", {})
    assert panel.call("refresh").number("copies would go") == 2


def test_groups_come_in_pages(plugin, tmp_path):
    paths = pictures(tmp_path / "many", count=8)[:8]
    twins = []
    for path in paths:
        twins.append(path.with_name(f"twin-{path.name}"))
        twins[-1].write_bytes(path.read_bytes())
    dataset("twins", [*paths, *twins])
    execute("curate_sync", "twins", {"model": "pixels"})
    panel = Panel("twins").tab("duplicates")
    assert "Groups 1 to 5 of 8" in panel.words
    assert "Groups 6 to 8 of 8" in panel.button("More groups").words
    assert "Groups 1 to 5 of 8" in panel.button("Back").words


# map


def test_the_map_colours_every_sample_and_a_lasso_fills_the_grid(panel, synced):
    panel.tab("map")
    traces = panel.data["body"]["plot"]
    assert sum(len(t["x"]) for t in traces) == 14
    assert all(t["name"].startswith("cluster") for t in traces)
    picked = [{"trace_idx": 0, "trace": traces[0]["name"], "idx": n} for n in range(2)]
    panel.call("on_selected", data=picked)
    assert len(panel.ids) == 2 and panel.state["picked"] == 2
    clusters = store_values(synced, "clusters")["cluster"]
    assert len({clusters[i] for i in panel.ids}) == 1
    shown = panel.ids
    panel.call("on_selected", data=[])  # the plot reports an empty one after every redraw
    assert panel.ids == shown
    panel.button("All samples")
    assert panel.ids is None


def test_no_plot_is_left_in_the_state_where_it_would_show_through_the_next(panel):
    panel.tab("map")
    panel.state["body"]["plot"] = panel.data["body"]["plot"]  # the App copies what is drawn into the state
    panel.call("on_colour", value="duplicate")
    assert panel.state["body"]["plot"] is None
    assert {t["name"] for t in panel.data["body"]["plot"]} == {"kept", "copy", "only once"}
    panel.data.clear()
    panel.call("on_selected", data=[])
    assert panel.data == {}, "the same plot is not sent twice"
    panel.tab("duplicates").tab("map")
    assert {t["name"] for t in panel.data["body"]["plot"]} == {"kept", "copy", "only once"}


def test_no_part_that_tells_its_changes_has_a_default_that_changes(panel):
    """The App tells such a default as a change of the user's: two of them answered each other without end."""
    for name in ("duplicates", "map"):
        panel.tab(name)
        told = {
            path: one for path, one in panel.parts.items() if (one.get("view") or {}).get("on_change") or one.get("on_change")
        }
        assert told and all(one.get("default") is None for one in told.values()), told
    body = panel.state["body"]
    assert (body["precision_stop"], body["controls"]["colour"]) == (5, "cluster")
    panel.moved(radius_at=0.0)
    panel.call("on_job_done")  # other pairs: the slider goes to its end again
    panel.tab("duplicates")
    assert panel.state["body"]["radius_at"] > 0


def test_the_map_can_be_coloured_by_class_and_duplicate(panel):
    execute("curate_map", "photos", {"method": "tsne"})
    panel.call("on_job_done").tab("map")
    for by, names in (("field:ground_truth", {"cat", "dog"}), ("duplicate", {"kept", "copy", "only once"}), ("", {"samples"})):
        panel.call("on_colour", value=by)
        traces = panel.data["body"]["plot"]
        assert {t["name"] for t in traces} == names
        assert sum(len(t["x"]) for t in traces) == 14


def store_values(samples, op):
    with Store.open(panel_store(samples)) as store:
        return store.values("fiftyone:photos", store.specs()[0].spec.fingerprint, op)


# sample


def test_a_sample_goes_to_the_grid_with_its_coverage_and_is_applied(panel, synced):
    panel.tab("sample").call("choose_sample")
    assert panel.ids is not None and len(panel.ids) == 1
    panel.state["body"] = {"how": {"budget": "4", "given": "", "name": "first"}}
    panel.call("choose_sample")
    assert len(panel.ids) == 4
    copies = store_values(synced, "duplicates")["duplicate"]
    assert not [i for i in panel.ids if str(copies.get(i, "")).startswith("copy-of/")]
    assert "Coverage: samples are" in panel.words and "'first' by cluster" in panel.words
    panel.button("Review changes").button("Apply")
    synced.reload()
    assert synced.count_values("curate.sample") == {"first": 4, None: 10}
    assert synced.count_sample_tags()["curate:sample"] == 4


def test_a_method_by_field_asks_for_it(panel):
    panel.tab("sample").call("on_method", value="balanced")
    assert "body.field" in panel.parts
    panel.state["body"] = {"how": {"budget": "4"}, "field": "ground_truth"}
    assert len(panel.call("choose_sample").ids) == 4


@pytest.mark.parametrize(("budget", "said"), [("0", "impossible"), ("many", "not a number"), ("300%", "impossible")])
def test_a_budget_that_cannot_be_is_refused_in_words(panel, budget, said):
    panel.tab("sample").state["body"] = {"how": {"budget": budget}}
    panel.call("choose_sample")
    assert panel.state["notice"]["severity"] == "error" and said in panel.words


# tags


def test_a_click_on_a_tag_filters_the_grid_with_the_unsure_first(panel, synced, tmp_path):
    panel.tab("tags")
    assert "not tagged yet" in panel.words
    (tmp_path / "tags.yaml").write_text(TAXONOMY)
    execute("curate_tag", "photos", {"taxonomy": str(tmp_path / "tags.yaml"), "labels": "ground_truth"})
    panel.call("on_job_done")
    values = store_values(synced, "tag")
    panel.call("on_tag_row", row=0, path="body.tree_path")
    inside = [i for i, v in values["path"].items() if v]
    assert sorted(panel.ids) == sorted(inside)
    sure = [values["path_confidence"][i] for i in panel.ids]
    assert sure == sorted(sure)
    assert "▾ animal" in panel.words
    panel.call("on_tag_row", row=0, path="body.tree_path")
    assert "▸ animal" in panel.words
    panel.button("Review changes").button("Apply")
    synced.reload()
    assert len([v for v in synced.values("curate.path") if v]) == len(inside)


# trouble


def test_samples_deleted_while_the_panel_is_open_are_left_out_and_said(panel, synced):
    panel.tab("duplicates").button("Show groups")
    synced.delete_samples([panel.ids[-1]])
    panel.button("Show groups")
    assert len(panel.ids) == 2
    assert "1 sample deleted since" in panel.words
    synced.delete_samples(panel.ids)
    panel.button("Show groups")
    assert "were deleted since; sync again" in panel.words


def test_review_after_a_deletion_says_to_sync_again(panel, synced):
    panel.tab("duplicates").button("Show groups")
    synced.delete_samples([panel.ids[0]])
    execute("curate_sync", "photos", {"model": "pixels"})
    panel.button("Review changes")
    assert panel.state["notice"] is None and "Review before" in panel.words


def test_a_deleted_dataset_is_named(panel, plugin):
    plugin.delete_dataset("photos")
    panel.call("refresh")
    assert "deleted" in panel.words


def test_a_store_that_another_process_writes_is_named(panel, synced):
    with Store.open(panel_store(synced), write=True):
        panel.tab("duplicates").button("Review changes")
    assert panel.state["notice"]["severity"] == "error"
    assert "Another curate writes to this store" in panel.words


def test_a_damaged_store_is_named(panel, synced):
    (panel_store(synced) / "catalog.sqlite").write_bytes(b"not a database, by any means" * 100)
    panel.call("refresh")
    assert "catalog.sqlite" in panel.words
    assert panel.parts["trouble"]["view"]["severity"] == "error"


def test_a_store_that_is_gone_starts_again(panel, synced):
    import shutil

    shutil.rmtree(panel_store(synced))
    panel.call("refresh")
    assert "Nothing is stored for this dataset yet" in panel.words
    assert "recorded in the dataset" in panel.words
