"""LoanPro: documents of loans and customers.

Flow (guide): a POST with the file's name and section makes the document's record and answers a presigned S3 URL; the
raw bytes are PUT there, without credentials or headers; where the row asks for it, a PUT to the document sets whether
it is archived and visible to the customer, and its description and section.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from bulkup.answers import Explanation
from bulkup.model import Receipt, Reply, Stage, Ticket, Traits, Upload
from bulkup.providers.base import Caller, Found, Json, Outgoing, Trace, follow_up, unreadable
from bulkup.providers.loanpro_columns import LoanProColumns
from bulkup.providers.loanpro_documents import LoanProDocuments, candidates, numeric
from bulkup.providers.reading import mapping, required, text, web_url


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanPro(LoanProDocuments):
    """The flow.

    Args:
        base_url: the tenant; the guide's paths start below it.
        token: of an API user.
        instance_id: the tenant's id.
        update_path: where a document is updated, below the base URL; the guide leaves it blank. ``{entity}`` is
            ``LoanDocuments`` or ``CustomerDocuments``, ``{id}`` the document's id.
        download_path: where a file is read, likewise, with ``{file_name}`` for the name that the vendor gave it. It
            is not published in full; empty: by the URL that the file's attachment names.

    Raises:
        ConfigError: a path that can't be filled in.
    """

    base_url: str = "https://loanpro.simnang.com"
    token: str = field(default="", repr=False)
    instance_id: str = field(default="", repr=False)
    update_path: str = "/api/public/api/1/odata.svc/{entity}({id})"
    download_path: str = ""

    name: ClassVar[str] = "loanpro"
    flow: ClassVar[str] = "v1"
    traits: ClassVar[Traits] = Traits(url_ttl=600.0, digests=frozenset({"sha256"}), proves_arrival=False)

    def __post_init__(self) -> None:
        self.check_paths()

    @property
    def secrets(self) -> Sequence[str]:
        """See `Adapter.secrets`."""
        return [secret for secret in (self.token, self.instance_id) if secret]

    def authorize(self, method: str, path: str, body: bytes) -> Mapping[str, str]:  # noqa: ARG002 - the same for all
        """Token and tenant; and the third header of every call, which the core sends where there is a body."""
        headers = {"Authorization": f"Bearer {self.token}", "Autopal-Instance-Id": self.instance_id}
        return headers if body else headers | {"Content-Type": "application/json"}

    def explain(self, headers: Mapping[str, str], error: Json) -> Explanation:  # noqa: ARG002 - none are documented
        """``error.message`` or ``error.message.value``, with or without ``d`` or ``warnings`` (vendor's SDK)."""
        said = mapping(error.get("error") or mapping(error.get("d")).get("error")).get("message")
        words = text(mapping(said).get("value")) or text(said)
        warnings = error.get("warnings")
        more = [text(warning) for warning in warnings] if words and isinstance(warnings, list) else []
        return Explanation(words="; ".join(word for word in (words, *more) if word) or None)

    async def init(self, api: Caller, documents: Sequence[Outgoing]) -> Ticket:
        """Make the document's record."""
        (outgoing,) = documents
        columns = _columns(outgoing)
        json: dict[str, object] = {
            "sectionId": numeric(columns.section_id),
            "fileName": outgoing.document.filename,
            "size": outgoing.content.size,
        }
        if columns.custom_file_name is not None:
            json["customFileName"] = columns.custom_file_name
        answer = await api.call("POST", self.container(columns.target).path + "/document/upload", json=json)
        made = mapping(answer.object().get("d"))
        (id_,), url = required(made, "id"), web_url(made.get("uploadUrl"))
        if url is None:
            raise unreadable("the answer lacks uploadUrl")
        return Ticket(None, (id_,), (Upload("PUT", url, (0,)),))

    async def finish(
        self,
        api: Caller,
        documents: Sequence[Outgoing],
        ticket: Ticket,
        replies: Mapping[int, Reply],  # noqa: ARG002 - the store's 200 is all there is
    ) -> Sequence[Receipt]:
        """Set what the row asks for; the store's 200 is all the proof that LoanPro gives."""
        (outgoing,), (id_,) = documents, ticket.remote_ids
        columns = _columns(outgoing)
        changes = _changes(columns)
        if not changes or id_ is None:
            return [Receipt(id_)]
        return [await follow_up(self.change(api, columns.target, id_, changes), id_, Stage.UPDATE)]

    async def find(self, api: Caller, traces: Sequence[Trace], claimed: frozenset[str]) -> Sequence[Found | None]:
        """See `Finder.find`: by id; without one by section, name and size in the list of the loan or customer."""
        target = _columns(traces[0].outgoing).target
        listed = [] if all(trace.remote_id for trace in traces) else await self.list_all(api, target)
        taken = {trace.remote_id for trace in traces} | claimed
        found: list[Found | None] = []
        for trace in traces:
            size, there = trace.outgoing.content.size, None
            if trace.remote_id is not None:
                there = Found(trace.remote_id, await self.arrived(api, target, trace.remote_id, size))
            for id_ in candidates(listed, trace, _columns(trace.outgoing).section_id):
                if there is None and id_ not in taken and await self.arrived(api, target, id_, size) is False:
                    there = Found(id_, arrived=False)
                    taken.add(id_)
            found.append(there)
        return found

    async def abandon(self, api: Caller, document: Outgoing, remote_id: str) -> None:
        """Archive a record: there is no other way to inactivate it (guide)."""
        await self.change(api, _columns(document).target, remote_id, {"archived": 1})


def _columns(outgoing: Outgoing) -> LoanProColumns:
    columns: Any = outgoing.document.columns
    assert isinstance(columns, LoanProColumns)  # noqa: S101 - the registry pairs adapters and columns
    return columns


def _changes(columns: LoanProColumns) -> dict[str, object]:
    """What the row asks for beyond the init, by the names of the update call."""
    changes: dict[str, object] = {}
    if columns.archived is not None:
        changes["archived"] = int(columns.archived)
    if columns.customer_visible is not None:
        changes["customerVisible"] = int(columns.customer_visible)
    if columns.description is not None:
        changes |= {"sectionId": columns.section_id, "description": columns.description}
    return changes
