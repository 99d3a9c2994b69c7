"""Nested names in YAML, read as a tree of nodes so that every message can name its line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any, TypeAlias

from curate.errors import ConfigError, MissingExtra
from curate.taxonomy._model import Taxonomy
from curate.taxonomy._records import Record, build, check_template

ATTRIBUTES = ("name", "synonyms", "templates", "also_under", "children")
"""What a tag may say of itself; any other key below a tag is a child."""

DEEPEST = 200
"""Levels of nesting; the deepest chain of WordNet has 20."""


def read_yaml(text: str, source: str) -> Taxonomy:
    """The taxonomy of a YAML text.

        templates: ["a photo of a {name}."]      # optional, for every tag
        facets:                                  # optional; without it the tags stand at the top level
          object:
            animal:
              dog: [beagle, poodle]
              cat: {synonyms: [kitty], children: [tabby, siamese]}
            pet: {children: [], also_under: []}
          scene: [indoor, outdoor]

    Keys are unique in the whole file.  `also_under: [KEY, ...]` names further parents; `name:` shows another name than the key
    (two different things of one name).  Raises ConfigError with the line.
    """
    return _Reader(source).read(text)


Pairs: TypeAlias = list[tuple[Any, Any]]


class _Reader:
    def __init__(self, source: str) -> None:
        self.source = source
        self.records: dict[str, Record] = {}
        # A queue of work instead of recursion: a taxonomy may be deeper than Python's stack.  Aliases cannot run away in it:
        # they repeat keys, which is an error.
        self._open: deque[tuple[Pairs, str | None, str]] = deque()

    def read(self, text: str) -> Taxonomy:
        top = _compose(text, self.source)
        if top is None or _is_null(top):
            return build({}, self.source)
        pairs = self._below(top)
        named = {key.value: value for key, value in pairs} if top.id == "mapping" else {}
        templates = self._texts(named["templates"]) if "templates" in named else []
        for form in templates:
            check_template(form, f"{self.source}:{_line(named['templates'])}")
        facets: list[str] = []
        if "facets" in named:
            facets = self._open_facets(top, named["facets"])
        else:
            self._open.append(([pair for pair in pairs if not (named and pair[0].value == "templates")], None, ""))
        while self._open:
            inner, parent, facet = self._open.popleft()
            for key, value in inner:
                self._add(key, value, parent, facet)
        return build(self.records, self.source, templates=templates, facets=facets)

    def _open_facets(self, top: Any, node: Any) -> list[str]:
        for key, _ in self._pairs(top):
            if key.value not in ("facets", "templates"):
                raise self._error(key, f"{key.value!r} stands beside 'facets'; put it into one of them")
        if node.id != "mapping":
            raise self._error(node, "'facets' must be names with tags below them")
        names: list[str] = []
        for key, value in self._pairs(node):
            if key.value in names:
                raise self._error(key, f"facet {key.value!r} is there twice")
            names.append(key.value)
            self._open.append((self._below(value), None, key.value))
        return names

    def _below(self, node: Any) -> Pairs:
        """What stands below a name: nothing, one name, a list of names, or names with something below them."""
        if _is_null(node):
            return []
        if node.id == "scalar":
            return [(node, None)]
        if node.id == "mapping":
            return self._pairs(node)
        found: Pairs = []
        for part in node.value:
            if part.id == "sequence":
                raise self._error(part, "a list inside a list; a tag needs a name")
            found += [(part, None)] if part.id == "scalar" else self._pairs(part)
        return found

    def _add(self, key: Any, value: Any, parent: str | None, facet: str) -> None:
        name = key.value.strip()
        if not name or _is_null(key):
            raise self._error(key, "a tag without a name")
        if name in self.records:
            first = self.records[name]
            if first.facet != facet:
                raise self._error(
                    key,
                    f"{name!r} is under two facets, {first.facet!r} (line {first.line}) and {facet!r}; facets are independent "
                    f"questions: give one of the two another key, with 'name: {name}'",
                )
            raise self._error(
                key,
                f"{name!r} is already at line {first.line}. The same thing under a second parent: write "
                f"'also_under: [{parent or 'PARENT'}]' there. Another thing of the same name: give it another key, with "
                f"'name: {name}'",
            )
        record = self.records[name] = Record(name, name, _line(key), {parent: _line(key)} if parent else {}, facet=facet)
        if value is None or value.id != "mapping":
            below = [] if value is None else self._below(value)
        else:
            below = []
            for inner, content in self._pairs(value):
                if inner.value == "children":
                    below += self._below(content)
                elif inner.value in ATTRIBUTES:
                    self._attribute(record, inner, content)
                else:
                    below.append((inner, content))
        if below:
            self._open.append((below, name, facet))

    def _attribute(self, record: Record, key: Any, value: Any) -> None:
        if key.value == "name":
            if value.id != "scalar" or not value.value.strip():
                raise self._error(value, "'name' must be a text; a tag that is called 'name' is written under 'children'")
            record.name = value.value.strip()
        elif key.value == "synonyms":
            record.synonyms = tuple(self._texts(value))
        elif key.value == "templates":
            record.templates = tuple(self._texts(value))
        else:
            for parent, line in self._lined(value):
                if parent in record.parents:
                    raise self._error(value, f"{record.key!r} is already under {parent!r}")
                record.parents[parent] = line

    def _texts(self, node: Any) -> list[str]:
        return [text for text, _ in self._lined(node)]

    def _lined(self, node: Any) -> Iterator[tuple[str, int]]:
        for part in node.value if node.id == "sequence" else [node]:
            if part.id != "scalar" or not part.value.strip():
                raise self._error(part, "a text or a list of texts is expected here")
            yield part.value.strip(), _line(part)

    def _pairs(self, node: Any) -> Pairs:
        for key, _ in node.value:
            if key.id != "scalar" or key.value == "<<":
                raise self._error(key, "a name is expected here (merge keys are not used in a taxonomy)")
        return list(node.value)

    def _error(self, node: Any, message: str) -> ConfigError:
        return ConfigError(f"{self.source}:{_line(node)}: {message}")


def _compose(text: str, source: str) -> Any:
    try:
        import yaml
    except ImportError as err:
        raise MissingExtra("pyyaml", "taxonomy", "a taxonomy in YAML") from err
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # The fast reader recurses in C and would crash on hostile nesting, so the depth is counted first.
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise ConfigError(f"{source}:{line}: nested more than {DEEPEST} deep; write child-parent pairs (.csv) instead")
        return yaml.compose(text, Loader=loader)
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f"{source}:{mark.line + 1}" if mark else source
        raise ConfigError(f"{where}: not YAML: {getattr(err, 'problem', None) or err}") from err


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _is_null(node: Any) -> bool:
    return bool(node.id == "scalar" and node.tag == "tag:yaml.org,2002:null")
