"""The tabs "Map", "Sample" and "Tags"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from connectors.fiftyone_plugin import forms, scatter, tree
from connectors.fiftyone_plugin.cutting import recut
from connectors.fiftyone_plugin.desk import Desk
from connectors.fiftyone_plugin.pieces import GROW, Press, button, buttons, heading, row, stands, table, text, tiles

if TYPE_CHECKING:
    from connectors.fiftyone_plugin.panel import CuratePanel

BY_FIELD = ("ordered", "balanced", "uncertain")
WIDE = "\u00a0" * 6
SAMPLE_FORM: Mapping[str, tuple[str, str, str]] = {
    "budget": ("How many", "10%", "500 or 10%"),
    "given": ("Leave out", "", "labeled or split=test"),
    "name": ("Name", "sample", ""),
}
"""Text of the sample's form: label, usual value, hint."""


def _no_vectors(root: Any, panel: CuratePanel, at: Desk, why: str) -> bool:
    if at.held is not None and at.held.spec is not None:
        return False
    text(root, "empty", f"No vectors are stored for this dataset yet{why}. Sync it first.")
    buttons(root, "do", [Press("sync", "Sync…", panel.sync, "sync", strong=True)])
    return True


def at_cut(ctx: Any, at: Desk) -> Mapping[str, str] | None:
    """Kept or copy at the cut of the sliders; None to take the stored decision."""
    if at.graph is None:
        return None
    found = recut(at.graph, at.cut(ctx.panel.state), at.protected)
    kept = dict.fromkeys((at.graph.ids[row] for row in found.stars.kept.tolist()), "kept")
    return kept | dict.fromkeys(found.copies(), "copy")


def forget_plot(state: Any) -> None:
    """Takes a plot out of the panel's state, and has it sent anew when the map is shown again.

    The App copies what is drawn into the state, which it sends along with every event, and lays what it gets over that list by
    list: of a plot with more or longer clouds the rest would show through.
    """
    if state.get("body.plot"):
        state.set("body.plot", None)
    if state.get("drawn") and (state.get("plan") or state.get("tab") != "map"):
        state.drawn = None


def map_(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """The scatter plot; a lasso selects into the grid."""
    if _no_vectors(root, panel, at, ", and the map is made of them"):
        return
    store, held = at.ready()
    assert held.spec is not None
    state = ctx.panel.state
    choices = scatter.colourings(store, held.key, held.spec)
    by = state.get("colour")
    if by not in choices:
        by = next(iter(choices))
        state.set({"colour": by, "body.controls.colour": by})
    drawn = f"{held.key}/{held.spec.fingerprint}/{store.summaries(held.key, held.spec.fingerprint).get('map', (0,))[0]}/{by}"
    if by == "duplicate":
        drawn += f"/{at.cut(state)}/{len(at.protected)}"
    points = scatter.scatter(store, held.key, held.spec, by, duplicate=at_cut(ctx, at) if by == "duplicate" else None)
    if points is None:
        text(root, "empty", "The vectors are not laid out in two dimensions yet.")
        buttons(root, "do", [Press("draw", "Draw the map…", panel.draw_map, "scatter_plot", strong=True)])
        return
    line = row(root, "controls", low=True)
    view = types.DropdownView(label="Colour by", componentsProps=dict(GROW))
    for key, label in choices.items():
        view.add_choice(key, label=label)
    stands(state, "body.controls.colour", by)
    line.enum("colour", list(choices), view=view, on_change=panel.on_colour)
    button(line, Press("all", "All samples", panel.clear_grid, "grid_view"))
    button(line, Press("draw", "Draw again…", panel.draw_map, "refresh"))
    if state.get("drawn") != drawn:
        ctx.panel.set_data("body", {"plot": points.traces()})
        state.drawn = drawn
    root.plot(
        "plot",
        layout={
            "dragmode": "lasso", "hovermode": "closest", "showlegend": len(points.clouds) > 1,
            "legend": {"orientation": "h", "x": 0, "y": -0.02, "yanchor": "top", "itemsizing": "constant"},
            "xaxis": {"visible": False}, "yaxis": {"visible": False, "scaleanchor": "x"},
            "margin": {"t": 4, "l": 4, "r": 4, "b": 4}, "uirevision": drawn, "height": 520,
        },
        config={"modeBarButtonsToRemove": ["toImage", "autoScale2d"], "scrollZoom": True},
        height="520px",
        on_selected=panel.on_selected,
    )  # fmt: skip
    picked = state.get("picked")
    hint = (
        f"{picked:,} samples selected; they are in the grid."
        if picked
        else "Draw around points: their samples go into the grid."
    )
    text(root, "hint", hint, faint=True, size="0.9rem")


def sample_options(state: Any) -> dict[str, Any]:
    """The flags of `curate sample` as the form stands; what was typed is in the panel's state under the form's own path."""
    method = state.get("method") or "cluster"
    typed = {name: state.get(f"body.how.{name}") for name in SAMPLE_FORM}
    options = {name: usual if typed[name] is None else typed[name] for name, (_, usual, _) in SAMPLE_FORM.items()}
    options |= {"method": method, "field": state.get("body.field") if method in BY_FIELD else None}
    return {name: str(value).strip() or None for name, value in options.items() if value is not None}


def sample_ids(at: Desk) -> list[str]:
    """Ids of the last sample, in order of choice; none where there was none."""
    store, held = at.ready()
    assert held.spec is not None
    found = store.findings(held.key, held.spec.fingerprint).get("sample")
    return [] if found is None else [str(i) for i in found.evidence["ids"]]


def sample(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """Method, budget and what to leave out; coverage; the result in the grid."""
    if _no_vectors(root, panel, at, ", and a sample is chosen among them"):
        return
    store, held = at.ready()
    assert held.spec is not None
    state = ctx.panel.state
    forms.method_choice(root, "method", on_change=panel.on_method)
    if (state.get("method") or "cluster") in BY_FIELD:
        root.str("field", label="Field", description="-FIELD turns it round", default="")
    line = row(root, "how", gap=2)
    for name, (label, usual, hint) in SAMPLE_FORM.items():
        grown = types.TextFieldView(componentsProps=dict(GROW), placeholder=hint)
        line.str(name, label=label, default=usual, view=grown)
    text(root, "copies", "Copies are left out anyway.", faint=True, size="0.9rem")
    found = store.summaries(held.key, held.spec.fingerprint).get("sample")
    presses = [Press("choose", "Choose", panel.choose_sample, "playlist_add_check", strong=found is None)]
    if found is None:
        buttons(root, "do", presses)
        return
    presses += [
        Press("show", "Show in grid", panel.show_sample, "grid_view"),
        Press("review", "Review changes", panel.review_sample, "fact_check", strong=True),
    ]
    buttons(root, "do", presses)
    _coverage(root, found[1], held.spec.space.unit_name)


def _coverage(root: Any, summary: Mapping[str, Any], unit: str) -> None:
    cover = summary["coverage"]
    heading(root, "last_title", f"The last sample: {summary['name']!r} by {summary['method']}")
    numbers = [(f"{summary['rows']:,}", "chosen"), (f"{summary['left']:,}", "to choose from")]
    numbers += [(f"{summary['copies_left_out']:,}", "copies left out"), (f"{summary['given']:,}", "given")]
    tiles(root, "sample_numbers", numbers)
    if cover["mean"] is None:
        return
    better = 1 - cover["mean"] / cover["random_mean"] if cover["random_mean"] else 0.0
    rows = [
        {"what": "mean", "chosen": f"{cover['mean']:.4g}", "random": f"{cover['random_mean']:.4g}"},
        {"what": "largest", "chosen": f"{cover['max']:.4g}", "random": f"{cover['random_max']:.4g}"},
    ]
    word = "nearer" if better >= 0 else "farther"
    text(root, "better", f"Coverage: samples are {abs(better):.0%} {word} to a chosen one than with a random choice.")
    table(
        root,
        "coverage",
        {"what": f"distance to the nearest chosen ({unit})", "chosen": "this sample", "random": "random"},
        rows,
    )
    if summary.get("note"):
        text(root, "note", str(summary["note"]), faint=True)


def tags(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """The taxonomy as a tree; a click filters the grid, unsure images first."""
    if _no_vectors(root, panel, at, ", and tags are found with them"):
        return
    store, held = at.ready()
    assert held.spec is not None
    values = tree.tags(store, held.key, held.spec)
    found = tree.facets(values)
    start = Press("tag", "Tag along a taxonomy…", panel.tag, "account_tree", strong=not found)
    if not found:
        text(
            root,
            "empty",
            "The samples are not tagged yet. A taxonomy file names the tags; text models score them, or labelled samples.",
        )
        buttons(root, "do", [start])
        return
    rows = store.count(held.key)
    tagged = len({i for name in found for i, v in values[name].items() if v})
    tiles(root, "numbers", [(f"{tagged:,}", "tagged"), (f"{rows - tagged:,}", "without a tag")])
    buttons(root, "do", [Press("review", "Review changes", panel.review_tags, "fact_check", strong=True), start])
    text(
        root,
        "hint",
        "A click shows a tag's samples in the grid, the least sure first, and opens what is below it.",
        faint=True,
        size="0.9rem",
    )
    facet, _, opened = (ctx.panel.state.get("opened") or "").partition(":")
    for name, confidence in found.items():
        if len(found) > 1:
            heading(root, f"title_{name}", name.removeprefix("path_").replace("_", " "))
        lines = tree.branches(values[name], values.get(confidence, {}), opened if facet == name else "")
        table(
            root,
            f"tree_{name}",
            {"tag": "tag", "count": "samples", "unsure": f"unsure (under {tree.SURE:.0%})"},
            [{"tag": _line(b), "count": f"{b.count:,}", "unsure": f"{b.unsure:,}" if b.unsure else "—"} for b in lines],
            on_click_row=panel.on_tag_row,
            cell={"cursor": "pointer"},
        )
        untagged = rows - sum(1 for v in values[name].values() if v)
        if untagged:
            press = Press(
                f"untagged_{name}", f"{untagged:,} without a tag", panel.show_untagged, "grid_view", params={"facet": name}
            )
            buttons(root, f"rest_{name}", [press])


def _line(branch: tree.Branch) -> str:
    """A tag with its mark, indented by spaces that a browser keeps."""
    mark = "▾" if branch.is_open and branch.has_more else "▸" if branch.has_more else "·"
    return f"{WIDE * branch.depth}{mark} {branch.name}"
