"""LightReach's document objects: reading them, and holding them against what was sent. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import NamedTuple

from bulkup.model import Content, Failure, Receipt
from bulkup.providers.base import Json, Trace, unreadable
from bulkup.providers.reading import mapping, objects, recent, text, token
from bulkup.providers.remote import RemoteDocument, RemoteFile, ViewUrl
from bulkup.secret import SignedUrl

_KB = 1024
_MD5_HEX, _MD5_BYTES = 32, 16
_HEX = re.compile(r"[0-9a-f]{32}")


def parse_all(value: object) -> list[RemoteDocument]:
    """A list of document objects; an item that is none is left out."""
    return [parse(item) for item in objects(value) if token(item.get("id")) is not None]


def parse(item: Json) -> RemoteDocument:
    """One document object (guide, "objects of this shape").

    Raises:
        StepError: ``unreadable_answer`` without an id.
    """
    identifier = token(item.get("id"))
    if identifier is None:
        raise unreadable("a document has no id")
    meta = mapping(item.get("meta"))
    return RemoteDocument(
        id=identifier,
        target=f"account:{text(item.get('accountId')) or ''}",
        type=text(item.get("type")),
        status=text(item.get("status")),
        archived=item.get("archived") is True,
        external_reference=text(item.get("externalReference")),
        files=tuple(_file(file) for file in objects(item.get("files"))),
        created_at=text(meta.get("createdAt")),
        updated_at=text(meta.get("updatedAt")),
    )


def _file(item: Json) -> RemoteFile:
    views = item.get("viewUrls")
    return RemoteFile(
        name=text(item.get("originalName")) or "",
        content_type=text(item.get("contentType")),
        md5=text(item.get("md5Hash")),
        size_kb=_size(item.get("sizeKB")),
        urls=tuple(
            ViewUrl(SignedUrl(view["url"]), text(view.get("type")) or "", text(view.get("expiresAt")))
            for view in (views if isinstance(views, list) else [])
            if isinstance(view, dict) and isinstance(view.get("url"), str)
        ),
    )


def _size(value: object) -> int | None:
    return value if type(value) is int else None  # and no bool


class Reported(NamedTuple):
    """What a finished job says of one file; of a document without files only its id."""

    document_id: str
    name: str | None = None
    md5: str | None = None
    size_kb: int | None = None


def reported(value: object) -> list[Reported]:
    """The files of a list of document objects; an item that is none is left out."""
    files: list[Reported] = []
    for item in objects(value):
        identifier = token(item.get("id"))
        if identifier is None:
            continue
        own = objects(item.get("files"))
        for file in own:
            name, md5, size = file.get("originalName"), file.get("md5Hash"), file.get("sizeKB")
            files.append(Reported(identifier, text(name) or "", _md5(text(md5)), _size(size)))
        if not own:
            files.append(Reported(identifier))
    return files


def receipts(found: Sequence[Reported], names: Sequence[str], contents: Sequence[Content]) -> list[Receipt]:
    """Which document each file of a finished job became, in the order sent.

    The guide promises an order only for the init's answer, and names can repeat or come back changed. So a file is
    looked for by MD5 and name, by MD5, and by a name that nothing speaks against. Only if the job names as many files
    as were sent does the name alone, and then the order, decide what is left over: without a counterpart it is unknown
    what became of a file.
    """
    exact: dict[tuple[str | None, str | None], list[Reported]] = {}
    for file in reversed(found):
        exact.setdefault((file.name, file.md5), []).append(file)
    chosen: dict[int, Reported] = {}
    for index, (name, content) in enumerate(zip(names, contents, strict=True)):
        if content.md5 is not None and (same := exact.get((name, content.md5))):
            chosen[index] = same.pop()
    free = [file for same in exact.values() for file in reversed(same)]
    if free:
        free.sort(key=found.index)
        measures = (_same_bytes, _fits, _same_name, _any) if len(found) == len(names) else (_same_bytes, _fits)
        for matches in measures:
            _choose(matches, free, chosen, names, contents)
    return [_receipt(chosen.get(index), content) for index, content in enumerate(contents)]


def _choose(
    matches: Callable[[Reported, str, Content], bool],
    free: list[Reported],
    chosen: dict[int, Reported],
    names: Sequence[str],
    contents: Sequence[Content],
) -> None:
    """Give each file that has no counterpart yet the first that is free and matches."""
    for index, (name, content) in enumerate(zip(names, contents, strict=True)):
        match = None if index in chosen else next((file for file in free if matches(file, name, content)), None)
        if match is not None:
            chosen[index] = match
            free.remove(match)


def _same_bytes(file: Reported, name: str, content: Content) -> bool:  # noqa: ARG001 - one of four measures
    return file.md5 is not None and file.md5 == content.md5


def _fits(file: Reported | RemoteFile, name: str, content: Content) -> bool:
    return file.name == name and disproof(file, content) is None


def _same_name(file: Reported, name: str, content: Content) -> bool:  # noqa: ARG001
    return file.name == name


def _any(file: Reported, name: str, content: Content) -> bool:  # noqa: ARG001
    return True


def _receipt(match: Reported | None, content: Content) -> Receipt:
    if match is None:
        return Receipt(failure=Failure("no_document", "the job is complete but names no document for it"), known=False)
    proven = content.md5 is not None and content.md5 == match.md5
    return Receipt(match.document_id, None if proven else disproof(match, content))


def disproof(file: Reported | RemoteFile, content: Content) -> Failure | None:
    """Why the vendor's file can't be the one that was sent; None: nothing speaks against it.

    ``md5Hash`` may be hexadecimal or base64, ``sizeKB`` rounded down or to nearest: neither is published.
    """
    md5 = _md5(file.md5)
    if md5 is not None and content.md5 is not None and md5 != content.md5:
        return Failure("hash_mismatch", f"the vendor reports MD5 {md5}, sent was {content.md5}", answered=True)
    if md5 is not None and content.md5 is not None:
        return None
    if file.size_kb is not None and file.size_kb not in {content.size // _KB, (content.size + _KB // 2) // _KB}:
        text = f"the vendor reports {file.size_kb} KB, sent were {content.size} bytes"
        return Failure("size_mismatch", text, answered=True)
    return None


def _md5(value: str | None) -> str | None:
    """An MD5 in hexadecimal, from hexadecimal or base64; None if it is neither."""
    if value is None or _HEX.fullmatch(value):
        return value
    try:
        digest = bytes.fromhex(value) if len(value) == _MD5_HEX else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return None
    return digest.hex() if len(digest) == _MD5_BYTES else None


def find(
    listed: Sequence[RemoteDocument], traces: Sequence[Trace], claimed: frozenset[str], *, reference_kept: bool = True
) -> list[Receipt | None]:
    """The document that each trace became, among those of its account that no other row holds.

    A document counts when type, reference, file names and hashes (sizes, where there is no hash) agree and it is not
    older than the init. Rows of one group are one document with exactly their files. ``reference_kept``: the flow is
    known to keep the reference; else a document without one may be meant.
    """
    free = [document for document in listed if document.id not in claimed]
    found: dict[int, Receipt] = {}
    order = sorted(range(len(traces)), key=lambda index: _unit(traces[index], index))
    for _, members in groupby(order, key=lambda index: _unit(traces[index], index)):
        unit = list(members)
        of_unit = [traces[index] for index in unit]
        match = next((document for document in free if _is(document, of_unit, reference_kept=reference_kept)), None)
        if match is not None:
            free.remove(match)
            found.update(dict.fromkeys(unit, Receipt(match.id)))
    return [found.get(index) for index in range(len(traces))]


def _unit(trace: Trace, index: int) -> tuple[str, ...]:
    """Equal for traces that make one document."""
    columns = trace.outgoing.document.columns
    return ("", *map(str, columns.share)) if columns.bundled else (f"{index:09}",)


def _is(document: RemoteDocument, unit: Sequence[Trace], *, reference_kept: bool) -> bool:
    first = unit[0]
    _, kind, reference, _ = first.outgoing.document.columns.share
    references = {reference} if reference_kept else {reference, None}
    if document.type != kind or document.external_reference not in references or len(document.files) != len(unit):
        return False
    if not recent(document.created_at, first.initiated_at):
        return False
    names = Counter(file.name for file in document.files)
    if names != Counter(trace.outgoing.document.filename for trace in unit):
        return False
    sent = [(trace.outgoing.document.filename, trace.outgoing.content) for trace in unit]
    # both ways round, since names can repeat
    return all(any(_proves(file, name, content) for file in document.files) for name, content in sent) and all(
        any(_proves(file, name, content) for name, content in sent) for file in document.files
    )


def _proves(file: RemoteFile, name: str, content: Content) -> bool:
    """As `_fits`, but a hash that can't be compared is no proof."""
    return _fits(file, name, content) and (content.md5 is not None or _md5(file.md5) is None)
