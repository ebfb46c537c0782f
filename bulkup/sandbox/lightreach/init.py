"""The body of an init: what it must be, by the guide. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.steps import RefusedError

MAX_FILES: Final = 25

_CONTENT_TYPES: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif",
    "heic": "image/heic",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "pdf": "application/pdf",
    "png": "image/png",
    "tif": "image/tiff",
    "tiff": "image/tiff",
    "txt": "text/plain",
    "webp": "image/webp",
    "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}


@dataclass(frozen=True, slots=True)
class WantedFile:
    """A file that an init announces, with the Content-Type that its extension stands for."""

    name: str
    size: int
    content_type: str

    @property
    def extension(self) -> str:
        """In lower case, without the dot."""
        return extension(self.name)


@dataclass(frozen=True, slots=True)
class Init:
    """A valid init."""

    files: tuple[WantedFile, ...]
    type: str
    grouped: bool
    external_reference: str | int | float | None


def parse(body: bytes, options: LightReachOptions) -> Init:
    """Read an init's body.

    Raises:
        RefusedError: 400, with the rule that it breaks.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedError(400, "the body is not valid JSON") from None
    if not isinstance(content, dict):
        raise RefusedError(400, "the body must be a JSON object")
    fields = content.get("fields", {})
    if not isinstance(fields, dict):
        raise RefusedError(400, "fields must be an object")
    files = content.get("files")
    if not isinstance(files, list) or not files:
        raise RefusedError(400, "files must be a non-empty array")
    if len(files) > MAX_FILES:
        raise RefusedError(400, f"files: {len(files)} given, at most {MAX_FILES} are allowed")
    kind = check_type(content.get("type", fields.get("type")), options)
    grouped = fields.get("grouped", kind not in options.split_types)
    if not isinstance(grouped, bool):
        raise RefusedError(400, "fields.grouped must be a boolean")
    reference = fields.get("externalReference")
    if isinstance(reference, bool) or not isinstance(reference, str | int | float | None):
        raise RefusedError(400, "fields.externalReference must be a string or a number")
    return Init(tuple(_file(number, file, options) for number, file in enumerate(files)), kind, grouped, reference)


def check_type(kind: object, options: LightReachOptions) -> str:
    """A document type that is given and valid; else `RefusedError`."""
    if not isinstance(kind, str) or not kind:
        raise RefusedError(400, "type is required")
    if options.types is not None and kind not in options.types:
        raise RefusedError(
            400, f"invalid document type {kind!r}", {"allowedTypes": sorted(options.types)}, breach=False
        )
    return kind


def content_type(name: str, options: LightReachOptions) -> str:
    """The canonical MIME type of an allowed file name; else `RefusedError`."""
    ending = extension(name)
    if ending not in options.extensions:
        of_file = f" in {name!r}" if options.name_offender else ""
        allowed = sorted(options.extensions)
        message = f"unsupported file extension{of_file}; allowed: {', '.join(allowed)}"
        raise RefusedError(400, message, {"allowedExtensions": allowed}, breach=False)
    return _CONTENT_TYPES.get(ending, "application/octet-stream")


def extension(name: str) -> str:
    """The extension of a file name, in lower case, without the dot."""
    return name.rpartition(".")[2].lower() if "." in name else ""


def _file(number: int, file: object, options: LightReachOptions) -> WantedFile:
    if not isinstance(file, dict):
        raise RefusedError(400, f"files[{number}] must be an object")
    name, size = file.get("filename"), file.get("size")
    if not isinstance(name, str) or not name:
        raise RefusedError(400, f"files[{number}].filename is required")
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise RefusedError(400, f"files[{number}].size is required: the number of bytes")
    if options.max_size is not None and size > options.max_size:
        raise RefusedError(400, f"files[{number}].size: at most {options.max_size} bytes are allowed", breach=False)
    return WantedFile(name, size, content_type(name, options))
