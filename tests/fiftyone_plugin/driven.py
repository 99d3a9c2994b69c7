"""The App's part in a panel, without a browser: it posts events with the panel's state, and keeps what comes back."""

import asyncio
import json

import pydash

PANEL = "@curate/curate/curate_panel"


def execute(operator, dataset, params=None, **more):
    """Runs an operator of the plugin as the server does; generators are run to their end.  -> its ExecutionResult"""
    from fiftyone.operators.executor import execute_or_delegate_operator

    uri = operator if operator.startswith("@") else f"@curate/curate/{operator}"
    body = {"dataset_name": dataset, "params": params or {}, "view": [], **more}
    result = asyncio.run(execute_or_delegate_operator(uri, body, exhaust=True))
    assert result.error is None, result.error
    return result


def form(operator, dataset, params=None):
    """The input form of an operator: name -> property, as JSON."""
    from fiftyone.operators.executor import resolve_type
    from fiftyone.operators.registry import OperatorRegistry

    body = {"dataset_name": dataset, "params": params or {}, "view": []}
    found = asyncio.run(resolve_type(OperatorRegistry(), f"@curate/curate/{operator}", body))
    return found.to_json()["type"]["properties"]


class Panel:
    """One open Curate panel.  state, data: as the App holds them.  ids: what the grid shows, None for everything.  asked: forms
    that were opened.
    """

    def __init__(self, dataset):
        self.dataset, self.state, self.data, self.ids, self.asked, self.reloads = dataset, {}, {}, None, [], 0
        self.call("on_load")

    def call(self, method, **params):
        sent = {"panel_id": "p", "panel_state": json.loads(json.dumps(self.state)), "__method__": method, **params}
        result = execute(PANEL, self.dataset, sent, panel_id="p", panel_state=sent["panel_state"])
        for request in result.executor.to_json()["requests"]:
            name, given = request["operator_uri"], request["params"]
            if name == "patch_panel_state":
                patch(self.state, given["state"])
            elif name == "patch_panel_data":
                patch(self.data, given["data"])
            elif name == "show_panel_output":
                self.output = given["output"]
            elif name == "set_view":
                self.ids = view_ids(given["view"])
            elif name == "clear_view":
                self.ids = None
            elif name == "prompt_user_for_operation":
                self.asked.append(given)
            elif name == "reload_dataset":
                self.reloads += 1
        json.dumps(self.output)  # the App gets it as JSON
        return self

    def moved(self, **sliders):
        """Moves a slider: the App puts it there before it tells."""
        for name, value in sliders.items():
            patch(self.state, {f"body.{name}": value})
            self.call("on_cut", value=value)
        return self

    def tab(self, name):
        return self.call("on_tab", value=name)

    @property
    def parts(self):
        """Path -> property of everything that is drawn."""
        found = {}

        def walk(properties, path):
            for name, one in properties.items():
                here = f"{path}.{name}" if path else name
                found[here] = one
                walk((one.get("type") or {}).get("properties") or {}, here)

        walk(self.output["type"]["properties"], "")
        return found

    @property
    def words(self):
        """Every text on the screen, in order."""
        lines = []
        for one in self.parts.values():
            view = one.get("view") or {}
            lines += [str(t) for t in (view.get("title"), view.get("label"), one.get("default")) if isinstance(t, str) and t]
            if isinstance(one.get("default"), list):
                lines += [str(v) for row in one["default"] for v in row.values()]
        return "\n".join(lines)

    def button(self, label):
        """Presses the first button of a label."""
        for one in self.parts.values():
            view = one.get("view") or {}
            if view.get("name") == "Button" and label in (view.get("label") or ""):
                assert not view.get("disabled"), f"{label} cannot be pressed"
                return self.call(view["operator"].partition("#")[2], **(view.get("params") or {}))
        raise AssertionError(f"no button {label!r} among:\n{self.words}")

    def number(self, label):
        """The number of a tile."""
        for one in self.parts.values():
            text = one.get("default")
            if isinstance(text, str) and text.startswith("**") and text.endswith(label):
                return int(text.split("**")[1].replace(",", ""))
        raise AssertionError(f"no tile {label!r} in:\n{self.words}")


def patch(held, given):
    """As the App does it: keys are paths."""
    for path, value in given.items():
        pydash.set_(held, path, value)


def view_ids(stages):
    """The ids of a view that selects samples."""
    assert len(stages) == 1 and stages[0]["_cls"].endswith("Select"), stages
    return dict(stages[0]["kwargs"])["sample_ids"]
