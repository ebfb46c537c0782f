"""Auco's documents: their status by code, downloading them, and cancelling one that got no bytes."""

from __future__ import annotations

from typing import ClassVar

from bulkup.errors import StepError
from bulkup.model import Failure
from bulkup.providers.base import Caller, Json, Outgoing
from bulkup.providers.reading import objects, text, web_url
from bulkup.providers.remote import RemoteDocument, RemoteFile, ViewUrl

_SIGNED = "FINISH"
_REFUSED = frozenset({"REJECTED", "EXPIRED"})


class AucoDocuments:
    """What can be done with a document beside the upload; its code is enough. Auco lists no documents."""

    __slots__ = ()

    contained: ClassVar[bool] = False

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:  # noqa: ARG002
        """One document: its status and its signers'."""
        return _document(await self._by_code(api, document_id), document_id)

    async def download_document(self, api: Caller, container: str, document_id: str) -> list[tuple[str, bytes]]:  # noqa: ARG002
        """Name and bytes of the document as it is now: signed, once it was."""
        found = await self._by_code(api, document_id)
        url = web_url(found.get("url"))
        if url is None:
            raise StepError(Failure("not_found", f"document {document_id} has no file", answered=True))
        name = text(found.get("name")) or document_id
        return [(name if name.lower().endswith(".pdf") else f"{name}.pdf", await api.fetch(url, auth=False))]

    async def abandon(self, api: Caller, document: Outgoing, remote_id: str) -> None:
        """See `Abandoner.abandon`: cancel a process before another takes its place; once, since it may be noticed.

        Vendor's newer docs; whether signers are told, or credits come back, is unknown.
        """
        words = "Its document did not arrive, so it is replaced by another process."
        json = {"codes": [remote_id], "message": words, "email": document.document.target}
        await api.call("POST", "/document/cancel", json=json)

    async def arrived(self, api: Caller, code: str, size: int) -> bool:
        """Whether a process has its document: all have signed it, or as many bytes as were sent can be read.

        CREATED alone proves nothing, since a process is created before its bytes come.
        """
        try:
            found = await self._by_code(api, code)
            status, url = text(found.get("status")), web_url(found.get("url"))
            if status == _SIGNED:
                return True
            return status not in _REFUSED and url is not None and await api.measure(url) == size
        except StepError as error:
            if not error.failure.final:
                raise
            return False

    async def _by_code(self, api: Caller, code: str) -> Json:
        """The answer about one code; without one Auco would list its templates."""
        return (await api.call("GET", "/document", params={"code": code})).object()


def _document(found: Json, code: str) -> RemoteDocument:
    url = web_url(found.get("url"))
    file = RemoteFile(text(found.get("name")) or "", urls=() if url is None else (ViewUrl(url, "original"),))
    signers = [
        {name: text(signer.get(name)) for name in ("name", "email", "status")}
        for signer in objects(found.get("signProfile"))
    ]
    return RemoteDocument(
        id=text(found.get("code")) or code,
        target="",
        status=text(found.get("status")),
        files=(file,),
        properties={"name": text(found.get("name")), "signers": signers},
    )
