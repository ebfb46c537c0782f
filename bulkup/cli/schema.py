"""``bulkup schema``: what a manifest's rows may look like, for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from bulkup.errors import UsageError
from bulkup.manifest.json_schema import manifest_schema, row_schema
from bulkup.providers import COLUMNS


def schema(
    provider: Annotated[str, typer.Argument(help=f"One of {', '.join(COLUMNS)}; none: a whole manifest.")] = "",
) -> None:
    """Print the JSON Schema of a vendor's rows, or of a whole JSON manifest.

    Example: bulkup schema > manifest.schema.json
    """
    if provider and provider not in COLUMNS:
        raise UsageError(f"{provider!r} is no vendor that bulkup knows: known are {', '.join(COLUMNS)}")
    wanted = row_schema(provider, COLUMNS[provider]) if provider else manifest_schema(COLUMNS)
    typer.echo(json.dumps(wanted, indent=2, ensure_ascii=False))
