"""What an adapter is: a vendor's wire format as data. No I/O policy lives here or in any adapter.

An adapter speaks JSON through the `Caller` it is given and describes transfers as `bulkup.model.Upload`; it never
opens a file, retries, sleeps, limits or logs. It is a frozen dataclass without run state. What only some vendors have
is a small protocol of its own, which the core looks for with `able`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple, Protocol, TypeGuard, TypeVar, runtime_checkable

import orjson

from bulkup.answers import Explanation
from bulkup.errors import StepError
from bulkup.model import Again, Columns, Content, Document, Failure, Receipt, Reply, Stage, Ticket, Traits
from bulkup.providers.remote import RemoteDocument
from bulkup.secret import SignedUrl, scrub

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Answer:
    """A vendor's answer that was a success: status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> object:
        """The body as JSON.

        Raises:
            StepError: ``unreadable_answer``; counts as a lost answer.
        """
        try:
            return orjson.loads(self.body)
        except ValueError:
            raise unreadable("the answer is not JSON") from None

    def object(self) -> Json:
        """The body as a JSON object; raises as `json` does."""
        value = self.json()
        if not isinstance(value, dict):
            raise unreadable("the answer is not a JSON object")
        return value


def unreadable(text: str) -> StepError:
    """An answer that can't be read counts as lost: what it said is not known."""
    return StepError(Failure("unreadable_answer", scrub(text), Again.SAME))


@dataclass(frozen=True, slots=True)
class Job:
    """How to follow what a vendor does with a document after its bytes came.

    Attributes:
        stream: path and query of its Server-Sent Events; None: there are none.
        poll: path that answers its latest event.
        ended: whether an event is the end of it.
        json: polling is a POST of this; None: a GET.
    """

    stream: str | None
    poll: str
    ended: Callable[[Json], bool]
    json: Json | None = None


class Caller(Protocol):
    """What the core offers an adapter: calls to the vendor's API, authorised, limited and retried by the core."""

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        repeatable: bool = False,
    ) -> Answer:
        """One call.

        Args:
            path: below the base URL, percent-encoded.
            json: the body, if there is one.
            params: the query.
            repeatable: a POST that may be sent again after a lost answer; other methods always may.

        Raises:
            StepError: what the vendor or the network said, if it is not a 2xx.
        """

    async def follow(self, job: Job) -> Json:
        """The event that ends a job.

        Raises:
            StepError: ``job_timeout`` past the deadline, ``not_found`` if the vendor does not know it.
        """

    async def fetch(self, url: SignedUrl, *, auth: bool) -> bytes:
        """A document's bytes from a signed URL, or with credentials from one of the vendor's own host."""

    async def measure(self, url: SignedUrl) -> int | None:
        """How many bytes a signed URL would give, without reading them; None if that is not said.

        Raises:
            StepError: it is refused, or nobody could be asked.
        """


class Adapter(Protocol):
    """One vendor's upload flow.

    Attributes:
        name: the provider's name in manifests.
        flow: which of the vendor's flows this is, as the ledger keeps it for a later run.
        base_url: where the paths below start; no slash at its end.
    """

    name: ClassVar[str]
    flow: ClassVar[str]
    traits: ClassVar[Traits]

    @property
    def base_url(self) -> str:
        """Scheme and host, and the path that all of the vendor's paths start with."""

    @property
    def secrets(self) -> Sequence[str]:
        """Values that must never be shown, taken out of any text of the vendor's."""

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:
        """Headers for one API call; never for a signed URL."""

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Announce a batch; the answer's slots are in request order."""

    async def finish(
        self, api: Caller, documents: Sequence[Outgoing], ticket: Ticket, replies: Mapping[int, Reply]
    ) -> Sequence[Receipt]:
        """What became of each document whose bytes were sent, in the batch's order.

        Args:
            replies: the store's answers by the position of the document; empty when an earlier run sent the bytes.
        """


_T = TypeVar("_T")
_ABLE: dict[tuple[type, type], bool] = {}


def able(adapter: Adapter, capability: type[_T]) -> TypeGuard[_T]:
    """Whether an adapter has one of the capabilities below; an `isinstance` that remembers its slow answer."""
    key = type(adapter), capability
    if key not in _ABLE:
        _ABLE[key] = isinstance(adapter, capability)
    return _ABLE[key]


class Outgoing(NamedTuple):
    """A document on its way: the row, and what its file held when it was measured or sent."""

    document: Document[Columns]
    content: Content


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of a document whose init or transfer was left half-way.

    Attributes:
        initiated_at: ISO 8601, UTC; empty where that is not known.
        remote_id: the record that the vendor made for it, if its answer came.
    """

    outgoing: Outgoing
    initiated_at: str
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A vendor's record of a document that was left half-way.

    Attributes:
        arrived: True: its bytes are there; False: they surely are not; None: nothing tells.
    """

    remote_id: str
    arrived: bool | None


@runtime_checkable
class Renewable(Adapter, Protocol):
    """A vendor whose token runs out.

    Attributes:
        stale: the code of the refusal that a new token would mend.
    """

    stale: ClassVar[str]

    @property
    def renewable(self) -> bool:
        """Whether there is something to renew it with."""

    @property
    def expires_at(self) -> float:
        """When the token ends, in seconds since the epoch; 0 when there is none yet."""

    def login(self) -> tuple[str, str, Json]:
        """The call that gives a token: method, path and body."""

    def logged_in(self, answer: Json, now: float) -> Adapter:
        """This adapter with the token of the answer.

        Args:
            now: seconds since the epoch.

        Raises:
            StepError: ``unreadable_answer``.
        """


@runtime_checkable
class Fallback(Adapter, Protocol):
    """A vendor with a second flow, for environments that lack the first."""

    def fallback(self) -> Adapter:
        """The adapter of the second flow."""


@runtime_checkable
class Finder(Adapter, Protocol):
    """A vendor that can be asked what an earlier, unanswered init left behind."""

    async def find(
        self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]
    ) -> Sequence[Receipt | Found | None]:
        """For each trace (all of one target) what the vendor has of it.

        A trace without an id can only own a record that has no bytes yet: an init's answer is durable before the first
        byte is sent.

        Args:
            claimed: ids of records that belong to other rows already.

        Returns:
            A receipt where that decides it; a record that has, or waits for, its bytes; None if there is neither.
        """


@runtime_checkable
class Resumable(Adapter, Protocol):
    """A vendor whose record still takes the bytes later on."""

    def resume(self, document: Outgoing, remote_id: str) -> Ticket:
        """What an init would answer, for a record that an earlier init made."""


@runtime_checkable
class Abandoner(Adapter, Protocol):
    """A vendor whose record can be put away when its bytes will never come."""

    async def abandon(self, api: Caller, document: Outgoing, remote_id: str) -> None:
        """Put a record away; harmless when that was done before."""


@runtime_checkable
class Explainer(Protocol):
    """A vendor whose errors say more than their status."""

    def explain(self, headers: Mapping[str, str], error: Json) -> Explanation:
        """What a refusal's headers (names in lower case) and JSON body say."""


@runtime_checkable
class Lister(Protocol):
    """A vendor that lists the documents of a container, such as ``account:A-1`` or ``loan:7``."""

    async def list_documents(
        self, api: Caller, container: str, *, archived: bool = False, newest_first: bool = True
    ) -> list[RemoteDocument]:
        """The container's documents; ``archived`` answers only the archived ones."""


@runtime_checkable
class Getter(Protocol):
    """A vendor that can be asked about one document.

    Attributes:
        contained: a document is known only by its id and its container; else the container may be empty.
    """

    contained: ClassVar[bool]

    async def get_document(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document, with fresh URLs."""


@runtime_checkable
class Downloader(Protocol):
    """A vendor that gives documents back."""

    async def download_document(self, api: Caller, container: str, document_id: str) -> list[tuple[str, bytes]]:
        """Name and bytes of each file."""


@runtime_checkable
class Archiver(Protocol):
    """A vendor whose documents can be archived."""

    async def archive_document(self, api: Caller, container: str, document_id: str) -> None:
        """Archive one document."""


@runtime_checkable
class Updater(Protocol):
    """A vendor whose documents' properties can be changed."""

    async def update_document(
        self, api: Caller, container: str, document_id: str, changes: Mapping[str, str | bool]
    ) -> None:
        """Change properties.

        Args:
            changes: new values of `updatable` properties.
        """

    @property
    def updatable(self) -> Mapping[str, type]:
        """Names of the properties that can be changed, and what their values are: ``str`` or ``bool``."""


@runtime_checkable
class UrlRefresher(Protocol):
    """A vendor that makes the URLs of a document anew."""

    async def refresh_urls(self, api: Caller, container: str, document_id: str) -> RemoteDocument:
        """One document, with all its URLs made anew."""


@runtime_checkable
class Requirements(Protocol):
    """A vendor whose documents fulfil what a workflow requires."""

    async def list_required(self, api: Caller, workflow_id: str) -> list[Json]:
        """The workflow's required documents, as the vendor gives them."""

    async def list_fulfillments(
        self, api: Caller, required_id: str, *, decision_status: str | None = None, upload_status: str | None = None
    ) -> list[Json]:
        """What fulfils a required document, as the vendor gives it."""

    async def link_document(self, api: Caller, workflow_id: str, required_ids: Sequence[str], document_id: str) -> None:
        """Let one document fulfil several required ones."""


async def follow_up(step: Awaitable[object], document_id: str | None, stage: Stage) -> Receipt:
    """Carry out what comes after a document's bytes were stored.

    Args:
        step: the calls.
        document_id: the vendor's.
        stage: what the calls are.

    Returns:
        The document's receipt: a refusal fails it at that stage.

    Raises:
        StepError: the step can be done later.
    """
    try:
        await step
    except StepError as error:
        if not error.failure.final:
            raise
        return Receipt(document_id, error.failure, stage)
    return Receipt(document_id)
