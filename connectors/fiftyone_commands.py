"""`curate fiftyone install|uninstall|status`: the plugin in FiftyOne's plugin folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import click

from connectors._fiftyone_database import BACKENDS
from curate.cli._session import Session, verb
from curate.errors import ConfigError, CurateError, MissingExtra

NAME = Path("@curate") / "curate"
"""Where the plugin lies below FiftyOne's plugin folder: as FiftyOne itself lays plugins out, by their names."""
STAMP = ".made-by-curate"
"""A file in a copy of ours; a folder without it is somebody else's."""


@click.group(name="fiftyone")
def fiftyone() -> None:
    """The plugin for the FiftyOne App."""


@fiftyone.command("install")
@verb()
@click.option("--copy", is_flag=True, help="Copy the plugin instead of linking to it (where links are not followed).")
def install(session: Session, copy: bool) -> int:
    """Put the Curate panel and its operators into FiftyOne's plugin folder; again after an upgrade of a copy."""
    source, place = _source(), _place()
    state = _state(source, place)
    if state == "foreign":
        raise ConfigError(f"{place} is there already and not curate's; move it away, then install again")
    done = "linked"
    if state != "linked" or copy:
        _remove(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        done = "copied" if copy or not _linked(source, place) else "linked"
        if done == "copied":
            _copied(source, place)
    session.emit(
        {"plugin": str(place), "state": done, "source": str(source)},
        f"{done}: {place} -> {source}",
        "Open the App: the panel is listed as Curate. An App that is running takes it up when the page is reloaded.",
    )
    return 0


@fiftyone.command("uninstall")
@verb()
def uninstall(session: Session) -> int:
    """Take the plugin out of FiftyOne's plugin folder; datasets and results stay."""
    source, place = _source(), _place()
    state = _state(source, place)
    if state == "foreign":
        raise ConfigError(f"{place} is not curate's, so it stays; remove it by hand if it is to go")
    if state != "absent":
        _remove(place)
        if not any(place.parent.iterdir()):
            place.parent.rmdir()
    gone = state != "absent"
    session.emit({"plugin": str(place), "removed": gone}, f"removed: {place}" if gone else f"not installed: {place}")
    return 0


@fiftyone.command("status")
@verb("offline")
def status(session: Session) -> int:
    """Show whether the plugin is installed and which database is reached."""
    from rich.table import Table

    source, place = _source(), _place()
    state = _state(source, place)
    advice = {
        "absent": "curate fiftyone install",
        "foreign": f"{place} is not curate's; move it away",
        "outdated": "a copy of another version; renew it with: curate fiftyone install --copy",
    }
    connector = session.connector("fiftyone")
    try:
        database, missing = str(getattr(connector, "doctor", lambda: "")()), ""
    except CurateError as err:
        database, missing = "not reached", str(err)
    table = Table()
    for column in ("part", "state", "what to do"):
        table.add_column(column, overflow="fold")
    table.add_row("plugin", f"{state}: {place}", advice.get(state, ""))
    table.add_row("database", database, missing)
    table.add_row("similarity backend", getattr(connector, "options", {}).get("backend", BACKENDS[0]), "")
    session.emit(
        {"plugin": {"path": str(place), "state": state, "source": str(source)}, "database": database, "problem": missing}, table
    )
    return 0


def _source() -> Path:
    return Path(__file__).resolve().parent / "fiftyone_plugin"


def _place() -> Path:
    """Where the plugin belongs.  Raises MissingExtra without FiftyOne.  No database is started or reached."""
    chosen = os.environ.get("FIFTYONE_PLUGINS_DIR")
    if not chosen:
        try:
            import fiftyone
        except ImportError as err:
            raise MissingExtra("fiftyone", "fiftyone", "the plugin") from err
        chosen = str(fiftyone.config.plugins_dir)
    return Path(chosen).expanduser() / NAME


def _state(source: Path, place: Path) -> str:
    """absent, linked (to this package), copied (from it), outdated (a copy or link of another one), foreign."""
    if place.is_symlink():
        target = Path(os.path.realpath(place))
        if target == source:
            return "linked"
        return "outdated" if target.parts[-2:] == source.parts[-2:] else "foreign"
    if not place.exists():
        return "absent"
    if not (place / STAMP).is_file():
        return "foreign"
    return "copied" if _content(place) == _content(source) else "outdated"


def _content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts and path.name != STAMP
    }


def _linked(source: Path, place: Path) -> bool:
    try:
        place.symlink_to(source, target_is_directory=True)
    except (OSError, NotImplementedError):
        return False  # a file system or a Windows account without links
    return True


def _copied(source: Path, place: Path) -> None:
    shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
    (place / STAMP).write_text("Installed by `curate fiftyone install`; remove it with `curate fiftyone uninstall`.\n")


def _remove(place: Path) -> None:
    """Removes our link or copy, never what a link leads to."""
    if place.is_symlink():
        place.unlink()
    elif place.exists():
        shutil.rmtree(place)
