"""Which format a taxonomy file has, and reading it."""

from __future__ import annotations

from pathlib import Path

from curate.errors import ConfigError
from curate.taxonomy._model import Taxonomy
from curate.taxonomy._pairs import read_pairs
from curate.taxonomy._yaml import read_yaml

YAML = (".yaml", ".yml")
TABLES = (".csv", ".tsv", ".txt")
LARGEST_BYTES = 64 * 1024 * 1024


def read_taxonomy(path: Path | str) -> Taxonomy:
    """The taxonomy of a file: .yaml or .yml, .csv, .tsv, or .txt (WordNet is-a lines, with names from words.txt beside it).

    Raises ConfigError with file and line for everything that is wrong with it; MissingExtra where pyyaml is needed and absent.
    """
    path = Path(path)
    words_file = path.with_name("words.txt")
    words = _read(words_file) if path.suffix == ".txt" and path != words_file and words_file.is_file() else ""
    return parse_taxonomy(_read(path), source=str(path), suffix=path.suffix.lower(), words=words)


def parse_taxonomy(text: str, *, source: str = "taxonomy", suffix: str = ".yaml", words: str = "") -> Taxonomy:
    """The taxonomy of a text.  suffix: the format, as the ending of a file name.  words: `id<TAB>name, synonym, ...` lines."""
    if suffix in YAML:
        return read_yaml(text, source)
    if suffix in TABLES:
        return read_pairs(text, source, words=words)
    kind = suffix or "a file without an ending"
    raise ConfigError(f"{source}: {kind} is no taxonomy format; known: {', '.join((*YAML, *TABLES))}")


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ConfigError(f"{path}: larger than {LARGEST_BYTES // 2**20} MB; a taxonomy is a list of names")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as err:
        raise ConfigError(f"{path}: no such taxonomy file") from err
    except UnicodeDecodeError as err:
        line = err.object[: err.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from err
    except OSError as err:
        raise ConfigError(f"{path}: cannot be read: {err}") from err
