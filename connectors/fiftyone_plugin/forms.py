"""The forms of the operators."""

from __future__ import annotations

import os
from typing import Any

from fiftyone.operators import types

from connectors.fiftyone_plugin import reading
from connectors.fiftyone_plugin.jobs import PlanView
from connectors.fiftyone_plugin.place import Place
from connectors.fiftyone_plugin.trouble import say
from connectors.fiftyone_plugin.words import FIELD_WORDS, plan_line, when
from curate.config import load_config

LAUNCH = "fiftyone delegated launch"


def broken(form: Any, err: BaseException) -> None:
    """What went wrong, in a form that cannot be submitted."""
    refuse(form, "broken", say(err))


def refuse(form: Any, name: str, text: str) -> None:
    """A reason for which this cannot be done now; the form cannot be submitted."""
    form.define_property(name, types.Void(), view=types.Error(label=text), invalid=True, error_message=text)


def note(form: Any, name: str, text: str) -> None:
    """A remark."""
    form.view(name, types.Notice(label=text))


def executor_notice(form: Any, ctx: Any) -> None:
    """Says, when nobody works on delegated jobs, how to start one who does."""
    if executor_seen():
        return
    note(
        form,
        "executor",
        f"Large dataset? Schedule this instead of executing it. Nobody works on scheduled jobs at the moment: start one with "
        f"`{LAUNCH}` in a terminal, in the environment of the App.",
    )


def executor_seen() -> bool:
    """Whether a process of this user runs `fiftyone delegated launch` on this machine, or a delegated job runs anywhere."""
    import psutil
    from fiftyone.operators.delegated import DelegatedOperationService

    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "delegated" in words and "launch" in words:
            return True
    return bool(DelegatedOperationService().get_running_operations())


def waiting_jobs(dataset: str) -> int:
    """How many delegated jobs of ours for this dataset are queued."""
    from fiftyone.operators.delegated import DelegatedOperationService

    queued = DelegatedOperationService().get_queued_operations(dataset_name=dataset)
    return sum("/curate_" in str(operation.operator) for operation in queued)


def _model(form: Any, at: Any) -> None:
    models = list(at.held.models) if at.held else []
    if len(models) > 1:
        view = types.DropdownView()
        for name in models:
            view.add_choice(name, label=name)
        form.enum("model", models, default=models[-1], label="Model", view=view)


def _needs_vectors(form: Any, at: Any) -> bool:
    if at.held is None or at.held.spec is None:
        refuse(form, "vectors", "No vectors are stored for this dataset yet. Run “Curate: sync dataset” first.")
        return False
    return True


def sync(form: Any, ctx: Any, at: Any) -> None:
    """Model, what to find, sample, taxonomy."""
    usual = str(load_config().settings["model"])
    held = at.held.models[-1] if at.held and at.held.models else usual
    form.str(
        "model",
        default=held,
        label="Model",
        description="A name, a folder with weights, or a hub id. “pixels” needs neither weights nor a network.",
    )
    form.bool("duplicates", default=True, label="Find near duplicates", view=types.CheckboxView())
    form.bool("clusters", default=True, label="Group similar samples", view=types.CheckboxView())
    form.bool("quality", default=False, label="Look for blurry, dark and odd images, and outliers", view=types.CheckboxView())
    form.str("sample", label="Choose a sample too", description="How many: 500, or 10%. Empty for none.")
    form.str("taxonomy", label="Tag along a taxonomy", description="A file: .yaml, .csv, .tsv or .txt. Empty for none.")
    form.bool("retry_failed", default=False, label="Try samples again that failed before", view=types.CheckboxView())
    note(form, "plan", f"Nothing is written to the dataset: the plan is shown in the Curate panel first. Store: {at.place}")


def duplicates(form: Any, ctx: Any, at: Any) -> None:
    """Precision, radius, keep, protect, between."""
    if not _needs_vectors(form, at):
        return
    _model(form, at)
    form.float(
        "precision",
        default=0.99,
        min=0.5,
        max=0.999,
        label="Precision",
        description="Share of the decisions that must be right.",
    )
    form.float(
        "radius",
        label="Distance",
        description=f"Decide by distance alone, in {at.held.spec.space.unit_name}. Empty: look at the pixels.",
    )
    form.str(
        "keep", label="Which copy stays", description="In this order (the usual one): labeled,resolution,sharpness,size,oldest"
    )
    form.str(
        "protect",
        label="Never call these copies",
        description="FIELD=VALUE, several with commas; the tag curate:protect counts too.",
    )
    form.str("between", label="Only between", description="A field such as split: only copies across its values (leakage).")


def sample(form: Any, ctx: Any, at: Any) -> None:
    """Method, budget, field, exclusions, name."""
    if not _needs_vectors(form, at):
        return
    _model(form, at)
    method_choice(form, "method")
    method = ctx.params.get("method") or "cluster"
    if method in ("ordered", "balanced", "uncertain"):
        form.str("field", required=True, label="Field", description="-FIELD turns it round.")
    form.str("budget", default="10%", required=True, label="How many", description="500, or 10 % of what is left.")
    form.str(
        "given", label="Leave out", description="Samples one has: labeled, FIELD, or FIELD=VALUE. Copies are left out anyway."
    )
    form.str("name", default="sample", label="Name", description="The value that the field “sample” gets.")


def method_choice(form: Any, name: str, **more: Any) -> None:
    """The sampling methods with a line each."""
    from curate.ops.sampling import METHODS

    view = types.DropdownView()
    for key, line in METHODS.items():
        view.add_choice(key, label=key, description=line)
    form.enum(name, list(METHODS), default="cluster", label="Method", view=view, **more)


def tag(form: Any, ctx: Any, at: Any) -> None:
    """The file, labels, risk."""
    if not _needs_vectors(form, at):
        return
    _model(form, at)
    form.str("taxonomy", required=True, label="Taxonomy", description="A file on the App's machine: .yaml, .csv, .tsv or .txt.")
    form.str("labels", label="True tags", description="A field with the true tag of some samples; they calibrate the risk.")
    form.str("risk", label="Risk", description="Share of samples that may get a wrong tag, such as 10%; needs true tags.")
    path = ctx.params.get("taxonomy")
    if path and not os.path.isfile(os.path.expanduser(path)):  # noqa: PTH111, PTH113 - a text that a person is still typing
        refuse(form, "no_file", f"There is no file {path} on the machine that runs the App.")


def map_(form: Any, ctx: Any, at: Any) -> None:
    """The method."""
    if not _needs_vectors(form, at):
        return
    _model(form, at)
    view = types.RadioGroup()
    view.add_choice("umap", label="UMAP", description="Neighbours stay together best; a minute for 20,000 samples.")
    view.add_choice("pca", label="PCA", description="The two widest directions; seconds.")
    view.add_choice("tsne", label="t-SNE", description="Small tight groups; slow above 20,000 samples.")
    form.enum("method", view.values(), default="umap", label="Method", view=view)


def plan(form: Any, shown: PlanView) -> None:
    """What would change."""
    if not shown:
        refuse(form, "nothing", "The last plan changes nothing: the dataset shows all of it already.")
        return
    rows = [f"| `{name}` | {new:,} | {changed:,} | {gone:,} |" for name, new, changed, gone in shown.fields]
    table = "\n".join(["| field | set | changed | cleared |", "|---|---:|---:|---:|", *rows]) if rows else ""
    form.md(f"This writes {plan_line(shown)}.\n\n{table}\n\nIt can be undone.", name="plan_table")
    words = [f"`{name}`: {FIELD_WORDS[name]}" for name, *_ in shown.fields if name in FIELD_WORDS]
    if words:
        form.md("\n".join(f"- {line}" for line in words), name="plan_words")


def undo(form: Any, ctx: Any, at: Any) -> None:
    """The runs that changed something."""
    lines = reading.run_lines(at.store, at.held.key) if at.held else []
    runs = [line for line in lines if line.undoable]
    if not runs:
        refuse(form, "none", "No run has changed this dataset, or all were undone.")
        return
    view = types.DropdownView()
    for line in runs:
        view.add_choice(line.id, label=f"{when(line.started)}: {line.command}, {line.changes:,} values")
    form.enum("run", view.values(), default=runs[0].id, label="Run", view=view, required=True)
    note(form, "kept", "Values that somebody edited since are kept, and listed.")


def settings(form: Any, ctx: Any, place: Place) -> None:
    """The store's folder."""
    form.str("store", default=str(place.path), required=True, label="Store", description="A folder on the App's machine.")
    note(form, "how", f"Now: {place} ({place.how}). The command line uses the same one with --store.")
