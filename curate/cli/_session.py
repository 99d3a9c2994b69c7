"""What every verb works with: the flags, the configuration, the dataset, the store, the model, and where to print.

A verb is a click command decorated with `verb(...)`, which adds the shared flags it asks for and hands it a `Session`:

    @click.command()
    @verb("dataset", "model")
    def command(session: Session) -> int | None:
        with session.open_store() as store:
            target = session.stored_target(store)
            embeddings = session.stored_embeddings(store, target)
        session.emit({"schema_version": 1, ...}, table)
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import cached_property
from pathlib import Path
from typing import Any

from curate.cli._flags import ALWAYS, FLAGS, GROUPS
from curate.cli._target import IMPORTED, Target, resolve
from curate.cli._terminal import Terminal
from curate.config import Config, load_config
from curate.errors import ConfigError, UnknownName
from curate.protocols import Connector, ConnectorSettings, Embedder
from curate.store import Store, StoredSpec
from curate.types import EmbedderSpec, Embeddings

SCHEMA_VERSION = 1
SHOWN_LINES = 10
EMITTED: ContextVar[list[dict[str, Any]] | None] = ContextVar("EMITTED", default=None)
"""Where `Session.emit` puts its document when a verb is called as a function; None prints it."""
TERMINAL: ContextVar[Terminal | None] = ContextVar("TERMINAL", default=None)
"""Who hears lines and progress instead of stderr, when a verb is called as a function."""


def verb(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds shared flags, named one by one or by group, and passes a Session first.

    Groups: dataset, network, loading (of a model), embedding, push.  A verb takes only flags that it uses.
    """
    mine = [name for flag in flags for name in GROUPS.get(flag, (flag,))] + [*ALWAYS]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def run(**values: Any) -> Any:
            shared = {name: values.pop(name) for name in mine}
            return function(Session(shared), **values)

        command: Any = run
        own = list(getattr(function, "__click_params__", ()))
        command.__click_params__ = []
        for name in reversed(mine):
            command = FLAGS[name](command)
        command.shared_flags = [p.opts[-1].removeprefix("--") for p in command.__click_params__]
        command.__click_params__ += own  # click turns the list round: a verb's own flags come first
        return command  # type: ignore[no-any-return]

    return decorate


class Session:
    """One call of a verb.  flags: the shared flags that the verb takes, None where one was not given."""

    def __init__(self, flags: Mapping[str, Any]) -> None:
        self.flags = dict(flags)
        self.as_json = bool(flags.get("as_json"))
        self.terminal = TERMINAL.get() or Terminal(-1 if flags.get("quiet") else int(flags.get("verbose") or 0))
        chosen = {k: v for k, v in flags.items() if v not in (None, ())}
        self.config: Config = load_config(Path(flags["config"]) if flags.get("config") else None, flags=chosen)
        self._refuse_unknown()
        self._connectors: dict[str, Connector] = {}
        self.projects: dict[str, Any] = {}

    def _refuse_unknown(self) -> None:
        """Raises UnknownName for a table or setting of the configuration that names a part nobody registered."""
        from curate import registry

        for table, kind, group in (("ops", "op", registry.OPS), ("connectors", "connector", registry.CONNECTORS)):
            known = registry.names(group)
            for name in getattr(self.config, table):
                if name not in known:
                    raise UnknownName(kind, name, known, f"(table [{table}.{name}])")
        if (name := self.config["connector"]) and name not in registry.names(registry.CONNECTORS):
            known = registry.names(registry.CONNECTORS)
            raise UnknownName("connector", name, known, f"({self.config.origins['connector']})")

    # printing

    def say(self, line: str) -> None:
        """One line for people, on stderr."""
        self.terminal.say(line)

    def warn(self, line: str) -> None:
        """A line that -q shows too."""
        self.terminal.warn(line)

    def warn_each(self, lines: Sequence[str], *, rest: str) -> None:
        """The first lines as warnings, and how many more there are; rest: where they can be read."""
        for line in lines[:SHOWN_LINES]:
            self.warn(line)
        if len(lines) > SHOWN_LINES:
            self.warn(f"... and {len(lines) - SHOWN_LINES:,} more; {rest}")

    def again(self, command: str) -> str:
        """A command to type next, with the --store and --config of this one, so that it finds the same store."""
        import shlex

        given = [(flag, self.flags.get(flag.removeprefix("--"))) for flag in ("--store", "--config")]
        return " ".join([command, *(f"{flag} {shlex.quote(str(value))}" for flag, value in given if value)])

    def emit(self, document: Mapping[str, Any], *renderables: Any) -> None:
        """The result, on stdout: the document with --json, else the rich renderables (tables, strings)."""
        self.terminal.end_progress()
        whole = {"schema_version": SCHEMA_VERSION, **document}
        kept = EMITTED.get()
        if kept is not None:
            kept.append(json.loads(json.dumps(whole, default=_plain)))
        elif self.as_json:
            sys.stdout.write(json.dumps(whole, ensure_ascii=False, default=_plain) + "\n")
            sys.stdout.flush()
        else:
            self.terminal.show(*renderables)

    # settings

    def __getitem__(self, key: str) -> Any:
        """A setting: flag, environment, the dataset's own table, project file, user file, default."""
        origin = self.config.origins[key]
        if not origin.startswith(("--", "environment")) and key in self.entry:
            return self.entry[key]
        return self.config[key]

    def is_set(self, key: str) -> bool:
        """Whether somebody chose the setting."""
        return self.config.is_set(key) or key in self.entry

    @property
    def _asked(self) -> str:
        """What --dataset, the environment or the configuration names, else the only dataset of curate.toml, else ""."""
        name = str(self.config["dataset"])
        return next(iter(self.config.datasets)) if not name and len(self.config.datasets) == 1 else name

    @property
    def entry(self) -> Mapping[str, Any]:
        """The dataset's own table in curate.toml; {} where it has none."""
        return self.config.datasets.get(self._asked, {})

    @property
    def store_path(self) -> Path:
        """The store's folder."""
        return Path(self.config["store"])

    # dataset and connector

    def connector(self, name: str) -> Connector:
        """The connector of a name, built once."""
        from curate import registry

        if name not in self._connectors:
            options = dict(self.config.connectors.get(name, {}))
            options.update({key: self.flags[key] for key in ("endpoint", "text_field") if self.flags.get(key)})
            if self.flags.get("fiftyone_backend") and name == "fiftyone":
                options["backend"] = self.flags["fiftyone_backend"]
            if self.flags.get("media_root"):
                options["media_root"] = list(self.flags["media_root"])
            if self.projects:
                if not hasattr(registry.load(registry.CONNECTORS, name), "plan_extras"):
                    raise ConfigError(
                        f"{name} has no labeling projects; --batch and --deprioritize-duplicates are for labelbox"
                    )
                options.update(self.projects)
            settings = ConnectorSettings(
                options=options,
                results=self.store_path / "results",
                allow_hosts=tuple(self["allow_hosts"]),
                offline=bool(self["offline"]),
                yes=bool(self.flags.get("yes")),
                notify=self.say,
                ask=self.terminal.ask,
            )
            self._connectors[name] = registry.load(registry.CONNECTORS, name)(settings)
        return self._connectors[name]

    def configured(self, name: str) -> bool:
        """Whether a connector can be asked for a bare ID: it has a table in curate.toml, or says so itself."""
        from curate import registry

        if name in self.config.connectors:
            return True
        says = getattr(registry.load(registry.CONNECTORS, name), "configured", None)
        return bool(says()) if says else True

    @cached_property
    def target(self) -> Target:
        """The dataset of --dataset, the environment or curate.toml's only one; prints what it resolved to."""
        name = self._asked
        if not name:
            known = f" curate.toml has: {', '.join(sorted(self.config.datasets))}." if self.config.datasets else ""
            raise ConfigError(f"no dataset: say --dataset ID, such as --dataset folder:photos.{known}")
        target = resolve(name, self.config, connector=self["connector"], make=self.connector, configured=self.configured)
        self.say(f"dataset {target.address} ({target.how})")
        if self.flags.get("fiftyone_backend") and target.connector != "fiftyone":
            raise ConfigError(f"--fiftyone-backend is for datasets in FiftyOne; {target.address} is none")
        return target

    def stored_target(self, store: Store) -> Target:
        """The dataset among those the store already holds; asks no platform when the store knows it.

        Without --dataset: the only one in the store, or the only one with vectors of --model.  A bare ID held under several
        connectors is an error that lists them.
        """
        held = store.datasets()
        name = self.config["dataset"]
        if not name and not self.config.datasets and len(held) == 1:
            return self._held(held[0], "the only one in the store")
        if not name and not self.config.datasets and self.is_set("model"):
            model = self["model"]
            having = [key for key in held if any(s.rows and s.spec.name == model for s in store.specs(key))]
            if len(having) == 1:
                return self._held(having[0], f"the only one in the store with vectors of {model}")
        if not name and not self.config.datasets and held:
            raise ConfigError(f"the store {store.path} holds several datasets; say --dataset, one of: {', '.join(held)}")
        if name in held:
            return self._held(name, "in the store")
        if name and ":" not in name and name not in self.config.datasets:
            wanted = self["connector"]
            found = [k for k in held if k.partition(":")[2] == name and wanted in ("", None, k.partition(":")[0])]
            if len(found) > 1:
                raise ConfigError(f"the store {self.store_path} holds {name!r} more than once; say one of: {', '.join(found)}")
            if found:
                return self._held(found[0], "in the store")
        return self.target

    def _held(self, key: str, how: str) -> Target:
        self.say(f"dataset {key} ({how})")
        kind, _, rest = key.partition(":")
        return Target(kind, rest, key, how=how)

    # store, model, vectors

    def open_store(self, *, write: bool = False, create: bool = False) -> Store:
        """The store of --store; use as a context manager."""
        return Store.open(self.store_path, write=write, create=create, notify=self.say)

    def model_options(self, name: str) -> dict[str, Any]:
        """What `[models.NAME]` gives to the model itself; `matryoshka` there speaks of its vectors."""
        return {key: value for key, value in self.config.models.get(name, {}).items() if key != "matryoshka"}

    @cached_property
    def embedder(self) -> Embedder:
        """The model of --model, loaded."""
        from curate import embedders

        name = self["model"]
        return embedders.load(
            name,
            device=self["device"],
            dtype=self["dtype"],
            preprocess=self["preprocess"],
            layer=self["layer"],
            offline=bool(self["offline"]),
            options=self.model_options(name),
            max_pixels=self["max_pixels"],
        )

    def model_of(self, store: Store, connector: Connector, target: Target) -> Embedder:
        """The model of --model: imported vectors of that name, those the platform itself holds ("platform:NAME"), a model.

        Without --model, names of the latter are shown first: they cost no download and no compute.
        """
        from curate.pipeline.platform import HELD, HeldVectors, imported_vectors
        from curate.protocols import HoldsVectors

        own = target.connector == IMPORTED and not self.is_set("model")
        if own:
            connector.check(target.dataset_id)
        name = target.dataset_id if own else str(self["model"])
        if name.startswith(HELD):
            return HeldVectors.of(connector, target.dataset_id, name)
        imported = [held.spec for held in store.specs(target.key) if held.imported and held.spec.name == name]
        if imported:
            return imported_vectors(target.dataset_id, imported[-1])
        if not self.is_set("model") and isinstance(connector, HoldsVectors):
            for held in connector.models(target.dataset_id):
                self.say(
                    f"{target.address} carries vectors already: --model {held!r} takes them, with no download and no compute"
                )
        return self.embedder

    def stored_spec(self, store: Store, target: Target) -> EmbedderSpec:
        """The stored vectors that --model means; without --model the only set there is.

        Raises ConfigError naming what is stored and the command that embeds.
        """
        held: Sequence[StoredSpec] = [s for s in store.specs(target.key) if s.rows]
        if self.is_set("model"):
            named = store.spec_named(target.key, self["model"])
            if named is not None:
                return named
            have = ", ".join(sorted({s.spec.name for s in held})) or "none"
            raise ConfigError(
                f"no vectors of model {self['model']!r} for {target.address} in {store.path} (stored: {have}). "
                f"Compute them with: {self.again(f'curate embed --dataset {target.address} --model ' + str(self['model']))}"
            )
        names = sorted({s.spec.name for s in held})
        if len(names) == 1:
            named = store.spec_named(target.key, names[0])
            if named is not None:
                return named
        if not names:
            raise ConfigError(
                f"no vectors for {target.address} in {store.path}. "
                f"Compute them with: {self.again(f'curate embed --dataset {target.address}')}"
            )
        raise ConfigError(f"several models are stored for {target.address}; say --model, one of: {', '.join(names)}")

    def warn_outdated(self, store: Store, target: Target, spec: EmbedderSpec) -> None:
        """Says which stored results are of other rows than there are now."""
        ops = store.outdated(target.key, spec.fingerprint)
        if ops:
            one = len(ops) == 1
            self.warn(
                f"the rows of {target.address} changed since {', '.join(ops)} {'was' if one else 'were'} judged; "
                f"judge {'it' if one else 'them'} again with: curate sync --dry-run"
            )

    def stored_embeddings(self, store: Store, target: Target) -> Embeddings:
        """The stored vectors of `stored_spec`, every live row."""
        return store.embeddings(target.key, self.stored_spec(store, target).fingerprint)


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    if hasattr(value, "tolist"):
        return value.tolist()
    return str(value)
