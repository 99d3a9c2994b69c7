"""curate.toml (or [tool.curate] in pyproject.toml) as a frozen value, with the origin of every setting.

Precedence: flag, environment (CURATE_MODEL, ...), project file, user file, default.  Unknown keys are errors with the nearest
name; secrets are refused in files and read from the environment only, by the connector that needs them.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, UnknownName

DEFAULTS: Mapping[str, Any] = {
    "dataset": "",
    "connector": "",
    "model": "openai/clip-vit-base-patch32",
    "store": ".curate",
    "layer": "",
    "device": "auto",
    "dtype": "auto",
    "preprocess": "fast",
    "seed": 0,
    "offline": False,
    "tolerate_failed": 0.0,
    "allow_hosts": (),
    "precision": 0.99,
    "ops": ("duplicates", "clusters"),
    "vectors": True,
    "thumbs": "on",
    "max_pixels": 64_000_000,
    "batch_size": 0,
    "codec": "f32",
}
"""Every setting with its default; a key of curate.toml, a CURATE_* variable and (with dashes) a flag."""

CHOICES: Mapping[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "dtype": ("auto", "fp32", "bf16", "fp16"),
    "preprocess": ("exact", "fast"),
    "thumbs": ("on", "off", "full"),
    "codec": ("f32", "f16"),
}

TABLES = ("datasets", "connectors", "models", "ops", "samples", "check")
"""The tables of curate.toml.  `ops` may also be a plain list, the ops that `sync` runs."""

DATASET_KEYS = ("address", "model", "ops", "taxonomy", "sample", "precision", "vectors", "tolerate_failed")
CHECK_KEYS = (
    "max_duplicate_rate",
    "max_leakage",
    "max_failed_rate",
    "min_class_count",
    "max_untagged_rate",
    "max_drift",
    "require",
    "split",
    "label",
)

_KINDS: Mapping[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_SECRET_KEY = re.compile(r"(api_?key|tokens?$|token[_-]|secret|passw(or)?d|credential)", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"^(ey[A-Za-z0-9_-]{20,}\.|hf_[A-Za-z0-9]{20,}|[a-z+]+://[^/\s:@]+:[^/\s@]+@)")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, and for each where it came from.

    settings: key of DEFAULTS -> value.  origins: key -> "default", a file, a variable or a flag.  Tables are plain mappings:
    datasets NAME -> {address, model, ...}; connectors, models, ops NAME -> options; samples NAME -> {method, budget}; check.
    """

    settings: Mapping[str, Any]
    origins: Mapping[str, str]
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    connectors: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    models: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    ops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    check: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None

    def __getitem__(self, key: str) -> Any:
        return self.settings[key]

    def is_set(self, key: str) -> bool:
        """Whether somebody chose the value (it is not the default)."""
        return self.origins[key] != "default"


def load_config(
    path: Path | None = None, *, flags: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """The configuration that holds here.

    path: a file named with --config; None looks for ./curate.toml, then [tool.curate] in ./pyproject.toml.
    flags: key -> value of the flags that were given (None = not given).
    Raises ConfigError for a file that cannot be read, a wrong type or value, a secret; UnknownName for an unknown key.
    """
    environ = os.environ if environ is None else environ
    settings, origins = dict(DEFAULTS), dict.fromkeys(DEFAULTS, "default")
    tables: dict[str, Any] = {name: {} for name in TABLES}
    project = _project_file(path)
    for file in (_user_file(environ), project):
        if file is not None and file.is_file():
            _merge_file(file, settings, origins, tables)
    for key in DEFAULTS:
        raw = environ.get(f"CURATE_{key.upper()}")
        if raw:
            settings[key], origins[key] = _from_text(key, raw), f"environment CURATE_{key.upper()}"
    for key, value in (flags or {}).items():
        if value is not None and key in DEFAULTS:
            flag = f"--{key.replace('_', '-')}"
            settings[key], origins[key] = _checked(key, value, flag), flag
    return Config(settings, origins, path=project, **tables)


def _user_file(environ: Mapping[str, str]) -> Path | None:
    try:
        return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "curate" / "curate.toml"
    except RuntimeError:  # a container may run under a number that is nobody
        return None


def _project_file(path: Path | None) -> Path | None:
    if path is not None:
        if not path.is_file():
            raise ConfigError(f"{path}: no such configuration file; write one with: curate init")
        return path
    for name in ("curate.toml", "pyproject.toml"):
        if Path(name).is_file():
            return Path(name)
    return None


def _merge_file(file: Path, settings: dict[str, Any], origins: dict[str, str], tables: dict[str, Any]) -> None:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
        raise ConfigError(f"{file}: cannot be read: {err}") from err
    if file.name == "pyproject.toml":
        content = content.get("tool", {}).get("curate", {})
    _refuse_secrets(file, content, ())
    for key, value in content.items():
        if key == "ops" and isinstance(value, list):
            settings[key], origins[key] = _checked(key, value, str(file)), str(file)
        elif key in TABLES:
            tables[key] = {**tables[key], **_table(file, key, value)}
        elif key in DEFAULTS:
            settings[key], origins[key] = _checked(key, value, str(file)), str(file)
        else:
            raise UnknownName("key", key, [*DEFAULTS, *TABLES], f"({file})")


def _table(file: Path, name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{file}: [{name}] must be a table")
    if name == "check":
        for key in value:
            if key not in CHECK_KEYS:
                raise UnknownName("key", key, CHECK_KEYS, f"({file}, [check])")
        return value
    for entry, options in value.items():
        if not isinstance(options, dict):
            raise ConfigError(f"{file}: [{name}.{entry}] must be a table of options")
    if name == "datasets":
        return {entry: _dataset(f"{file}, [datasets.{entry}]", options) for entry, options in value.items()}
    return value


def _dataset(where: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The table of one dataset; its settings are checked as the settings of the file are."""
    checked: dict[str, Any] = {}
    for key, value in options.items():
        if key not in DATASET_KEYS:
            raise UnknownName("key", key, DATASET_KEYS, f"({where})")
        if key in DEFAULTS:
            checked[key] = _checked(key, value, where)
        elif isinstance(value, str) or (key == "sample" and isinstance(value, int) and not isinstance(value, bool)):
            checked[key] = str(value)
        else:
            raise ConfigError(f"{where}: {key} = {value!r} must be a text")
    if not checked.get("address"):
        raise ConfigError(f'{where}: an address is needed, such as address = "folder:photos"')
    return checked


def _refuse_secrets(file: Path, value: object, where: tuple[str, ...]) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            if _SECRET_KEY.search(str(key)) and isinstance(inner, str) and inner:
                raise ConfigError(
                    f"{file}: {'.'.join((*where, str(key)))} looks like a secret. Secrets are read from the environment only "
                    "(LABELBOX_API_KEY, FIFTYONE_DATABASE_URI, HF_TOKEN): remove it from the file and have it replaced."
                )
            _refuse_secrets(file, inner, (*where, str(key)))
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(file, inner, where)
    elif isinstance(value, str) and _SECRET_VALUE.match(value):
        raise ConfigError(f"{file}: the value of {'.'.join(where)} looks like a secret; read it from the environment instead")


def _from_text(key: str, raw: str) -> Any:
    default = DEFAULTS[key]
    where = f"CURATE_{key.upper()}"
    if isinstance(default, bool):
        if raw.lower() not in ("1", "true", "yes", "0", "false", "no"):
            raise ConfigError(f"{where}={raw!r}: say true or false")
        return raw.lower() in ("1", "true", "yes")
    if isinstance(default, tuple):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(default, (int, float)) and key != "tolerate_failed":
        try:
            return _checked(key, type(default)(raw), where)
        except ValueError as err:
            raise ConfigError(f"{where}={raw!r}: a number is needed") from err
    return _checked(key, raw, where)


def _checked(key: str, value: Any, where: str) -> Any:
    if key == "tolerate_failed":
        return fraction(value, f"{where}: {key}")
    default = DEFAULTS[key]
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or not all(isinstance(part, str) for part in value):
            raise ConfigError(f"{where}: {key} must be a list of strings")
        return tuple(value)
    wanted = (int, float) if isinstance(default, float) else type(default)
    if not isinstance(value, wanted) or (isinstance(value, bool) and not isinstance(default, bool)):
        raise ConfigError(f"{where}: {key} = {value!r} must be {_KINDS[type(default)]}")
    if key in CHOICES and value not in CHOICES[key]:
        raise UnknownName(key, str(value), CHOICES[key], f"({where})")
    if key == "precision" and not 0 < value < 1:
        raise ConfigError(f"{where}: precision = {value} must lie between 0 and 1 (0.99 = at most 1 in 100 pairs wrong)")
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        raise ConfigError(f"{where}: {key} = {value} must not be negative")
    if key == "max_pixels" and not value:
        raise ConfigError(f"{where}: max_pixels = 0 would refuse every image; say 1 or more (64,000,000 when left out)")
    return value


def fraction(value: Any, where: str) -> float:
    """A share in [0, 1] from 0.01 or "1%".  Raises ConfigError naming `where`."""
    try:
        text = str(value).strip()
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError as err:
        raise ConfigError(f"{where} = {value!r}: say a share such as 0.01 or 1%") from err
    if not 0 <= share <= 1:
        raise ConfigError(f"{where} = {value!r}: a share lies between 0 and 1 (0% and 100%)")
    return share
