"""JSON Schemas of manifest rows, for editors; what they can't say, the reader checks. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bulkup.model import Columns

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_COMMON: Mapping[str, Any] = {
    "path": {
        "type": "string",
        "minLength": 1,
        "description": "The file; a relative path starts at the manifest's folder.",
    },
    "filename": {"type": "string", "description": "The name that the vendor is told; by default the file's."},
    "key": {"type": ["string", "integer"], "description": "The row's identity from run to run; by default derived."},
}


def row_schema(provider: str, columns: type[Columns]) -> dict[str, Any]:
    """The schema of one provider's rows: an object."""
    own = columns.model_json_schema(mode="validation")
    names = {"provider": {"const": provider, "description": "The vendor; or --provider for all rows."}}
    more = {name: own[name] for name in own.keys() - {"properties", "required", "title", "type", "description"}}
    return {
        "$schema": _DIALECT,
        "title": f"A row of a bulkup manifest: {provider}",
        "description": own["description"],
        "type": "object",
        "properties": {"path": _COMMON["path"], **names, **_rest(), **_without_titles(own["properties"])},
        "required": ["path", *own["required"]],
        **dict(sorted(more.items())),
    }


def manifest_schema(kinds: Mapping[str, type[Columns]]) -> dict[str, Any]:
    """The schema of a JSON manifest: an array of rows, each by its ``provider``."""
    rows = {name: row_schema(name, columns) for name, columns in kinds.items()}
    choices = [
        {"if": {"properties": {"provider": {"const": name}}}, "then": {"$ref": f"#/$defs/{name}"}} for name in rows
    ]
    return {
        "$schema": _DIALECT,
        "title": "A bulkup manifest",
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"provider": {"enum": list(rows)}},
            "required": ["path", "provider"],
            "allOf": choices,
        },
        "$defs": {name: {key: row[key] for key in row if key != "$schema"} for name, row in rows.items()},
    }


def _rest() -> dict[str, Any]:
    return {name: _COMMON[name] for name in ("filename", "key")}


def _without_titles(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Pydantic's titles repeat the names, and its defaults say what null already says."""
    return {
        name: {key: value for key, value in field.items() if key not in {"title", "default"}}
        for name, field in properties.items()
    }
