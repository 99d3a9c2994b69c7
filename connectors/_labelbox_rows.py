"""Lines of an export as rows of ours: identity, content version, media type, and the fields that the platform shows."""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from curate.types import Item, Scalar, field_kind

PREFIX = "curate."
"""Metadata fields of ours; metadata is shared by the whole workspace, so they need a name of their own."""
SIGNED = "#signed"
"""Ends the shown address of a row whose real one carries a signature; signatures are kept out of stores and reports."""
TEXT = "labelbox-text:"
_SIGNATURE = re.compile(
    r"^(x-amz-.*|x-goog-.*|x-ms-.*|x-signature|signature|sig|expires|keyname|key-pair-id|policy|googleaccessid|awsaccesskeyid"
    r"|se|st|sp|sv|sr|spr|skoid|sktid|skt|ske|sks|skv|token|hdnts|hdnea)$",
    re.IGNORECASE,
)


def item_of(line: Mapping[str, Any]) -> Item:
    """The row that one line of an export describes."""
    data = line["data_row"]
    media = line.get("media_attributes") or {}
    content = str(data.get("row_data") or "")
    kind = media_type(content, media)
    return Item(
        id=str(data["id"]),
        uri=shown(content, str(data["id"])),
        version=version_of(content, media),
        fields=fields_of(line),
        media_type=kind,
    )


def is_address(content: str) -> bool:
    """Whether row_data is an address; rows of text may hold the text itself."""
    return bool(re.match(r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s]+$", content))


def shown(content: str, item_id: str) -> str:
    """The address as it may be stored and printed: without signature, and ending in `SIGNED` when it had one."""
    if not is_address(content):
        return TEXT + item_id
    plain = without_signature(content)
    return plain + SIGNED if plain != content else content


def without_signature(address: str) -> str:
    """`address` without the parts of its query that sign it and expire; what says which picture is meant stays."""
    parts = urlsplit(address)
    if not parts.query:
        return address
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    kept = [(name, value) for name, value in pairs if not _SIGNATURE.match(name)]
    return address if len(kept) == len(pairs) else parts._replace(query=urlencode(kept), fragment="").geturl()


def version_of(content: str, media: Mapping[str, Any]) -> str:
    """Identity of the content: which asset it is and how large; not its signature, nor when somebody last touched the row."""
    asset = without_signature(content) if is_address(content) else content
    told = [asset, media.get("width"), media.get("height"), media.get("content_length"), media.get("mime_type")]
    return hashlib.sha256(json.dumps(told, ensure_ascii=False).encode()).hexdigest()


def media_type(content: str, media: Mapping[str, Any]) -> str:
    """Such as "image", "text" or "video": the type that Labelbox names, else by the ending of the address or the size."""
    mime = str(media.get("mime_type") or "")
    if not mime and is_address(content):
        mime = mimetypes.guess_type(urlsplit(content).path)[0] or ""
    if mime:
        kind = mime.partition("/")[0]
        return "document" if kind == "application" else kind
    if not is_address(content):
        return "text" if content else "unknown"
    return "image" if media.get("width") and media.get("height") else "unknown"


def fields_of(line: Mapping[str, Any]) -> dict[str, Scalar]:
    """Metadata and labels by name.

    Ours lose their prefix; a field of the user's that is named like one of ours gains "metadata.".
    """
    found: dict[str, Scalar] = {}
    data = line["data_row"]
    for name in ("global_key", "external_id"):
        if data.get(name) is not None:
            found[name] = str(data[name])
    for entry in line.get("metadata_fields") or ():
        name, value = str(entry.get("schema_name")), scalar(entry.get("value"))
        if name.startswith(PREFIX) and field_kind(name.removeprefix(PREFIX)):
            found[name.removeprefix(PREFIX)] = value
        elif value is not None:
            found[f"metadata.{name}" if field_kind(name) or name in found else name] = value
    for name, value in _labels(line):
        key = f"label.{name}" if field_kind(name) or name in found else name
        found.setdefault(key, value)
    return found


def scalar(value: Any) -> Scalar:
    """One value of a metadata field: options of an enum become their names, whole numbers integers."""
    if isinstance(value, list):
        names = [
            str(v.get("schema_name") or v.get("name") or v.get("value")) if isinstance(v, Mapping) else str(v) for v in value
        ]
        return ",".join(names) or None
    if isinstance(value, Mapping):
        name = value.get("schema_name") or value.get("name")
        return str(name) if name else None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _labels(line: Mapping[str, Any]) -> Iterable[tuple[str, Scalar]]:
    """Classification answers of the first label of each project: (question, answer)."""
    for project in (line.get("projects") or {}).values():
        for label in (project.get("labels") or ())[:1]:
            for asked in (label.get("annotations") or {}).get("classifications") or ():
                answers = asked.get("checklist_answers") or [asked.get("radio_answer") or asked.get("text_answer") or {}]
                told = [str(a.get("name") or a.get("value") or a.get("content") or "") for a in answers]
                if asked.get("name") and any(told):
                    yield str(asked["name"]), ",".join(t for t in told if t)
