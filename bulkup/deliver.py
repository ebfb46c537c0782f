"""Bringing the bytes of a batch to where its ticket says: the transfers of one init, side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from bulkup.answers import judge_store, ok
from bulkup.api import Api
from bulkup.content import Source
from bulkup.decide import ambiguous, transfer_again, wants_fallback
from bulkup.errors import StepError
from bulkup.events import Transferred
from bulkup.ledger import Reset, Stored
from bulkup.model import Columns, Document, Failure, Reply, Ticket, Upload
from bulkup.retry import retrying
from bulkup.tools import Tools
from bulkup.transfer import Part, transfer
from bulkup.transport import Response

T = TypeVar("T")
FanOut = Callable[[Sequence[Callable[[], Awaitable[T]]]], Awaitable[list[T]]]


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


class Courier:
    """Carries out the uploads of tickets.

    Args:
        tools: the run's.
        fan_out: runs transfers side by side, within the lane's limit.
    """

    def __init__(self, tools: Tools, fan_out: FanOut[Reply | Undelivered]) -> None:
        self._tools = tools
        self._fan_out = fan_out

    async def deliver(
        self,
        api: Api,
        ticket: Ticket,
        documents: Sequence[Document[Columns]],
        sources: Mapping[int, Source],
        asked: float,
    ) -> Delivery:
        """Send all bytes of a batch.

        Args:
            documents: in the ticket's order.
            sources: what was looked at, by the document's id.
            asked: when the init was sent, by the monotonic clock; the URLs' lives run from there.
        """
        results = await self._fan_out(
            [partial(self._send, api, upload, documents, sources, asked) for upload in ticket.uploads]
        )
        delivery = Delivery()
        for upload, result in zip(ticket.uploads, results, strict=True):
            for slot in upload.slots:
                if isinstance(result, Reply):
                    delivery.replies[slot] = result
                    continue
                delivery.failures[documents[slot].id] = result.failure
                delivery.uncertain |= result.uncertain
                if upload.single_use:
                    delivery.single_use.add(documents[slot].id)
        return delivery

    async def _send(
        self,
        api: Api,
        upload: Upload,
        documents: Sequence[Document[Columns]],
        sources: Mapping[int, Source],
        asked: float,
    ) -> Reply | Undelivered:
        lives = [life for life in (api.adapter.traits.url_ttl, upload.lifetime) if life is not None]
        ends = asked + min(lives) if lives else float("inf")
        carried = [documents[slot] for slot in upload.slots]
        parts = [Part(document.filename, sources[document.id]) for document in carried]
        uncertain = left = False

        async def send(credentials: tuple[tuple[str, str], ...]) -> Reply:
            nonlocal left
            left = True
            return await transfer(
                upload,
                parts,
                credentials=credentials,
                judge=api.judge if upload.auth else partial(_judge_store, upload),
                expired=lambda: self._tools.clock.monotonic() >= ends,
                transport=self._tools.transport,
                limits=self._tools.terms.limits,
                executor=self._tools.files,
            )

        async def once(*, renewed: bool = False) -> Reply:
            nonlocal uncertain, left
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

        try:
            reply = await retrying(
                once, self._tools.terms.backoff, self._tools.clock, partial(transfer_again, upload=upload)
            )
        except StepError as error:
            return Undelivered(error.failure, uncertain)
        except BaseException:  # cancelled
            if upload.is_init and not (left or uncertain):  # it was never announced, whatever was marked before
                self._tools.journal.record(*(Reset(document.id, self._tools.run_id) for document in carried))
            raise
        if not upload.is_init:  # what an init answered is stored once it could be read
            at = self._tools.clock.stamp()
            self._tools.journal.record(*(Stored(document.id, at, sources[document.id].content) for document in carried))
        self._tools.emit(Transferred(sum(part.source.content.size for part in parts)))
        return reply


def _judge_store(upload: Upload, response: Response) -> Failure | None:
    secrets = () if ok(response.status) else upload.secrets
    return judge_store(response.status, response.headers, response.body, secrets)
