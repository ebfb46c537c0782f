"""Bringing the bytes of a batch to where its ticket says: the transfers of one init, side by side.

Each is tried once by a `Relay`, which costs little; what does not succeed there, and all that is single use or goes to
the API itself, is sent patiently, with a task each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import inf

from bulkup.answers import judge_store
from bulkup.api import Api
from bulkup.decide import ambiguous, transfer_again, wants_fallback
from bulkup.errors import StepError
from bulkup.events import Transferred
from bulkup.ledger import Ended, Reset, Stored
from bulkup.model import Columns, Document, Failure, Reply, Stage, State, Ticket, Traits, Upload
from bulkup.readable import Readable
from bulkup.relay import Errand, Places, Relay
from bulkup.retry import retrying
from bulkup.tasks import gather
from bulkup.tools import Tools
from bulkup.traffic import Server
from bulkup.transfer import Part, described, judged, transfer
from bulkup.transport import Response


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A transfer that did not succeed.

    Attributes:
        uncertain: one of its attempts may have landed all the same: its answer was lost, or was a 5xx.
    """

    failure: Failure
    uncertain: bool


@dataclass(slots=True)
class Delivery:
    """What became of the transfers of one init.

    Attributes:
        replies: the store's answers, by the document's position in the batch.
        failures: by the document's id.
        single_use: ids of documents whose transfer can't be repeated.
        uncertain: some failed transfer may have landed all the same.
    """

    replies: dict[int, Reply] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    single_use: set[int] = field(default_factory=set)
    uncertain: bool = False


@dataclass(slots=True, eq=False)
class _Load:
    """One upload of a ticket, with the files that it carries.

    Attributes:
        ends: when its URL's life is over, by the monotonic clock.
    """

    upload: Upload
    documents: Sequence[Document[Columns]]
    parts: Sequence[Part]
    ends: float

    def judge(self, response: Response) -> Failure | None:
        """What a store says."""
        return judge_store(response.status, response.headers, response.body, self.upload.secrets)


class Courier:
    """Carries out the uploads of tickets.

    Args:
        tools: the run's.
        places: for the transfers in flight of this vendor.
    """

    def __init__(self, tools: Tools, places: Places) -> None:
        self._tools = tools
        self._places = places

    async def deliver(
        self,
        api: Api,
        ticket: Ticket,
        documents: Sequence[Document[Columns]],
        sources: Mapping[int, Readable],
        asked: float,
    ) -> Delivery:
        """Send all bytes of a batch.

        Args:
            documents: in the ticket's order.
            sources: what was looked at, by the document's id.
            asked: when the init was sent, by the monotonic clock; the URLs' lives run from there.
        """
        loads = _loads(api.adapter.traits, ticket.uploads, documents, sources, asked)
        # a first attempt costs nothing but its bytes where there is no doubt, and no credentials
        light = [load for load in loads if not (load.upload.auth or load.upload.single_use or load.upload.is_init)]
        results: dict[_Load, Reply | Failure | Undelivered] = {}
        if light:
            results |= await self._relay(api, light)
        left = [load for load in loads if not isinstance(results.get(load), Reply)]
        if left:
            later = await gather([partial(self._patiently, api, load, results.get(load)) for load in left])
            results |= zip(left, later, strict=True)
        return _delivered(loads, results, documents)

    async def _relay(self, api: Api, loads: Sequence[_Load]) -> dict[_Load, Reply | Failure]:
        """Try each once, those that can go out at once; what was stored is marked."""
        tools = self._tools
        servers: dict[str, Server] = {}
        errands: list[Errand] = []
        for load in loads:
            upload = load.upload
            try:
                server = servers.get(upload.url.origin)
                if server is None:
                    api.admit(upload.url, auth=False)
                    server = servers[upload.url.origin] = api.traffic.server(upload.url)
                request = described(upload, load.parts, credentials=(), executor=tools.files)
            except StepError:
                break  # sent patiently, they say why
            errands.append(Errand(request, server, load.ends, partial(judged, upload, judge=load.judge)))
        relay = Relay(
            errands,
            meant=partial(wants_fallback, traits=api.adapter.traits),
            starter=tools.transport,
            limits=tools.terms.limits,
            places=self._places,
            traffic=api.traffic,
            clock=tools.clock,
        )
        try:
            await relay.run()
        finally:
            for load in loads:
                for part in load.parts:
                    if part.source.data is None:  # else there is nothing to close
                        part.source.close(tools.files)
            self._arrived([loads[index] for index, end in relay.outcomes.items() if isinstance(end, Reply)])
        return {loads[index]: outcome for index, outcome in relay.outcomes.items()}

    def _arrived(self, loads: Sequence[_Load]) -> None:
        """Mark what a store took, and tell."""
        if not loads:
            return
        at = self._tools.clock.stamp()
        marks = [
            Stored(document.id, at, part.source.content)
            for load in loads
            for document, part in zip(load.documents, load.parts, strict=True)
        ]
        self._tools.journal.record(*marks)
        self._tools.emit(Transferred(sum([mark.content.size for mark in marks])))

    async def _patiently(
        self, api: Api, load: _Load, before: Reply | Failure | Undelivered | None
    ) -> Reply | Undelivered:
        """Send one, again and again while that makes sense.

        Args:
            before: how a first attempt failed, if there was one.
        """
        upload = load.upload
        failed = before if isinstance(before, Failure) else None
        uncertain = left = False

        async def send(credentials: tuple[tuple[str, str], ...]) -> Reply:
            nonlocal left
            left = True
            return await transfer(
                upload,
                load.parts,
                credentials=credentials,
                judge=api.judge if upload.auth else load.judge,
                expired=lambda: self._tools.clock.monotonic() >= load.ends,
                transport=self._tools.transport,
                limits=self._tools.terms.limits,
                executor=self._tools.files,
            )

        async def once(*, renewed: bool = False) -> Reply:
            nonlocal uncertain, left, failed
            if failed is not None:
                failure, failed = failed, None
                uncertain |= ambiguous(failure)
                raise StepError(failure)
            api.admit(upload.url, auth=upload.auth)
            credentials = await api.headers(upload.method, upload.url.value) if upload.auth else ()
            used = api.adapter
            meant = partial(wants_fallback, traits=used.traits)
            try:
                return await api.traffic.carry(
                    upload.url,
                    partial(send, credentials),
                    first=not upload.is_init,
                    init=upload.is_init,
                    meant=meant,
                )
            except StepError as error:
                uncertain |= ambiguous(error.failure)
                left = False
                if upload.auth and not renewed and await api.renewed(used, error.failure):
                    return await once(renewed=True)  # a 401 proves that nothing happened
                raise

        terms, clock = self._tools.terms, self._tools.clock
        try:
            await self._places.taken()
            try:
                reply = await retrying(once, terms.backoff, clock, partial(transfer_again, upload=upload))
            finally:
                self._places.leave()
        except StepError as error:
            return Undelivered(error.failure, uncertain)
        except BaseException:  # cancelled
            if not (left or uncertain):
                self._never_left(load)
            raise
        if upload.is_init:  # what an init answered is stored once it could be read
            self._tools.emit(Transferred(sum(part.source.content.size for part in load.parts)))
        else:
            self._arrived([load])
        return reply

    def _never_left(self, load: _Load) -> None:
        """Mark that a run ended before an upload began, where a later one could not know."""
        run_id, upload = self._tools.run_id, load.upload
        if upload.is_init:  # it was never announced, whatever was marked before
            self._tools.journal.record(*(Reset(d.id, run_id) for d in load.documents))
        elif upload.single_use and not upload.auth:  # and its init, which was answered, can't be repeated
            at, text = self._tools.clock.stamp(), "the run ended before the bytes were sent, and the URL will not last"
            self._tools.journal.record(
                *(
                    Ended(d.id, run_id, at, State.FAILED, None, Stage.TRANSFER, "url_expired", text, retriable=False)
                    for d in load.documents
                )
            )


def _loads(
    traits: Traits,
    uploads: Sequence[Upload],
    documents: Sequence[Document[Columns]],
    sources: Mapping[int, Readable],
    asked: float,
) -> list[_Load]:
    ttl = inf if traits.url_ttl is None else traits.url_ttl
    parts = [Part(document.filename, sources[document.id]) for document in documents]
    return [
        _Load(
            upload,
            tuple(map(documents.__getitem__, upload.slots)),
            tuple(map(parts.__getitem__, upload.slots)),
            asked + (ttl if upload.lifetime is None else min(ttl, upload.lifetime)),
        )
        for upload in uploads
    ]


def _delivered(
    loads: Sequence[_Load],
    results: Mapping[_Load, Reply | Failure | Undelivered],
    documents: Sequence[Document[Columns]],
) -> Delivery:
    """The results by documents."""
    delivery = Delivery()
    for load in loads:
        result = results[load]
        for slot in load.upload.slots:
            if isinstance(result, Reply):
                delivery.replies[slot] = result
            elif isinstance(result, Undelivered):
                delivery.failures[documents[slot].id] = result.failure
                delivery.uncertain |= result.uncertain
                if load.upload.single_use:
                    delivery.single_use.add(documents[slot].id)
    return delivery
