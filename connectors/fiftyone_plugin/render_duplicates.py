"""The tab "Duplicates": the sliders, what would go, and the groups with their pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fiftyone.operators import types

from connectors.fiftyone_plugin import sheets
from connectors.fiftyone_plugin.cutting import PRECISIONS, Group, Recut, recut
from connectors.fiftyone_plugin.desk import Desk
from connectors.fiftyone_plugin.pieces import FIT, Press, button, buttons, heading, row, stands, text, tiles
from connectors.fiftyone_plugin.words import counted

if TYPE_CHECKING:
    from connectors.fiftyone_plugin.panel import CuratePanel

PROTECTING = "None of these samples goes: all get the tag curate:protect"
GROUPS = 5
"""Groups on one page."""


def duplicates(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    """The tab."""
    find = Press("find", "Find duplicates…", panel.find_duplicates, "content_copy", strong=True)
    if at.held is None or at.held.spec is None:
        text(root, "empty", "No vectors are stored for this dataset yet, and copies are found among vectors. Sync it first.")
        buttons(root, "do", [Press("sync", "Sync…", panel.sync, "sync", strong=True)])
        return
    if at.graph is None:
        text(root, "empty", "Duplicates were not looked for yet. Vectors are there, so that takes no embedding.")
        buttons(root, "do", [find])
        return
    cut = at.cut(ctx.panel.state)
    found = recut(at.graph, cut, at.protected)
    _sliders(root, panel, ctx, at)
    numbers = [(f"{found.rows:,}", "copies would go"), (f"{len(found.stars):,}", "groups")]
    tiles(root, "count", [*numbers, (f"{len(at.protected):,}", "protected")])
    nothing = not found.stars
    presses = [
        Press("review", "Review changes", panel.review_duplicates, "fact_check", strong=True),
        Press("show", "Show copies", panel.show_copies, "grid_view", disabled=nothing),
        Press("groups", "Show groups", panel.show_groups, "view_module", disabled=nothing),
        Press("again", "Find again…", panel.find_duplicates, "refresh"),
    ]
    buttons(root, "do", presses)
    if at.protected:
        shown = Press("show_protected", "Show protected", panel.show_protected, "shield")
        buttons(root, "protected", [shown, Press("free", "Unprotect all", panel.unprotect, "remove_moderator")])
    if nothing:
        text(root, "none", "At this cut no sample is a copy of another. Move the slider to the left to be less strict.")
        return
    _groups(root, panel, ctx, at, found)


def _sliders(root: Any, panel: CuratePanel, ctx: Any, at: Desk) -> None:
    graph = at.graph
    assert graph is not None and at.held is not None and at.held.spec is not None
    cut = at.cut(ctx.panel.state)
    unit = at.held.spec.space.unit_name
    marks = {"sx": {"& .MuiSlider-markLabel": {"fontSize": "0.75rem"}}}
    # The App pads a slider by 32 px on both sides of its own.
    box = {"item": {"sx": {"mt": -3.5, "mb": -4, "width": "100%"}}}
    if graph.by_pixels:
        stop = PRECISIONS.index(cut.precision)
        stops = [{"value": n, "label": f"{p:g}"} for n, p in enumerate(PRECISIONS)]
        stands(ctx.panel.state, "body.precision_stop", stop)
        root.int(
            "precision_stop",
            min=0,
            max=len(PRECISIONS) - 1,
            on_change=panel.on_cut,
            view=types.SliderView(
                label=f"Precision {cut.precision:g}: at most {1 - cut.precision:.1%} of the decisions wrong",
                label_position="top", value_label_display="off", view_multiple_of=1,
                componentsProps={"slider": {"marks": stops, **marks}, **box},
            ),
        )  # fmt: skip
    else:
        text(root, "why_distance", "There are no pictures to lay over each other, so the distance decides.", faint=True)
    reach = graph.reach or 1.0
    at_radius = cut.radius if cut.radius is not None else (reach if graph.by_pixels else float(graph.basis["radius"]))
    ends = [{"value": 0, "label": "0"}, {"value": reach, "label": f"{reach:.3g}"}]
    every = graph.by_pixels and cut.radius is None
    words = "Distance: any" if every else f"Distance at most {at_radius:.3g}"
    stands(ctx.panel.state, "body.radius_at", at_radius)
    root.float(
        "radius_at",
        min=0,
        max=reach,
        on_change=panel.on_cut,
        view=types.SliderView(
            label=f"{words} ({unit})", label_position="top", value_label_display="off", view_multiple_of=reach / 200,
            componentsProps={"slider": {"marks": ends, **marks}, **box},
        ),
    )  # fmt: skip


def _groups(root: Any, panel: CuratePanel, ctx: Any, at: Desk, found: Recut) -> None:
    pages = -(-len(found.stars) // GROUPS)
    page = min(int(ctx.panel.state.get("group_page") or 0), pages - 1)
    heading(
        root,
        "groups_title",
        f"Groups {page * GROUPS + 1:,} to {min((page + 1) * GROUPS, len(found.stars)):,} of {len(found.stars):,}",
    )
    pictures: dict[str, str] = {}
    for place, group in enumerate(found.page(page * GROUPS, GROUPS)):
        pictures[f"sheet_{place}"] = _sheet(at, group)
        _group(root, panel, at, place, group)
    ctx.panel.set_data("body", pictures)
    if pages > 1:
        back = Press("back", "Back", panel.on_page, "arrow_back", params={"by": -1}, disabled=page == 0)
        more = Press("more", "More groups", panel.on_page, "arrow_forward", params={"by": 1}, disabled=page + 1 >= pages)
        buttons(root, "pages", [back, more])


def _group(root: Any, panel: CuratePanel, at: Desk, place: int, group: Group) -> None:
    ids = [group.keep, *(item for item, *_ in group.copies)]
    words = f"Stays: {group.why}."
    root.img(
        f"sheet_{place}",
        alt_text=f"kept sample and {counted(len(group.copies), 'other')}",
        point_on_hover=False,
        componentsProps={"image": {"style": {"maxWidth": "100%", "height": "auto", "display": "block"}}},
    )
    line = row(root, f"row_{place}")
    protect = Press("protect", "Protect", panel.protect, "shield", params={"ids": ids}, title=PROTECTING)
    button(line, Press("show", "Show in grid", panel.show_group, "grid_view", params={"ids": ids}))
    button(line, protect)
    text(line, "words", words, size="0.9rem", faint=True, props=FIT)


def _sheet(at: Desk, group: Group) -> str:
    store, held = at.ready()
    shown = group.copies[: sheets.MOST - 1]
    keep_colour = sheets.PROTECTED if group.keep in at.protected else sheets.KEPT
    tiles_ = [(group.keep, "stays", keep_colour)]
    for item, kind, chance, distance in shown:
        number = "" if distance is None else f" {distance:.3g}" if chance is None else f" {chance:.0%}"
        tiles_.append((item, f"{kind}{number}", sheets.COPY))
    return sheets.sheet(tiles_, lambda item: store.thumb(held.key, item), more=len(group.copies) - len(shown))
