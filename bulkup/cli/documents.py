"""``bulkup documents``: what a vendor holds, and what else can be done with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import anyio
import orjson
import typer

from bulkup.client import Client, connect
from bulkup.errors import UsageError
from bulkup.providers import PROVIDERS
from bulkup.providers.remote import RemoteDocument

T = TypeVar("T")

_PATIENCE = 5.0
"""Seconds one step is retried, unless the environment says otherwise: a person waits for the answer."""

documents = typer.Typer(
    name="documents",
    add_completion=False,
    help="List, get, download, archive, update documents at a vendor, and the like. Nothing is written to a ledger.",
    no_args_is_help=True,
)

Provider = Annotated[str, typer.Argument(help=f"One of {', '.join(PROVIDERS)}.")]
Container = Annotated[str, typer.Argument(help="Such as account:A-1, loan:7, customer:9, entity:TOKEN or subject:ID.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The vendor's id of the document, as the ledger has it.")]
In = Annotated[
    str, typer.Option("--in", metavar="CONTAINER", help="Where the document is, for vendors whose ids need that.")
]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Another host for the vendor, such as a sandbox's.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


@documents.command("list")
def list_(
    provider: Provider,
    container: Container,
    *,
    archived: Annotated[bool, typer.Option("--archived", help="Only the archived ones.")] = False,
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="In the order of their making.")] = False,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """List the documents of a container.

    Example: bulkup documents list lightreach account:A-1001
    """
    found = _ask(
        provider, base_url, lambda c: c.list_documents(container, archived=archived, newest_first=not oldest_first)
    )
    for document in found:
        _show(document, json=json, urls=False)


@documents.command()
def get(provider: Provider, document: Id, *, container: In = "", json: Json = False, base_url: BaseUrl = None) -> None:
    """Show one document, with URLs to read it where the vendor has them.

    Example: bulkup documents get loanpro 89 --in loan:7
    """
    _show(_ask(provider, base_url, lambda c: c.get_document(container, document)), json=json, urls=True)


@documents.command("refresh-urls")
def refresh_urls(
    provider: Provider, document: Id, *, container: In = "", json: Json = False, base_url: BaseUrl = None
) -> None:
    """Have the URLs of one document made anew, and show it.

    Example: bulkup documents refresh-urls lightreach doc-1 --in account:A-1001
    """
    _show(_ask(provider, base_url, lambda c: c.refresh_urls(container, document)), json=json, urls=True)


@documents.command()
def download(
    provider: Provider,
    document: Id,
    *,
    container: In = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The folder for its files; none that is there is overwritten.")
    ] = Path(),
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Download the files of one document.

    Example: bulkup documents download alloy D-fu1WeoS2ywAROk1srtP9 --in entity:P-1 -o downloads
    """
    for name, content in _ask(provider, base_url, lambda c: c.download_document(container, document)):
        path = output / (os.path.basename(_printable(name).replace("\\", "/")) or document)  # noqa: PTH119 - a name, not a path
        try:
            output.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(content)
        except OSError as error:
            raise UsageError(f"{path}: can't write: {error.strerror}") from None
        facts = {"path": str(path), "size": len(content)}
        _tell(facts, f"{path}: {len(content)} bytes", json=json)


@documents.command()
def archive(
    provider: Provider, document: Id, *, container: In = "", json: Json = False, base_url: BaseUrl = None
) -> None:
    """Archive one document.

    Example: bulkup documents archive loanpro 89 --in loan:7
    """
    _ask(provider, base_url, lambda c: c.archive_document(container, document))
    _tell({"id": document, "archived": True}, f"{document}: archived", json=json)


@documents.command()
def update(
    provider: Provider,
    document: Id,
    *,
    changes: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="A property and its new value; may be repeated.")
    ],
    container: In = "",
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Change properties of one document.

    Example: bulkup documents update loanpro 89 --in loan:7 --set description=signed --set customer_visible=true
    """
    values = dict(_change(change) for change in changes)
    _ask(provider, base_url, lambda c: c.update_document(container, document, values))
    _tell({"id": document, "updated": values}, f"{document}: updated", json=json)


@documents.command()
def required(
    provider: Provider,
    workflow: Annotated[str, typer.Argument(help="The workflow's id.")],
    *,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """List the documents that a workflow requires.

    Example: bulkup documents required kompliant w_LKQpQvG7r6BWXBzrvFvI5
    """
    _show_raw(_ask(provider, base_url, lambda c: c.list_required(workflow)), json=json)


@documents.command()
def fulfillments(
    provider: Provider,
    required_document: Annotated[str, typer.Argument(help="The required document's id.")],
    *,
    decision_status: Annotated[str | None, typer.Option(help="Only those with this decision.")] = None,
    upload_status: Annotated[str | None, typer.Option(help="Only those whose document has this status.")] = None,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """List what fulfils a required document.

    Example: bulkup documents fulfillments kompliant rd_9K3mPxQvN2jL7hR5TcWfY8
    """
    found = _ask(
        provider,
        base_url,
        lambda c: c.list_fulfillments(required_document, decision_status=decision_status, upload_status=upload_status),
    )
    _show_raw(found, json=json)


@documents.command()
def link(
    provider: Provider,
    workflow: Annotated[str, typer.Argument(help="The workflow's id.")],
    document: Id,
    required_documents: Annotated[list[str], typer.Argument(help="The required documents' ids.")],
    *,
    json: Json = False,
    base_url: BaseUrl = None,
) -> None:
    """Let one document fulfil required ones.

    Example: bulkup documents link kompliant w_LKQpQvG7r6BWXBzrvFvI5 d_1 rd_9K3mPxQvN2jL7hR5TcWfY8
    """
    _ask(provider, base_url, lambda c: c.link_document(workflow, required_documents, document))
    text = f"{document}: fulfils {', '.join(required_documents)}"
    _tell({"id": document, "required_document_ids": required_documents}, text, json=json)


def _ask(provider: str, base_url: str | None, question: Callable[[Client], Awaitable[T]]) -> T:
    patience = None if "BULKUP_RETRY_FOR" in os.environ else _PATIENCE

    async def ask() -> T:
        async with connect(provider, base_url=base_url, retry_for=patience) as client:
            return await question(client)

    return anyio.run(ask)


def _change(given: str) -> tuple[str, str | bool]:
    name, equals, value = given.partition("=")
    if not equals:
        raise UsageError(f"--set {given}: must be like NAME=VALUE")
    return name, {"true": True, "false": False}.get(value.lower(), value)


def _show(document: RemoteDocument, *, json: bool, urls: bool) -> None:
    """Print a document; its URLs, which open it to anybody, only where they were asked for."""
    facts = _facts(document, urls=urls)
    names = ", ".join(file.name for file in document.files)
    notes = [document.type, document.status, "archived" if document.archived else None, document.created_at]
    _tell(facts, "  ".join([document.id, names, *(note for note in notes if note)]), json=json)
    if urls and not json:
        for file in document.files:
            for view in file.urls:
                typer.echo(_printable(f"  {view.kind}: {view.url.value}"))


_FACTS = ("id", "target", "type", "status", "archived", "external_reference", "created_at", "updated_at")
_FILE_FACTS = ("name", "content_type", "md5", "sha256", "size", "size_kb")


def _facts(document: RemoteDocument, *, urls: bool) -> dict[str, object]:
    files = []
    for file in document.files:
        facts = {name: getattr(file, name) for name in _FILE_FACTS}
        if urls:
            facts["urls"] = [{"kind": v.kind, "url": v.url.value, "expires_at": v.expires_at} for v in file.urls]
        files.append(facts)
    return {name: getattr(document, name) for name in _FACTS} | {"files": files, "properties": document.properties}


def _show_raw(items: Sequence[Mapping[str, object]], *, json: bool) -> None:
    for item in items:
        _tell(item, "  ".join(f"{name}={value}" for name, value in item.items()), json=json)


def _tell(facts: Mapping[str, object], text: str, *, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE))
        sys.stdout.buffer.flush()
    else:
        typer.echo(_printable(text))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
