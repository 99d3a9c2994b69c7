"""The panel's layout: what each tab shows.  Reads the store and draws; pictures and plot are all that it sends along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from connectors.fiftyone_plugin import jobs, reading
from connectors.fiftyone_plugin.desk import Desk, desk
from connectors.fiftyone_plugin.pieces import (
    FIT,
    GROW,
    Press,
    alert,
    button,
    buttons,
    heading,
    row,
    stands,
    table,
    tabs,
    text,
    tiles,
)
from connectors.fiftyone_plugin.render_duplicates import duplicates
from connectors.fiftyone_plugin.render_more import forget_plot, map_, sample, tags
from connectors.fiftyone_plugin.trouble import say
from connectors.fiftyone_plugin.words import FIELD_WORDS, counted, plan_line, size, when
from curate.types import Change, Scalar

if TYPE_CHECKING:
    from connectors.fiftyone_plugin.panel import CuratePanel

COPY_OF = "copy-of/"
TABS = {"overview": "Overview", "duplicates": "Duplicates", "map": "Map", "sample": "Sample", "tags": "Tags"}


def page(panel: CuratePanel, ctx: Any) -> Any:
    """The whole panel."""
    state = ctx.panel.state
    root = types.Object()
    forget_plot(state)
    try:
        with desk(ctx) as at:
            _head(root, panel, ctx, at)
            if state.get("plan"):
                _plan(root, panel, ctx, at)
            else:
                body = types.Object()
                _DRAWN[state.get("tab") or "overview"](body, panel, ctx, at)
                root.define_property("body", body, view=types.GridView(gap=2))
    except Exception as err:  # noqa: BLE001 - said to the user
        root = types.Object()
        alert(root, "trouble", say(err), "error")
        again = Press("refresh", "Try again", panel.refresh, "refresh")
        buttons(root, "again", [again, Press("place", "Settings", panel.settings, "settings")])
    return types.Property(root, view=types.GridView(pad=2, gap=2))


def _head(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """The tabs, the model where there are several, and what happened last."""
    tabs(root, "tabs", TABS, ctx.panel.state.get("tab") or "overview", panel.on_tab)
    notice = ctx.panel.state.get("notice")
    if notice:
        line = row(root, "said")
        line.view("notice", types.AlertView(label=notice["text"], severity=notice["severity"], componentsProps=dict(GROW)))
        run = ctx.panel.state.get("run")
        if run and notice["severity"] == "success":
            button(line, Press("undo_last", "Undo", panel.undo, "undo", params={"run": run}))
    if at.held is not None and len(at.held.models) > 1 and at.held.spec is not None:
        models = types.DropdownView(compact=True)
        for name in at.held.models:
            models.add_choice(name, label=name)
        stands(ctx.panel.state, "shown_model", at.held.spec.name)
        root.enum("shown_model", at.held.models, label="Model", view=models, on_change=panel.on_model)


def _overview(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    sync = Press("sync", "Sync…", panel.sync, "sync", strong=True, title="Embed what is new, find copies, group; shows a plan")
    place = Press("place", "Settings", panel.settings, "settings")
    seen = reading.overview(at.store, at.held) if at.store is not None and at.held is not None else None
    step = reading.next_step(at.held, seen)
    if seen is None or at.held is None:
        heading(root, "title", "Start here")
        text(root, "next", step)
        text(root, "where", f"The store will be at {at.place} ({at.place.how}).", faint=True, size="0.9rem")
        buttons(root, "do", [sync, place])
        return
    numbers = [(f"{seen.rows:,}", "samples"), (f"{seen.vectors:,}", "embedded"), (f"{seen.failed:,}", "failed")]
    tiles(root, "numbers", [*numbers, (size(seen.size_bytes), "store")])
    if step:
        text(root, "next", step)
    buttons(root, "do", [sync, *_results(panel, seen), place])
    for place_, line in enumerate(reading.failed_lines(seen.failures)):
        text(root, f"failed_{place_}", f"Failed: {line}", faint=True, size="0.9rem")
    spec = at.held.spec
    facts = [("Dataset", at.held.key)]
    if spec is not None:
        facts += [("Model", spec.name), ("Vectors", f"{spec.dim} numbers, {spec.space.unit_name}, held as {seen.codec}")]
    facts += [("Store", f"{at.place} ({at.place.how})")]
    facts += [("Last run", f"{seen.runs[0].command}, {when(seen.runs[0].started)}")] if seen.runs else []
    heading(root, "facts_title", "What is stored")
    table(root, "facts", {"what": "", "is": ""}, [{"what": a, "is": b} for a, b in facts], cell={"whiteSpace": "normal"})
    _runs(root, panel, seen)
    _waiting(root, at)


def _results(panel: CuratePanel, seen: reading.Overview) -> list[Press]:
    """What can be pushed, when anything was found."""
    if not seen.results:
        return []
    title = "The plan of everything found, with the vectors for the Embeddings panel and similarity search"
    return [Press("review_all", "Review all changes", panel.review_all, "fact_check", title=title)]


def _runs(root: Any, panel: CuratePanel, seen: reading.Overview) -> None:
    """The last runs; those that changed the dataset can be undone."""
    pushed = [run for run in seen.runs if run.changes or run.state == "undone"]
    if not pushed:
        return
    heading(root, "runs_title", "What was written")
    for run in pushed[:4]:
        state = "undone" if run.state == "undone" else counted(run.changes, "value")
        line = row(root, f"run_{run.id.replace('-', '_')}", spread=True)
        text(line, "words", f"{when(run.started)}  ·  {run.command}  ·  {state}", size="0.95rem", props=FIT)
        if run.undoable:
            button(line, Press("undo", "Undo", panel.undo, "undo", params={"run": run.id}))


def _waiting(root: Any, at: Desk) -> None:
    """Delegated jobs of ours that nobody works on."""
    from connectors.fiftyone_plugin.forms import LAUNCH, executor_seen, waiting_jobs

    jobs_ = waiting_jobs(at.dataset.name)
    if jobs_ and not executor_seen():
        alert(
            root,
            "waiting",
            f"{counted(jobs_, 'scheduled job')} of Curate {'waits' if jobs_ == 1 else 'wait'} and nobody works on them. "
            f"Start an executor in a terminal, in the environment of the App: {LAUNCH}",
            "warning",
        )


def _plan(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """What would be written, before it is."""
    from pathlib import Path

    shown = jobs.shown_plan(Path(ctx.panel.state.get("plan")))
    body = types.Object()
    heading(body, "title", "Review before anything is written")
    if not shown:
        text(body, "nothing", "Nothing would change: the dataset shows all of this already.")
        buttons(body, "do", [Press("cancel", "Back", panel.cancel, "arrow_back")])
        root.define_property("plan_view", body, view=types.GridView(gap=2))
        return
    text(body, "line", _plan_words(shown))
    for place, line in enumerate(shown.also):
        text(body, f"also_{place}", f"•  {line}", size="0.95rem")
    if shown.fields:
        head = {"field": "field", "set": "set", "changed": "changed", "cleared": "cleared", "means": "what it says"}
        rows = [
            {
                "field": name,
                "set": f"{new:,}",
                "changed": f"{other:,}",
                "cleared": f"{gone:,}",
                "means": FIELD_WORDS.get(name, ""),
            }
            for name, new, other, gone in shown.fields
        ]
        table(body, "fields", head, rows, cell={"whiteSpace": "normal"})
        head = {"sample": "sample", "field": "field", "before": "before", "after": "after"}
        rows = _examples(at, shown.examples)
        heading(body, "examples_title", "For example")
        table(body, "examples", head, rows)
    label = f"Apply {counted(shown.changes, 'change')}" if shown.changes else "Apply"
    apply = Press("apply", label, panel.apply, "check", strong=True)
    buttons(body, "do", [apply, Press("cancel", "Cancel", panel.cancel, "close")])
    root.define_property("plan_view", body, view=types.GridView(gap=2))


def _plan_words(shown: jobs.PlanView) -> str:
    listed = " This is made too:" if shown.also else ""
    counts = plan_line(replace(shown, also=())) if shown.changes or shown.vectors else "no field"
    return f"This writes {counts}. Your own tags and fields are left alone, and it can be undone.{listed}"


def _examples(at: Desk, changes: Sequence[Change]) -> list[dict[str, str]]:
    """Some changes, with the names of files instead of ids."""
    store, held = at.ready()
    others = [str(v).removeprefix(COPY_OF) for c in changes for v in (c.before, c.after) if str(v).startswith(COPY_OF)]
    called = reading.names(store, held.key, [*(c.item_id for c in changes), *others])

    def shown(value: Scalar) -> str:
        if value is None:
            return "—"
        text = str(value)
        return f"copy of {called[text.removeprefix(COPY_OF)]}" if text.startswith(COPY_OF) else text

    return [
        {"sample": called[c.item_id], "field": c.field, "before": shown(c.before), "after": shown(c.after)} for c in changes
    ]


_DRAWN = {"overview": _overview, "duplicates": duplicates, "map": map_, "sample": sample, "tags": tags}
