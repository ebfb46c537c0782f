"""Presigned POST: a policy, its signature (AWS Signature Version 4), and the form that they allow.

What a real store would let pass, but the vendor's guide has otherwise (the order of the fields, their headers), is
taken, and noted as a breach.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import BodyPartReader, http_exceptions, web

from bulkup.sandbox.objectstore import answers
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step

FORM: Final = "form"
_AUTH: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_AGED: Final = 60.0
_MOST_OF_FIELDS: Final = 20_480
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-api-key", "x-api-auth-token"})


@dataclass(slots=True)
class _Given:
    """A form as it came: the fields before the file, and the file's bytes.

    Args:
        size: of the fields, in bytes.
        malformed: it can't be read.
    """

    fields: dict[str, str] = field(default_factory=dict)
    file: bytes | None = None
    size: int = 0
    malformed: bool = False


_READ: Final = web.RequestKey("bulkup_sandbox_form", _Given)


class Forms:
    """The part of the object store that takes one vendor's forms, at ``/store/{vendor}``.

    Args:
        stage: what all stand-ins share.
        vendor: the vendor's name; the keys of its objects begin with it.
        order: the order that the vendor's guide wants of the fields; another is a breach.
        landed: is told each key whose bytes have come.
        subject: the text in which a fault rule's ``match`` is looked for, of a key.
        expired_token: the status of a form whose temporary credentials are over, 400 or 403.
    """

    def __init__(
        self,
        stage: Stage,
        vendor: str,
        order: tuple[str, ...],
        landed: Callable[[str], None],
        subject: Callable[[str], str],
        expired_token: int = HTTPStatus.BAD_REQUEST,
    ) -> None:
        self._stage = stage
        self._vendor = vendor
        self._order = order
        stage.landings[vendor] = landed
        self._subject = subject
        self._expired_token = expired_token
        self._spoilt: set[str] = set()
        self._tokens: dict[str, float] = {}

    def stored_as(self, key: str) -> str:
        """The key in the object store of what a form with this key brings."""
        return f"{self._vendor}/{key}"

    def steps(self) -> Iterable[Step]:
        """The form's POST."""
        yield Step(FORM, "POST", f"/store/{self._vendor}", self._post, answers.plain_error, self._match)

    def sign(
        self, key: str, fields: Mapping[str, str], size: int, life: float, token_life: float | None = None
    ) -> tuple[str, dict[str, str]]:
        """Allow one object; where the fault plan says so, the form is taken for expired all the same.

        Args:
            key: the object's, in the vendor's own bucket; in a real server's, which all vendors share, it is longer.
            fields: what else the form must carry, as it stands.
            size: the only size that the file may have, in bytes.
            life: how long the form is good, in seconds.
            token_life: how long its temporary credentials are, in seconds; None: for ever.

        Returns:
            Where it goes, and all of its fields.
        """
        spoilt = self._stage.dice.outcome("expired_url", self._vendor, self._subject(key))
        if spoilt:
            self._spoilt.add(key)
        now = self._stage.clock() - (life + _AGED if spoilt and self._stage.s3 else 0)
        date = datetime.fromtimestamp(now, UTC)
        signer = self._stage.signer
        token = secrets.token_urlsafe(24)
        if token_life is not None:
            self._tokens[token] = now + token_life
        signed = {
            **fields,
            "key": self.stored_as(key) if self._stage.s3 else key,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{signer.access_key}/{signer.scope(now)}",
            "X-Amz-Date": f"{date:%Y%m%dT%H%M%SZ}",
            "X-Amz-Security-Token": token,
        }
        until = datetime.fromtimestamp(now + life, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        policy = {
            "expiration": until,
            "conditions": [*({name: value} for name, value in signed.items()), ["content-length-range", size, size]],
        }
        encoded = base64.b64encode(orjson.dumps(policy)).decode()
        signature = signer.digest(signer.scope(now), encoded)
        url = self._stage.s3 or f"{self._stage.url}/store/{self._vendor}"
        return url, {**signed, "policy": encoded, "X-Amz-Signature": signature}

    async def _match(self, request: web.Request) -> str:
        if not _is_form(request):
            return request.path
        given = request[_READ] = await self._read(request)
        return f"{request.path}\n{self._subject(given.fields.get('key', ''))}"

    async def _post(self, request: web.Request) -> web.StreamResponse:
        with self._stage.record.requests.puts.one():
            if _CREDENTIALS & {name.lower() for name in request.headers}:
                self._stage.record.leak(self._vendor, FORM, "a credential was sent to a presigned form")
                return answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
            if "Transfer-Encoding" in request.headers:
                self._breach("chunked body")
                return answers.chunked()
            if request.content_length is None:
                self._breach("no Content-Length")
                return answers.plain_error(HTTPStatus.LENGTH_REQUIRED, None, {})
            if not _is_form(request):
                self._breach("not multipart/form-data")
                return answers.not_a_form()
            given = request[_READ] if _READ in request else await self._read(request)
            refusal = self._refusal(given)
            if refusal is not None:
                return refusal
            assert given.file is not None  # noqa: S101 # else it was refused
            key = self.stored_as(given.fields["key"])
            await self._stage.store.put_bytes(key, given.file)
            self._stage.landed(key)
            return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _read(self, request: web.Request) -> _Given:
        """All of a form; what comes after the file is passed over."""
        given = _Given()
        try:
            async for part in await request.multipart():
                if not isinstance(part, BodyPartReader):
                    raise ValueError("a form in a form")  # noqa: TRY004, TRY301 # malformed as any other
                await self._read_part(part, given)
        except (ValueError, http_exceptions.HttpProcessingError):
            given.malformed = True
        in_order = [name for name in given.fields if name in self._order]
        if in_order != [name for name in self._order if name in given.fields]:
            self._breach(f"the fields are not in the guide's order: {', '.join(in_order)}")
        return given

    async def _read_part(self, part: BodyPartReader, given: _Given) -> None:
        name = part.name or ""
        if given.file is not None:
            self._breach(f"{name!r} comes after the file, which must be last")
            await part.release()
            return
        content = bytes(await part.read())
        if name == "file":
            given.file = content
            if part.filename is None:
                self._breach("the file part has no filename")
            if part.headers.get("Content-Type") != given.fields.get("Content-Type"):
                self._breach("the file part's Content-Type is not that of the form")
            return
        if "Content-Type" in part.headers or part.filename is not None:
            self._breach(f"the field {name!r} has a Content-Type or a filename of its own")
        if name in given.fields:
            self._breach(f"the field {name!r} comes twice")
        given.size += len(name) + len(content)
        given.fields[name] = content.decode()

    def _refusal(self, given: _Given) -> web.Response | None:
        """What stands against a form; the sources don't say in which order a store looks."""
        for what, answer in self._objections(given):
            if what:
                self._breach(what)
            return answer
        return None

    def _objections(self, given: _Given) -> Iterator[tuple[str, web.Response]]:
        """Breaches in words (empty: it is none of the client's) and the store's answers; only the first counts."""
        fields = given.fields
        if given.malformed:
            yield "a malformed form", answers.malformed_form()
        if given.size > _MOST_OF_FIELDS:
            yield f"{given.size} bytes of fields", answers.long_form()
        if not any(name in fields for name in (*_AUTH, "policy")):
            yield "no auth fields", answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
        for name in (*_AUTH, "policy", "key"):
            if name not in fields:
                yield f"the field {name} is missing, or comes after the file", answers.missing_field(name)
        if self._stage.clock() > self._tokens.get(fields.get("X-Amz-Security-Token", ""), float("inf")):
            yield "the temporary credentials are over", answers.expired_token(self._expired_token)
        policy, signature = fields["policy"], fields["X-Amz-Signature"]
        expected = self._stage.signer.digest(fields["X-Amz-Credential"].partition("/")[2], policy)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            yield "the policy was altered", answers.altered_policy(policy, signature)
        if fields["key"] in self._spoilt:
            yield "", answers.policy_failed("Policy expired.")
        if given.file is None:
            yield "there is no file", answers.no_file()
            return
        yield from self._against_policy(orjson.loads(base64.b64decode(policy)), fields, len(given.file))

    def _against_policy(
        self, policy: Mapping[str, object], fields: Mapping[str, str], size: int
    ) -> Iterator[tuple[str, web.Response]]:
        until = datetime.fromisoformat(str(policy["expiration"])).timestamp()
        if self._stage.clock() > until:
            yield f"the policy for {fields['key']} has expired", answers.policy_failed("Policy expired.")
        conditions = policy["conditions"]
        assert isinstance(conditions, list)  # noqa: S101 # as it was signed
        wanted = {name: value for each in conditions if isinstance(each, dict) for name, value in each.items()}
        for name, value in wanted.items():
            if fields.get(name) != value:
                failed = answers.policy_failed(f'Policy Condition failed: ["eq", "${name}", "{value}"]')
                yield f"the field {name} is not as the policy wants it", failed
        if extra := ", ".join(sorted(fields.keys() - wanted.keys() - {"policy", "X-Amz-Signature"})):
            yield f"extra fields: {extra}", answers.policy_failed(f"Extra input fields: {extra}")
        least, most = next(each[1:] for each in conditions if isinstance(each, list))
        if not least <= size <= most:
            yield f"{size} bytes came, {most} were announced", answers.wrong_size(size, least, most)

    def _breach(self, what: str) -> None:
        self._stage.record.breach(self._vendor, FORM, what)


def _is_form(request: web.Request) -> bool:
    return request.content_type == "multipart/form-data"
