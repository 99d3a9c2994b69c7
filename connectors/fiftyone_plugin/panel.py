"""The Curate panel: what each click does.  What is shown is drawn by `render` and read by `reading` and its neighbours."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types
from fiftyone.operators.categories import Categories

from connectors.fiftyone_plugin import jobs, render, tree
from connectors.fiftyone_plugin.cutting import cut_findings, recut
from connectors.fiftyone_plugin.desk import PROTECT, Desk, desk, flat, record_place
from connectors.fiftyone_plugin.render_more import at_cut, sample_ids, sample_options
from connectors.fiftyone_plugin.scatter import scatter
from connectors.fiftyone_plugin.trouble import say
from connectors.fiftyone_plugin.words import counted, done_line
from curate.errors import ConfigError
from curate.store import Store

URI = "@curate/curate"
SHOWN = 5_000
"""At most that many samples of one list go into the grid as ids, in order."""
LARGE = 20_000
"""Rows from which on a job asks whether to be scheduled instead."""

OTHER_PAIRS = {"drawn": None, "plan": None, "body.radius_at": None, "group_page": 0}
"""The state when other pairs are shown: of them all distances, from the first group."""

Event = Callable[["CuratePanel", Any], None]


def event(work: Callable[[CuratePanel, Any, Desk], None]) -> Event:
    """An event that reads the store; whatever goes wrong is said in the panel, never lost and never a broken panel."""

    @functools.wraps(work)
    def run(self: CuratePanel, ctx: Any) -> None:
        ctx.panel.state.notice = None
        try:
            with desk(ctx) as at:
                work(self, ctx, at)
        except Exception as err:  # noqa: BLE001 - said to the user
            ctx.panel.state.notice = {"severity": "error", "text": say(err)}

    return run


class CuratePanel(foo.Panel):  # type: ignore[misc]
    """The panel."""

    @property
    def config(self) -> Any:
        """As the App lists it."""
        return foo.PanelConfig(
            name="curate_panel",
            label="Curate",
            icon="auto_awesome_motion",
            category=Categories.CURATE,
            help_markdown="Near duplicates, samples worth labeling and tags. Nothing is written before you have seen the plan.",
        )

    def render(self, ctx: Any) -> Any:
        """The layout, after every event."""
        return render.page(self, ctx)

    # opening, and what the App changes

    def on_load(self, ctx: Any) -> None:
        """The start, and a reload of the page."""
        state = ctx.panel.state
        for name, value in {
            "tab": "overview",
            "group_page": 0,
            "method": "cluster",
            "budget": "10%",
        }.items():
            if state.get(name) is None:
                state.set(name, value)
        state.set({"plan": None, "drawn": None, "notice": None})

    def on_change_dataset(self, ctx: Any) -> None:
        """Another dataset: nothing of the last one stays."""
        blank = ("notice", "run", "view_key", "model", "shown_model", "opened", "chosen", "picked")
        ctx.panel.state.set(dict.fromkeys(blank) | OTHER_PAIRS)

    @event
    def refresh(self, ctx: Any, at: Desk) -> None:
        """Read everything anew."""
        ctx.panel.state.set({"drawn": None, "plan": None})

    def on_tab(self, ctx: Any) -> None:
        """Another tab."""
        ctx.panel.state.set({"tab": ctx.params.get("value") or "overview", "notice": None, "plan": None})

    @event
    def on_model(self, ctx: Any, at: Desk) -> None:
        """Another model's results."""
        ctx.panel.state.set({"model": ctx.params.get("value"), **OTHER_PAIRS})

    # jobs

    def _prompt(self, ctx: Any, operator: str, params: dict[str, Any] | None = None) -> None:
        ctx.panel.state.notice = None
        ctx.prompt(f"{URI}/curate_{operator}", params=params, on_success=self.on_job_done, on_error=self.on_job_failed)

    def sync(self, ctx: Any) -> None:
        """The form of sync."""
        self._prompt(ctx, "sync")

    def find_duplicates(self, ctx: Any) -> None:
        """The form of duplicates."""
        self._prompt(ctx, "duplicates")

    def tag(self, ctx: Any) -> None:
        """The form of tag."""
        self._prompt(ctx, "tag")

    def draw_map(self, ctx: Any) -> None:
        """The form of map."""
        self._prompt(ctx, "map")

    def settings(self, ctx: Any) -> None:
        """Where the store is."""
        self._prompt(ctx, "settings")

    @event
    def on_job_done(self, ctx: Any, at: Desk) -> None:
        """A form was executed: show what is there now."""
        ctx.panel.state.set(OTHER_PAIRS)

    def on_job_failed(self, ctx: Any) -> None:
        """A form failed: say why."""
        error = ctx.params.get("error") or ctx.params.get("message") or "it failed; look at the message of the App"
        ctx.panel.state.notice = {"severity": "error", "text": str(error).strip().splitlines()[-1][:500]}

    # duplicates

    def on_cut(self, ctx: Any) -> None:
        """A slider was moved.  Nothing is read: the cut is made once, when the groups are drawn."""
        ctx.panel.state.set({"group_page": 0, "plan": None, "notice": None})

    def on_page(self, ctx: Any) -> None:
        """Forward and back through the groups."""
        ctx.panel.state.group_page = max(0, int(ctx.panel.state.group_page or 0) + int(ctx.params.get("by") or 0))

    @event
    def show_copies(self, ctx: Any, at: Desk) -> None:
        """All copies, group by group."""
        self._grid(ctx, at, self._recut(ctx, at).copies(), "copies")

    @event
    def show_groups(self, ctx: Any, at: Desk) -> None:
        """All groups, the kept sample before its copies."""
        self._grid(ctx, at, self._recut(ctx, at).grouped(), "samples in groups")

    @event
    def show_group(self, ctx: Any, at: Desk) -> None:
        """One group."""
        ids = [str(i) for i in ctx.params.get("ids") or ()]
        self._grid(ctx, at, ids, "samples of this group")

    @event
    def protect(self, ctx: Any, at: Desk) -> None:
        """Tags a group as protected: none of it is called a copy any more; the cut is drawn anew at once."""
        ids = at.there([str(i) for i in ctx.params.get("ids") or ()])
        if not ids:
            raise ConfigError("these samples were deleted; refresh the panel")
        flat(at.dataset).select(ids).tag_samples(PROTECT)
        ctx.panel.state.set({"plan": None, "notice": {"severity": "info", "text": f"{counted(len(ids), 'sample')} protected."}})
        ctx.ops.reload_dataset()

    @event
    def unprotect(self, ctx: Any, at: Desk) -> None:
        """Takes the tag away from all that have it."""
        view = flat(at.dataset).match_tags(PROTECT)
        number = len(view)
        view.untag_samples(PROTECT)
        ctx.panel.state.set({"plan": None, "notice": {"severity": "info", "text": f"{counted(number, 'sample')} unprotected."}})
        ctx.ops.reload_dataset()

    @event
    def show_protected(self, ctx: Any, at: Desk) -> None:
        """The protected samples."""
        self._grid(ctx, at, sorted(at.protected), "protected samples")

    @event
    def review_duplicates(self, ctx: Any, at: Desk) -> None:
        """Takes the cut over as the result, and shows the plan that follows."""
        store, held = at.ready()
        assert held.spec is not None
        cut = at.cut(ctx.panel.state)
        findings = cut_findings(store, held.key, held.spec, self._recut(ctx, at), cut)
        with Store.open(at.place.path, write=True) as writable:
            writable.save_findings(held.key, held.spec.fingerprint, findings)
        self._review(ctx, at, "duplicates")

    def _recut(self, ctx: Any, at: Desk) -> Any:
        if at.graph is None:
            raise ConfigError("no duplicates are stored yet; find them first")
        return recut(at.graph, at.cut(ctx.panel.state), at.protected)

    # map

    def on_colour(self, ctx: Any) -> None:
        """Another colouring."""
        ctx.panel.state.set({"colour": ctx.params.get("value") or "", "notice": None})

    @event
    def on_selected(self, ctx: Any, at: Desk) -> None:
        """A lasso: its samples go into the grid.  The plot reports an empty one after every redraw; that is none."""
        points = ctx.params.get("data") or []
        if not points:
            return
        store, held = at.ready()
        assert held.spec is not None
        drawn = scatter(store, held.key, held.spec, ctx.panel.state.get("colour") or "", duplicate=at_cut(ctx, at))
        ids = at.there(drawn.picked(points)) if drawn else []
        if ids:
            ctx.panel.state.picked = len(ids)
            self._grid(ctx, at, ids, "selected samples", whole=True)

    # sample

    def on_method(self, ctx: Any) -> None:
        """Another method: some take a field."""
        ctx.panel.state.method = ctx.params.get("value") or "cluster"

    @event
    def choose_sample(self, ctx: Any, at: Desk) -> None:
        """Chooses at once; of large datasets the form asks whether to schedule it."""
        store, held = at.ready()
        options = sample_options(ctx.panel.state)
        if store.count(held.key) > LARGE:
            self._prompt(ctx, "sample", options)
            return
        done = jobs.run("sample", at.place.path, {**options, "dataset": held.key, "model": held.spec and held.spec.name})
        record_place(at.dataset, at.place.path)
        ctx.panel.state.set({"drawn": None, "plan": None})
        self._grid(ctx, at, [str(i) for i in done.document["ids"]], "chosen samples")

    @event
    def show_sample(self, ctx: Any, at: Desk) -> None:
        """The last sample, in order of choice."""
        self._grid(ctx, at, sample_ids(at), "chosen samples")

    @event
    def review_sample(self, ctx: Any, at: Desk) -> None:
        """The plan of the sample."""
        self._review(ctx, at, "sample")

    # tags

    @event
    def on_tag_row(self, ctx: Any, at: Desk) -> None:
        """A line of the tree: its samples go into the grid, the least sure ones first, and the line opens or closes."""
        row = ctx.params.get("row")
        if not isinstance(row, int) or row < 0:  # the head
            return
        store, held = at.ready()
        assert held.spec is not None
        facet = str(ctx.params.get("path") or "").rpartition("tree_")[2] or "path"
        values = tree.tags(store, held.key, held.spec)
        confidence = values.get(tree.facets(values).get(facet, ""), {})
        opened = ctx.panel.state.get("opened") or ""
        lines = tree.branches(values.get(facet, {}), confidence, opened.partition(":")[2] if opened.startswith(facet) else "")
        if row >= len(lines):
            raise ConfigError("the tags changed since this was drawn; click again")
        path = lines[row].path
        closing = opened == f"{facet}:{path}" or opened.startswith(f"{facet}:{path}/")
        parent = tree.parent_of(path)
        ctx.panel.state.opened = (f"{facet}:{parent}" if parent else "") if closing else f"{facet}:{path}"
        self._grid(ctx, at, tree.unsure_first(values.get(facet, {}), confidence, path), f"samples of {path or 'all tags'}")

    @event
    def show_untagged(self, ctx: Any, at: Desk) -> None:
        """Samples without a tag."""
        store, held = at.ready()
        assert held.spec is not None
        values = tree.tags(store, held.key, held.spec)
        facet = str(ctx.params.get("facet") or "path")
        ids = tree.untagged(store.embedded_ids(held.key, held.spec.fingerprint), values.get(facet, {}))
        self._grid(ctx, at, ids, "samples without a tag")

    @event
    def review_tags(self, ctx: Any, at: Desk) -> None:
        """The plan of the tags."""
        self._review(ctx, at, "tag")

    @event
    def review_all(self, ctx: Any, at: Desk) -> None:
        """The plan of everything that was found, with the vectors for the native panels."""
        self._review(ctx, at, "")

    # plan, apply, undo

    def _review(self, ctx: Any, at: Desk, ops: str) -> None:
        held = at.ready()[1]
        assert held.spec is not None
        options = {"dataset": held.key, "model": held.spec.name, "ops": ops or None, "no_vectors": bool(ops)}
        done = jobs.run("plan", at.place.path, options)
        ctx.panel.state.plan = done.document["path"]

    @event
    def apply(self, ctx: Any, at: Desk) -> None:
        """Pushes the plan that is shown."""
        path = ctx.panel.state.plan
        if not path:
            raise ConfigError("there is no plan on the screen; make one first")
        view = jobs.shown_plan(Path(path))
        if view.changes + view.vectors > 10 * LARGE:
            self._prompt(ctx, "apply", {"plan": path})
            return
        done = jobs.run("apply", at.place.path, {"yes": True}, path).document
        record_place(at.dataset, at.place.path)
        refused = done["rejections"]
        ctx.panel.state.set({"plan": None, "drawn": None, "run": done["run_id"]})
        text = f"{done_line('apply', done)}."
        if refused:
            text += f" First refusal: {refused[0]['id']} {refused[0]['field']}: {refused[0]['reason']}"
        ctx.panel.state.notice = {"severity": "warning" if refused else "success", "text": text}
        ctx.ops.reload_dataset()

    def cancel(self, ctx: Any) -> None:
        """Puts the plan away."""
        ctx.panel.state.plan = None

    @event
    def undo(self, ctx: Any, at: Desk) -> None:
        """Restores what a run changed."""
        run = str(ctx.params.get("run") or ctx.panel.state.run or "")
        done = jobs.run("undo", at.place.path, {"yes": True}, run).document
        ctx.panel.state.set({"plan": None, "drawn": None, "run": None})
        kept = done["conflicts"]
        text = f"{done_line('undo', done)}."
        if kept:
            text += f" First: {kept[0]['field']} of {kept[0]['id']} shows {kept[0]['now']!r}"
        ctx.panel.state.notice = {"severity": "warning" if kept else "success", "text": text}
        ctx.ops.reload_dataset()

    # grid

    def _grid(self, ctx: Any, at: Desk, ids: list[str], what: str, *, whole: bool = False) -> None:
        """Shows samples in the grid, in this order; those deleted since are left out, and it is said."""
        some = ids if whole else ids[:SHOWN]
        there = at.there(some)
        said = []
        if len(some) < len(ids):
            said.append(f"the first {len(some):,} of {len(ids):,} {what} are shown")
        if len(there) < len(some):
            said.append(f"{counted(len(some) - len(there), 'sample')} deleted since; sync again")
        if not there:
            raise ConfigError(f"there are no {what} to show" if not ids else f"all {what} were deleted since; sync again")
        ctx.ops.set_view(flat(at.dataset).select(there, ordered=not whole))
        if said:
            text = "; ".join(said)
            ctx.panel.state.notice = {"severity": "info", "text": f"{text[0].upper()}{text[1:]}."}

    def clear_grid(self, ctx: Any) -> None:
        """All samples again."""
        ctx.panel.state.picked = None
        ctx.ops.clear_view()


__all__ = ["CuratePanel", "types"]
