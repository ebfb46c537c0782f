"""The LightReach stand-in: its parts put together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import ClassVar

from anyio import to_thread

from bulkup.sandbox.lightreach.access import Access
from bulkup.sandbox.lightreach.documents import Document, DocumentFile
from bulkup.sandbox.lightreach.jobs import Job
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.lightreach.reads import Reads
from bulkup.sandbox.lightreach.uploads import Uploads
from bulkup.sandbox.lightreach.v1 import V1
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step
from bulkup.sandbox.vendor import Vendor, VendorOptions


class LightReach(Vendor):
    """Palmetto LightReach, documents v2 with its v1 fallback, under ``/lightreach``."""

    name: ClassVar[str] = "lightreach"
    options_type: ClassVar[type[VendorOptions]] = LightReachOptions

    def __init__(self, stage: Stage, options: VendorOptions) -> None:
        assert isinstance(options, LightReachOptions)  # noqa: S101 # the sandbox picks by `options_type`
        self.options = options
        self._stage = stage
        self._access = Access(stage, options)
        self._uploads = Uploads(stage, options, self._access)
        self._reads = Reads(stage, options, self._access, self._uploads.documents)
        self._v1 = V1(stage, options, self._access, self._uploads)

    @property
    def token(self) -> str:
        """The bearer token that is always good, made from the seed."""
        return self._access.token

    @property
    def documents(self) -> list[Document]:
        """What is persisted, oldest first, archived or not."""
        return self._uploads.documents.all

    @property
    def jobs(self) -> Mapping[str, Job]:
        """All upload jobs by id."""
        return self._uploads.jobs

    @property
    def at_work(self) -> asyncio.Event:
        """Whether the vendor's worker is there: while this is cleared, all jobs wait, whatever has landed."""
        return self._uploads.at_work

    def steps(self) -> Iterable[Step]:
        """All of its requests; a job's path must be tried before a document's."""
        for part in (self._access, self._uploads, self._reads, self._v1):
            yield from part.steps()

    def environment(self) -> Mapping[str, str]:
        """Base URL and token."""
        return {
            "BULKUP_LIGHTREACH_BASE_URL": f"{self._stage.url}/lightreach",
            "BULKUP_LIGHTREACH_TOKEN": self.token,
        }

    async def state(self) -> Mapping[str, object]:
        """Documents with their hashes, and jobs."""
        return {
            "documents": [await _render_document(document) for document in self.documents],
            "jobs": [
                {
                    "id": job.id,
                    "account": job.account,
                    "event": job.event,
                    "error": job.error,
                    "files": [{"name": file.wanted.name, "landed": file.landed} for file in job.files],
                    "documents": [document.id for document in job.documents],
                    "polls": job.polls,
                }
                for job in self.jobs.values()
            ],
        }


async def _render_document(document: Document) -> Mapping[str, object]:
    return {
        "id": document.id,
        "account": document.account,
        "type": document.type,
        "externalReference": document.external_reference,
        "archived": document.archived,
        "files": [
            {
                "name": file.name,
                "contentType": file.content_type,
                "size": file.size,
                "md5": file.md5,
                "sha256": await to_thread.run_sync(_sha256, file),
                "key": file.key,
            }
            for file in document.files
        ],
    }


def _sha256(file: DocumentFile) -> str:
    return file.sha256
