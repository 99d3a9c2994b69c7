"""The operators: the verbs of the command line as forms, run at once or delegated, with progress; none pushes without a plan.

`sync`, `duplicates`, `sample`, `tag` and `map` compute and store; `apply` shows the plan of what they found and pushes it;
`undo` restores what a run changed.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from connectors.fiftyone_plugin import forms
from connectors.fiftyone_plugin.desk import desk, place_of, record_place
from connectors.fiftyone_plugin.jobs import Finished, Progress, shown_plan, steps
from connectors.fiftyone_plugin.words import done_line, plan_line
from curate.errors import ConfigError, CurateError

log = logging.getLogger(__name__)


class Job(foo.Operator, abc.ABC):  # type: ignore[misc]
    """A verb as an operator.  Subclasses say name, label, form and options."""

    verb = ""
    label = ""
    description = ""
    icon = "auto_awesome_motion"
    delegates = True

    @property
    def config(self) -> Any:
        """As the App lists it."""
        return foo.OperatorConfig(
            name=f"curate_{self.verb}",
            label=f"Curate: {self.label}",
            description=self.description,
            icon=self.icon,
            dynamic=True,
            execute_as_generator=True,
            allow_immediate_execution=True,
            allow_delegated_execution=self.delegates,
            view_target=False,
        )

    def resolve_input(self, ctx: Any) -> Any:
        """The form."""
        form = types.Object()
        try:
            with desk(ctx) as at:
                self.form(form, ctx, at)
                if self.delegates:
                    forms.executor_notice(form, ctx)
        except Exception as err:  # noqa: BLE001 - whatever it is, the form says it
            forms.broken(form, err)
        return types.Property(form, view=types.PromptView(label=f"{self.label[0].upper()}{self.label[1:]}"))

    @abc.abstractmethod
    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """Fills the form."""

    @abc.abstractmethod
    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Flags and arguments of the verb."""

    def execute(self, ctx: Any) -> Iterator[Any]:
        """Runs the verb, telling how far it is both ways that the App listens to: a generator's and a delegated job's."""
        with desk(ctx) as at:
            options, arguments = self.options(ctx, at)
            store, dataset = at.place.path, at.dataset
        last: Finished | None = None
        for step in steps(self.verb, store, options, *arguments):
            if isinstance(step, Finished):
                last = step
                break
            yield from _told(ctx, step)
        assert last is not None
        record_place(dataset, store)
        line = done_line(self.verb, last.document)
        log.info("%s", line)
        yield from _told(ctx, Progress(line, 1.0))
        yield from self.after(ctx, last.document)
        yield ctx.ops.notify(line, variant="success")

    def after(self, ctx: Any, document: Mapping[str, Any]) -> Iterator[Any]:
        """What the App has to do when it is done."""
        return iter(())


def _told(ctx: Any, step: Progress) -> Iterator[Any]:
    if ctx.delegated:
        ctx.set_progress(progress=step.share, label=step.text)
    else:
        yield ctx.trigger("set_progress", {"progress": step.share or 0.0, "label": step.text})


class Sync(Job):
    """Pull, embed, judge; the plan is shown in the panel, nothing is pushed."""

    verb, label = "sync", "sync dataset"
    description = "Embed what is new, find near duplicates and group the samples; shows a plan, writes nothing to the dataset"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """Model, ops, sample, taxonomy."""
        forms.sync(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As the form says."""
        p = ctx.params
        named = [name for name in ("duplicates", "clusters", "quality") if p.get(name, name != "quality")]
        options = {"dataset": at.address, "dry_run": True, "ops": ",".join(named) or "duplicates"}
        options |= {name: p.get(name) or None for name in ("model", "sample", "taxonomy", "precision", "device")}
        return options | {"retry_failed": bool(p.get("retry_failed"))}, ()


class Duplicates(Job):
    """Near duplicates, on stored vectors."""

    verb, label = "duplicates", "find duplicates"
    description = "Find near duplicates among the stored vectors and say which copy stays; writes nothing to the dataset"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """Precision, radius, keep, protect, between."""
        forms.duplicates(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As the form says."""
        p = ctx.params
        options = {"dataset": at.address, "protect": [r.strip() for r in (p.get("protect") or "").split(",") if r.strip()]}
        options |= {name: p.get(name) or None for name in ("model", "precision", "radius", "keep", "between")}
        return options | {"reach": p.get("reach") or 1.5}, ()


class Sample(Job):
    """Rows worth labeling."""

    verb, label = "sample", "choose a sample"
    description = "Choose samples worth labeling out of what is left after duplicates; writes nothing to the dataset"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """Method, budget, exclusions, name."""
        forms.sample(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As the form says."""
        options = {name: ctx.params.get(name) or None for name in ("model", "method", "budget", "field", "given", "name")}
        return {"dataset": at.address, **options}, ()


class Tag(Job):
    """Paths along a taxonomy."""

    verb, label = "tag", "tag along a taxonomy"
    description = "Tag the samples along a hierarchy, as deep as the evidence goes; writes nothing to the dataset"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """The file, labels, risk."""
        forms.tag(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As the form says."""
        p = ctx.params
        if not p.get("taxonomy"):
            raise ConfigError("which tags? Name a taxonomy file: .yaml, .csv, .tsv or WordNet is-a lines (.txt)")
        labels = [p["labels"]] if p.get("labels") else []
        options = {name: p.get(name) or None for name in ("model", "taxonomy", "risk", "tau")}
        return {"dataset": at.address, **options, "labels": labels}, ()


class Map(Job):
    """The vectors in two dimensions."""

    verb, label = "map", "draw the map"
    description = "Lay the stored vectors out in two dimensions; writes nothing to the dataset"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """The method."""
        forms.map_(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """As the form says."""
        return {
            "dataset": at.address,
            "model": ctx.params.get("model") or None,
            "method": ctx.params.get("method") or "umap",
        }, ()


class Apply(Job):
    """Pushes a plan that the form shows."""

    verb, label, icon = "apply", "apply the plan", "published_with_changes"
    description = "Show the last plan of changes and write it to the dataset; can be undone"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """The plan."""
        path = self.path(ctx, at)
        if path is None:
            forms.refuse(form, "plan", "There is no plan yet. Sync, or find duplicates, choose a sample or tag first.")
            return
        forms.plan(form, shown_plan(path))

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The plan's file."""
        path = self.path(ctx, at)
        if path is None:
            raise ConfigError("there is no plan to apply; sync, or find duplicates, choose a sample or tag first")
        return {"yes": True}, (str(path),)

    def path(self, ctx: Any, at: Any) -> Path | None:
        """The plan that is named, else the last one that was made for this dataset."""
        if ctx.params.get("plan"):
            return Path(str(ctx.params["plan"]))
        if at.store is None or at.held is None:
            return None
        made = [run for run in at.store.runs(at.held.key) if run.command in ("plan", "sync") and run.state == "planned"]
        found = [run.path / "plan.json" for run in reversed(made) if (run.path / "plan.json").exists()]
        return found[0] if found else None

    def after(self, ctx: Any, document: Mapping[str, Any]) -> Iterator[Any]:
        """The sidebar and the grid show what was written."""
        yield ctx.ops.reload_dataset()


class Undo(Job):
    """Restores what a run changed."""

    verb, label, icon, delegates = "undo", "undo a run", "undo", False
    description = "Restore what a run changed in the dataset; values edited since are kept and listed"

    def form(self, form: Any, ctx: Any, at: Any) -> None:
        """Which run."""
        forms.undo(form, ctx, at)

    def options(self, ctx: Any, at: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        """The run."""
        if not ctx.params.get("run"):
            raise ConfigError("which run? Choose one; none has changed this dataset yet")
        return {"yes": True}, (str(ctx.params["run"]),)

    def after(self, ctx: Any, document: Mapping[str, Any]) -> Iterator[Any]:
        """The sidebar and the grid show what was restored."""
        yield ctx.ops.reload_dataset()


class Settings(foo.Operator):  # type: ignore[misc]
    """Where the store of this dataset is."""

    @property
    def config(self) -> Any:
        """As the App lists it."""
        return foo.OperatorConfig(
            name="curate_settings", label="Curate: settings", description="Where the store of this dataset is",
            icon="settings", dynamic=True, view_target=False,
        )  # fmt: skip

    def resolve_input(self, ctx: Any) -> Any:
        """The folder."""
        form = types.Object()
        try:
            forms.settings(form, ctx, place_of(ctx.dataset))
        except Exception as err:  # noqa: BLE001 - whatever it is, the form says it
            forms.broken(form, err)
        return types.Property(form, view=types.PromptView(label="Curate settings", submit_button_label="Save"))

    def execute(self, ctx: Any) -> dict[str, str]:
        """Records it in the dataset."""
        text = str(ctx.params.get("store") or "").strip()
        if not text:
            raise ConfigError("the store needs a folder, such as ~/.curate/fiftyone/photos")
        path = Path(text).expanduser().absolute()
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; the store needs a folder")
        record_place(ctx.dataset, path)
        ctx.ops.notify(f"The store of this dataset is {path}", variant="success")
        return {"store": str(path)}


OPERATORS = (Sync, Duplicates, Sample, Tag, Map, Apply, Undo, Settings)

__all__ = ["OPERATORS", "CurateError", "plan_line"]
