"""Presigned POST: a policy, its signature (AWS Signature Version 4), and the form that they allow."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import BodyPartReader, web

from bulkup.sandbox.objectstore import answers
from bulkup.sandbox.stage import Stage
from bulkup.sandbox.steps import Step

FORM: Final = "form"
_AUTH: Final = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Signature")
_READ: Final = web.RequestKey("bulkup_sandbox_form", tuple[dict[str, str], bytes | None])
_AGED: Final = 60.0
_CREDENTIALS: Final = frozenset({"authorization", "cookie", "x-api-key", "x-api-auth-token"})


class Forms:
    """The part of the object store that takes one vendor's forms, at ``/store/{vendor}``.

    Args:
        stage: what all stand-ins share.
        vendor: the vendor's name; the keys of its objects begin with it.
        order: the order that the vendor's guide wants of the fields; another is a breach.
        landed: is told each key whose bytes have come.
        subject: the text in which a fault rule's ``match`` is looked for, of a key.
    """

    def __init__(
        self,
        stage: Stage,
        vendor: str,
        order: tuple[str, ...],
        landed: Callable[[str], None],
        subject: Callable[[str], str],
    ) -> None:
        self._stage = stage
        self._vendor = vendor
        self._order = order
        stage.landings[vendor] = landed
        self._subject = subject
        self._spoilt: set[str] = set()

    def steps(self) -> Iterable[Step]:
        """The form's POST."""
        yield Step(FORM, "POST", f"/store/{self._vendor}", self._post, answers.plain_error, self._match)

    def sign(self, key: str, fields: Mapping[str, str], size: int, life: float) -> tuple[str, dict[str, str]]:
        """Allow one object; where the fault plan says so, the form is taken for expired all the same.

        Args:
            key: the object's.
            fields: what else the form must carry, as it stands.
            size: the only size that the file may have, in bytes.
            life: how long the form is good, in seconds.

        Returns:
            Where it goes, and all of its fields.
        """
        spoilt = self._stage.dice.outcome("expired_url", self._vendor, self._subject(key))
        if spoilt:
            self._spoilt.add(key)
        now = self._stage.clock() - (life + _AGED if spoilt and self._stage.s3 else 0)
        date = datetime.fromtimestamp(now, UTC)
        signer = self._stage.signer
        signed = {
            **fields,
            "key": key,
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{signer.access_key}/{signer.scope(now)}",
            "X-Amz-Date": f"{date:%Y%m%dT%H%M%SZ}",
            "X-Amz-Security-Token": secrets.token_urlsafe(24),
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
        if not request.content_type.startswith("multipart/form-data"):
            return request.path
        request[_READ] = fields, _ = await self._read(request)
        return f"{request.path}\n{self._subject(fields.get('key', ''))}"

    async def _post(self, request: web.Request) -> web.StreamResponse:
        with self._stage.record.requests.puts.one():
            if _CREDENTIALS & {name.lower() for name in request.headers}:
                self._stage.record.leak(self._vendor, FORM, "a credential was sent to a presigned form")
                return answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
            if "Transfer-Encoding" in request.headers:
                self._breach("chunked body")
                return answers.chunked()
            if not request.content_type.startswith("multipart/form-data"):
                self._breach("not multipart/form-data")
                return answers.not_a_form()
            fields, file = request[_READ] if _READ in request else await self._read(request)
            refusal = self._refusal(fields, file)
            if refusal is not None:
                return refusal
            assert file is not None  # noqa: S101 # else it was refused
            key = fields["key"]
            await self._stage.store.put_bytes(key, file)
            self._stage.landed(key)
            return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _read(self, request: web.Request) -> tuple[dict[str, str], bytes | None]:
        """The fields before the file, and the file's bytes."""
        fields: dict[str, str] = {}
        file: bytes | None = None
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)  # noqa: S101 # nobody nests a form
            if file is not None:
                self._breach(f"{part.name!r} comes after the file, which must be last")
                await part.release()
            elif part.name == "file":
                file = bytes(await part.read())
                if part.headers.get("Content-Type") != fields.get("Content-Type"):
                    self._breach("the file part's Content-Type is not that of the form")
            else:
                if "Content-Type" in part.headers:
                    self._breach(f"the field {part.name!r} has a Content-Type of its own")
                fields[part.name or ""] = await part.text()
        given = [name for name in fields if name in self._order]
        if given != [name for name in self._order if name in fields]:
            self._breach(f"the fields are not in the guide's order: {', '.join(given)}")
        return fields, file

    def _refusal(self, fields: Mapping[str, str], file: bytes | None) -> web.Response | None:
        """What stands against a form; the sources don't say in which order a store looks."""
        if not any(name in fields for name in (*_AUTH, "policy")):
            self._breach("no auth fields")
            return answers.plain_error(HTTPStatus.FORBIDDEN, None, {})
        for name in (*_AUTH, "policy", "key"):
            if name not in fields:
                self._breach(f"the field {name} is missing, or comes after the file")
                return answers.missing_field(name)
        signature = self._stage.signer.digest(fields["X-Amz-Credential"].partition("/")[2], fields["policy"])
        if not hmac.compare_digest(signature.encode(), fields["X-Amz-Signature"].encode()):
            self._breach("the policy was altered")
            return answers.altered_policy(fields["policy"])
        if fields["key"] in self._spoilt:
            return answers.policy_failed("Policy expired.")
        if file is None:
            self._breach("there is no file")
            return answers.xml_error(400, "InvalidArgument", "POST requires exactly one file upload per request.")
        return self._against_policy(orjson.loads(base64.b64decode(fields["policy"])), fields, len(file))

    def _against_policy(
        self, policy: Mapping[str, object], fields: Mapping[str, str], size: int
    ) -> web.Response | None:
        until = datetime.fromisoformat(str(policy["expiration"])).timestamp()
        if self._stage.clock() > until:
            self._breach(f"the policy for {fields['key']} has expired")
            return answers.policy_failed("Policy expired.")
        conditions = policy["conditions"]
        assert isinstance(conditions, list)  # noqa: S101 # as it was signed
        wanted = {name: value for each in conditions if isinstance(each, dict) for name, value in each.items()}
        for name, value in wanted.items():
            if fields.get(name) != value:
                self._breach(f"the field {name} is not as the policy wants it")
                return answers.policy_failed(f'Policy Condition failed: ["eq", "${name}", "{value}"]')
        if extra := sorted(fields.keys() - wanted.keys() - {"policy", "X-Amz-Signature"}):
            self._breach(f"extra fields: {', '.join(extra)}")
            return answers.policy_failed(f"Extra input fields: {', '.join(extra)}")
        least, most = next(each[1:] for each in conditions if isinstance(each, list))
        if not least <= size <= most:
            self._breach(f"{size} bytes came, {most} were announced")
            return answers.wrong_size(size, least, most)
        return None

    def _breach(self, what: str) -> None:
        self._stage.record.breach(self._vendor, FORM, what)
