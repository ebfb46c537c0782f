"""The v2 upload: init, the worker that persists what has landed, and the two ways to follow a job."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from aiohttp import web

from bulkup.sandbox.faults import Kind, Rule
from bulkup.sandbox.lightreach import init
from bulkup.sandbox.lightreach.access import Access
from bulkup.sandbox.lightreach.documents import Document, DocumentFile, Documents, iso
from bulkup.sandbox.lightreach.jobs import Job, JobFile
from bulkup.sandbox.lightreach.options import LightReachOptions
from bulkup.sandbox.objectstore.bucket import Bucket
from bulkup.sandbox.sse import serve_events
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import RefusedError, Step, body_subject, json_answer

_ROOT: Final = "/lightreach/api/v2/accounts/{account}/documents"


class Uploads:
    """Jobs and what becomes of them.

    Args:
        stage: what all stand-ins share.
        options: the switches.
        access: checks the bearer.
    """

    def __init__(self, stage: Stage, options: LightReachOptions, access: Access) -> None:
        self._stage = stage
        self._options = options
        self._access = access
        self.bucket = Bucket(stage, "lightreach", options.store, self._landed, self._key_subject)
        self.documents = Documents(stage, options, self.bucket)
        self.jobs: dict[str, Job] = {}
        self.at_work = asyncio.Event()
        self.at_work.set()
        self._awaited: dict[str, tuple[Job, JobFile]] = {}

    def steps(self) -> Iterable[Step]:
        """Init, stream, poll, and the bucket's PUT and GET."""
        yield Step("init", "POST", _ROOT, self._init, subject=body_subject)
        yield Step("stream", "GET", f"{_ROOT}/upload-progress", self._stream, subject=self._job_subject(_query_job))
        yield Step("job", "GET", f"{_ROOT}/jobs/{{job}}", self._poll, subject=self._job_subject(_path_job))
        yield from self.bucket.steps()

    async def _init(self, request: web.Request) -> web.StreamResponse:
        account = self._access.check(request)
        if not self._options.signed_urls:
            raise RefusedError(503, "signed-URL uploads are not available in this environment", breach=False)
        wanted = init.parse(await request.read(), self._options)
        name = secrets.token_urlsafe(16)
        files = [
            JobFile(file, f"lightreach/staging/{name}/{secrets.token_hex(4)}.{file.extension}") for file in wanted.files
        ]
        job = Job(name, account, wanted, files, self._options.first_event)
        job.fate = self._draw("job_never", job.subject) or self._draw("job_failed", job.subject)
        self.jobs[name] = job
        answer = {
            "jobId": name,
            "status": "awaitingUpload",
            "files": [self._render_file(job, file) for file in files],
        }
        return json_answer(answer, 202)

    def _render_file(self, job: Job, file: JobFile) -> dict[str, object]:
        subject = f"{job.account}\n{file.wanted.name}"
        file.wrong_hash = self._draw("wrong_hash", subject) is not None
        self._awaited[file.key] = (job, file)
        signed = self.bucket.sign_put(file.key, file.wanted.content_type, self._options.url_life)
        return {
            "filename": file.wanted.name,
            "stagingPath": file.key.removeprefix("lightreach/"),
            "uploadUrl": signed.url,
            "expiresAt": iso(signed.expires),
            "contentType": file.wanted.content_type,
        }

    def _landed(self, key: str) -> None:
        job, file = self._awaited.get(key, (None, None))
        if job is None or file is None:
            return
        file.landed = True
        if job.is_complete and not job.working:
            job.working = True
            self._stage.background.start(self._work(job))

    async def _work(self, job: Job) -> None:
        """What the vendor's background worker does once all bytes of a job have landed."""
        await self.at_work.wait()
        await asyncio.sleep(self._options.job_delay)
        if job.fate is not None and job.fate.kind == "job_never":
            return
        error = self._flaw(job)
        if error is None:
            await self._persist(job)
            await self._announce(job)
        else:
            job.error = error
            job.emit("failed", self.documents)
        for file in job.files:
            del self._awaited[file.key]

    def _flaw(self, job: Job) -> str | None:
        if job.fate is not None:
            return job.fate.message or "the upload could not be processed"
        for file in job.files:
            came = self._stage.store[file.key].size
            if self._options.check_size and came != file.wanted.size:
                self._stage.record.breach("lightreach", "put", f"{came} bytes came, {file.wanted.size} were declared")
                return f"{file.wanted.name}: {came} bytes received, {file.wanted.size} declared"
        return None

    async def _persist(self, job: Job) -> None:
        files: list[DocumentFile] = []
        for number, file in enumerate(job.files):
            key = f"lightreach/documents/{job.id}/{number}.{file.wanted.extension}"
            stored = await self._stage.store.move(file.key, key)
            await self._stage.store.hash(stored)
            files.append(DocumentFile(file.wanted.name, file.wanted.content_type, key, stored, file.wrong_hash))
        job.documents = self.add_documents(
            job.account, job.init.type, job.init.external_reference, files, grouped=job.init.grouped
        )

    def add_documents(
        self,
        account: str,
        kind: str,
        external_reference: str | int | float | None,
        files: list[DocumentFile],
        *,
        grouped: bool,
    ) -> list[Document]:
        """Persist files as one document, or as one each."""
        groups = [files] if grouped else [[file] for file in files]
        return [self.documents.add(account, kind, external_reference, group) for group in groups]

    async def _announce(self, job: Job) -> None:
        variants = self._options.variants
        if variants in ("after", "never"):
            job.emit("complete", self.documents)
        if variants == "never":
            return
        if variants == "after":
            await asyncio.sleep(self._options.variants_delay)
        for document in job.documents:
            document.has_variants = True
        job.emit("imageVariantsReady", self.documents)
        if variants == "before":
            await asyncio.sleep(self._options.variants_delay)
            job.emit("complete", self.documents)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request, _query_job(request))
        with self._stage.record.requests.streams.one(), job.listen(self.documents) as events:
            return await serve_events(request, events, self._options.heartbeat, self._options.heartbeat_form)

    async def _poll(self, request: web.Request) -> web.StreamResponse:
        job = self._job(request, _path_job(request))
        job.polls.append(self._stage.clock())
        return web.Response(body=job.render(self.documents), content_type="application/json")

    def _job(self, request: web.Request, name: str) -> Job:
        account = self._access.check(request)
        job = self.jobs.get(name)
        if job is None or job.account != account:
            raise RefusedError(404, "unknown job", breach=False)
        return job

    def _draw(self, kind: Kind, subject: str) -> Rule | None:
        return self._stage.dice.outcome(kind, "lightreach", subject)

    def _key_subject(self, key: str) -> str:
        job, file = self._awaited.get(key, (None, None))
        return "" if job is None or file is None else f"{job.account}\n{file.wanted.name}"

    def _job_subject(self, name: Callable[[web.Request], str]) -> Callable[[web.Request], Awaitable[str]]:
        async def subject(request: web.Request) -> str:
            job = self.jobs.get(name(request))
            return request.path if job is None else f"{request.path}\n{job.subject}"

        return subject


def _query_job(request: web.Request) -> str:
    return request.query.get("jobId", "")


def _path_job(request: web.Request) -> str:
    return request.match_info["job"]
