"""Small pieces of the panel's layout: texts, alerts, rows of buttons, tiles, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fiftyone.operators import types


class Press(NamedTuple):
    """A button.  strong: the one thing to do here.  title: what it does, when the pointer rests on it."""

    name: str
    label: str
    on_click: Callable[..., None]
    icon: str = ""
    strong: bool = False
    params: Mapping[str, Any] | None = None
    title: str = ""
    disabled: bool = False


FIT: Mapping[str, Any] = {"item": {"sx": {"width": "auto", "maxWidth": "100%", "alignSelf": "inherit"}}}
"""For a part of a row: it keeps its own width."""
PADDED = {"px": 1.25, "py": 0.6, "minHeight": "36px"}
GROW: Mapping[str, Any] = {"item": {"sx": {"flex": "1 1 130px", "width": "auto", "maxWidth": "100%"}}}
"""For a part of a row that shares what is left."""


def text(
    parent: Any, name: str, words: str, *, size: str = "1rem", bold: bool = False, faint: bool = False, props: Any = None
) -> None:
    """A line or paragraph.  props: FIT or GROW inside a row."""
    parent.view(
        name,
        types.TextView(
            title=words,
            font_size=size,
            bold=bold,
            padding="0",
            color="text.secondary" if faint else "text.primary",
            line_height="1.45",
            componentsProps=dict(props or {}),
        ),
    )


def alert(parent: Any, name: str, words: str, severity: str) -> None:
    """A message that stands out.  severity: info, success, warning, error."""
    parent.view(name, types.AlertView(label=words, severity=severity))


def row(parent: Any, name: str, *, gap: float = 1, spread: bool = False, low: bool = False) -> Any:
    """Parts side by side (each with FIT or GROW), wrapped where the panel is narrow."""
    sx = {"display": "flex", "flexWrap": "wrap", "alignItems": "flex-end" if low else "center", "gap": gap}
    sx["justifyContent"] = "space-between" if spread else "flex-start"
    return parent.h_stack(name, gap=gap, componentsProps={"grid": {"sx": sx}})


def buttons(parent: Any, name: str, presses: Sequence[Press]) -> None:
    """Buttons side by side."""
    side = row(parent, name)
    for one in presses:
        button(side, one)


def button(parent: Any, one: Press) -> None:
    """One button of a row."""
    parent.btn(
        one.name,
        label=one.label,
        icon=one.icon or None,
        on_click=one.on_click,
        variant="contained" if one.strong else "outlined",
        params=dict(one.params or {}),
        disabled=one.disabled,
        title=one.title,
        componentsProps={**FIT, "button": {"sx": PADDED}} if not one.strong else dict(FIT),
    )


def tabs(parent: Any, name: str, labels: Mapping[str, str], active: str, on_click: Callable[..., None]) -> None:
    """A row of tabs; `on_click` gets the key of the pressed one as "value".

    The App's own TabsView tells its tab whenever it is drawn, not only when one is pressed: pressed before the answer to the
    last press, the two tabs took turns without end.
    """
    line = {"borderBottom": "1px solid", "borderColor": "divider", "display": "flex", "flexWrap": "wrap"}
    side = parent.h_stack(name, gap=0, componentsProps={"grid": {"sx": line, "role": "tablist"}})
    for key, label in labels.items():
        here = key == active
        sx = {
            "color": "primary.main" if here else "text.secondary", "border": 0, "borderRadius": 0, "px": 1.5, "py": 1,
            "borderBottom": f"2px solid {'currentColor' if here else 'transparent'}", "minWidth": 0,
            "&:hover": {"borderColor": "currentColor"},
        }  # fmt: skip
        props = {**FIT, "button": {"variant": "text", "role": "tab", "aria-selected": here, "sx": sx}}
        side.btn(key, label=label, on_click=on_click, variant="outlined", params={"value": key}, componentsProps=props)


def tiles(parent: Any, name: str, numbers: Sequence[tuple[str, str]]) -> None:
    """Large numbers with what they count below."""
    side = row(parent, name)
    for place, (number, label) in enumerate(numbers):
        props = {**FIT, "container": {"sx": TILE}}
        side.str(f"tile_{place}", default=f"**{number}**  \n{label}", view=types.MarkdownView(componentsProps=props))


TILE = {
    "minWidth": "108px",
    "px": 1.75,
    "py": 0.5,
    "borderRadius": "8px",
    "border": "1px solid",
    "borderColor": "divider",
    "& p": {"margin": "4px 0", "lineHeight": 1.35, "color": "text.secondary", "fontSize": "0.85rem"},
    "& strong": {"fontSize": "1.3rem", "color": "text.primary", "fontWeight": 600},
}


def table(parent: Any, name: str, head: Mapping[str, str], rows: Sequence[Mapping[str, str]], **more: Any) -> Any:
    """Rows of text under a head.  head: key -> title.  Returns the view, for actions."""
    view = types.TableView(
        componentsProps={
            "table": {"sx": {"minWidth": 0}},
            "tableHeadCell": {"sx": {"fontWeight": 600, "fontSize": "0.8rem", "color": "text.secondary", "py": 0.5}},
            "tableBodyCell": {"sx": {"fontSize": "0.9rem", "py": 0.6, "overflowWrap": "break-word", **more.pop("cell", {})}},
        },
        **more,
    )
    for key, title in head.items():
        view.add_column(key, label=title)
    parent.list(name, types.Object(), default=[dict(row) for row in rows], view=view)
    return view


def stands(state: Any, path: str, value: Any) -> None:
    """Puts a slider or list where it stands until somebody moves it.  path: of the part, from the root.

    Not as its default: the App tells a default that is not where the part stands as if somebody had moved it there, so that two
    quick moves would answer each other without end.
    """
    if state.get(path) is None:
        state.set(path, value)


def heading(parent: Any, name: str, words: str) -> None:
    """The title of a part."""
    text(parent, name, words, size="1.05rem", bold=True)
