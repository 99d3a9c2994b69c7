"""The command `curate`: a table of verbs, each in a module of its own that is imported when it is called."""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from curate.errors import CurateError

VERBS: dict[str, str] = {
    "init": "Write a commented curate.toml.",
    "doctor": "What is installed, which device and databases are reached, what is missing.",
    "sync": "The main job: pull, embed, judge, plan, push.",
    "pull": "List the rows of a dataset into the store.",
    "embed": "Compute the vectors that are missing.",
    "duplicates": "Find near duplicates and say which copy to keep.",
    "clusters": "Group the rows.",
    "sample": "Choose the rows worth labeling.",
    "tag": "Tag the rows along a taxonomy, as deep as the evidence goes.",
    "taxonomy": "Look at a taxonomy file before tagging with it.",
    "traverse": "The texts met on the way from an image to [ROOT].",
    "map": "Map the vectors by PCA, t-SNE or UMAP.",
    "quality": "Find blurry, dark or odd images, outliers, likely label mistakes, and where a model fails.",
    "plan": "Show what would be pushed, and write it to plan.json.",
    "apply": "Push a plan.",
    "undo": "Restore what a run changed.",
    "check": "Hold stored results against the gates of curate.toml.",
    "baseline": "Keep the distribution of the vectors, for the gate max_drift.",
    "status": "What the store holds, and what is left to do.",
    "report": "Write a self-contained report.html.",
    "search": "Find the rows nearest to an image or a text.",
    "export": "Copy or link the kept, chosen or duplicate files to a folder.",
    "export-vectors": "Write the vectors as npy, parquet or safetensors.",
    "import-vectors": "Bring vectors computed elsewhere.",
    "models": "List the models known by name; fetch one.",
    "compress": "Hold the vectors in a smaller codec, or measure what each costs.",
    "list": "List connectors, embedders or ops.",
    "config": "Show the configuration and where each value comes from.",
}
"""Verb -> one line of help.  Verb `export-vectors` is the object `command` of `curate/cli/export_vectors.py`."""

UNUSABLE = 2
BUG = 70
INTERRUPTED = 130


class Verbs(click.Group):
    """Commands imported when they are called, so that `curate --help` imports next to nothing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The verbs in the order of the table, then those that connectors bring."""
        from curate import registry

        return [*VERBS, *(name for name in registry.names(registry.COMMANDS) if name not in VERBS)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb's command; None for an unknown one, which click reports with the nearest name."""
        from curate import registry

        if name in VERBS:
            command: Any = importlib.import_module(f"curate.cli.{name.replace('-', '_')}").command
        elif name in registry.names(registry.COMMANDS):
            command = registry.load(registry.COMMANDS, name)
        else:
            return None
        from curate.cli._help import dressed

        return dressed(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table, without importing the verbs."""
        from curate import registry

        rows = [
            (name, VERBS.get(name) or f"Added by {registry.source(registry.COMMANDS, name).partition(':')[0]}.")
            for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the nearest verb in the message."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as err:
            from curate.errors import UnknownName

            known = self.list_commands(ctx)
            if args and args[0] not in known:
                raise click.UsageError(str(UnknownName("command", args[0], known)), ctx) from err
            raise


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="curate-vision", prog_name="curate")
def cli() -> None:
    """Curate image datasets: near duplicates, samples worth labeling, hierarchy tags; in Labelbox, FiftyOne or a folder.

    Start with: curate sync --dataset FOLDER --model pixels
    """


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code (see docs/exit-codes.md); errors go to stderr in one line each."""
    try:
        result = cli.main(args=None if args is None else [*args], prog_name="curate", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as err:
        err.show()
        return err.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted; run the same command again to go on where it stopped", err=True)
        return INTERRUPTED
    except CurateError as err:
        click.echo(f"error: {err}", err=True)
        return err.exit_code
    except BrokenPipeError:
        return 0
    except OSError as err:
        if err.filename is None:  # not a file: a bug, such as an error of the network that nobody translated
            return _bug(err)
        click.echo(f"error: {err.filename2 or err.filename}: {err.strerror}", err=True)
        return UNUSABLE
    except Exception as err:  # noqa: BLE001 - the last resort: one line for the user, the traceback to a file
        return _bug(err)
    return result if isinstance(result, int) else 0


def _bug(err: Exception) -> int:
    click.echo(f"error: this is a bug in curate: {type(err).__name__}: {err}. Traceback: {_log_traceback()}", err=True)
    return BUG


def _log_traceback() -> Path:
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="curate-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.write(traceback.format_exc())
    return Path(log.name)


def entry() -> None:
    """The console script."""
    sys.exit(main())
