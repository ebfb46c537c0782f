"""Error answers of S3 and of Google Cloud Storage; the names B1, G1 are those of the project's wire notes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final, Literal
from xml.sax.saxutils import escape

from aiohttp import web

from bulkup.sandbox.objectstore.signing import ACCESS_KEY

Dialect = Literal["s3", "gcs"]

_IDS: Final = {"RequestId": "EXAMPLE0REQUEST1", "HostId": "example-host-id"}
_TIMEOUT: Final = (
    "Your socket connection to the server was not read from or written to within the timeout period. "
    "Idle connections will be closed."
)
_MISMATCH: Final = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
_CODES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("RequestTimeout", _TIMEOUT),
    403: ("AccessDenied", "Access Denied"),
    404: ("NoSuchKey", "The specified key does not exist."),
    411: ("MissingContentLength", "You must provide the Content-Length HTTP header."),
    500: ("InternalError", "We encountered an internal error. Please try again."),
    503: ("SlowDown", "Please reduce your request rate."),
}


def xml_error(status: int, code: str, message: str, extra: Mapping[str, str] | None = None) -> web.Response:
    """An error as S3 words it; ``extra`` are more elements."""
    elements = {"Code": code, "Message": message, **(extra or {}), **_IDS}
    return _answer(status, elements)


def plain_error(status: int, message: str | None, extra: Mapping[str, object]) -> web.Response:
    """The usual error of a status, such as SlowDown for 503 (B9) and RequestTimeout for 400 (B7)."""
    code, words = _CODES.get(status, (HTTPStatus(status).name.title().replace("_", ""), HTTPStatus(status).phrase))
    return xml_error(status, code, message or words, {name: str(value) for name, value in extra.items()})


def expired(dialect: Dialect, life: str, expires: float, now: float) -> web.Response:
    """The URL's time is over: B1, or G1 of Google Cloud Storage."""
    if dialect == "gcs":
        return _answer(400, {"Code": "ExpiredToken", "Message": "The provided token has expired."})
    times = {"X-Amz-Expires": life, "Expires": _iso(expires), "ServerTime": _iso(now)}
    return xml_error(403, "AccessDenied", "Request has expired", times)


def mismatch(dialect: Dialect, method: str, path: str) -> web.Response:
    """The request is not what was signed: B3, or G3 of Google Cloud Storage."""
    canonical = f"{method}\n{path}"
    if dialect == "gcs":
        words = {"Code": "SignatureDoesNotMatch", "Message": "Access denied.", "Details": "the signature differs"}
        return _answer(403, {**words, "StringToSign": canonical, "CanonicalRequest": canonical})
    extra = {
        "AWSAccessKeyId": ACCESS_KEY,
        "StringToSign": canonical,
        "SignatureProvided": "0" * 64,
        "StringToSignBytes": canonical.encode().hex(" "),
        "CanonicalRequest": canonical,
        "CanonicalRequestBytes": canonical.encode().hex(" "),
    }
    return xml_error(403, "SignatureDoesNotMatch", _MISMATCH, extra)


def incomplete() -> web.Response:
    """A part of the signed query is missing: B5."""
    return xml_error(
        400,
        "AuthorizationQueryParametersError",
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
        "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    )


def unsigned_headers(names: str) -> web.Response:
    """Headers came that the signature doesn't cover: B4."""
    words = "There were headers present in the request which were not signed"
    return xml_error(403, "AccessDenied", words, {"HeadersNotSigned": names})


def chunked() -> web.Response:
    """The body came without a length, in chunks: B6."""
    words = "A header you provided implies functionality that is not implemented"
    return xml_error(501, "NotImplemented", words, {"Header": "Transfer-Encoding"})


def policy_failed(reason: str) -> web.Response:
    """A form that its policy does not allow: B11, B12 or B13."""
    return xml_error(403, "AccessDenied", f"Invalid according to Policy: {reason}")


def wrong_size(size: int, least: int, most: int) -> web.Response:
    """A form whose file is too large or too small: B14."""
    if size > most:
        extra = {"ProposedSize": str(size), "MaxSizeAllowed": str(most)}
        return xml_error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", extra)
    extra = {"ProposedSize": str(size), "MinSizeAllowed": str(least)}
    return xml_error(400, "EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", extra)


def altered_policy(policy: str, signature: str) -> web.Response:
    """A form whose policy is not the one that was signed: B15."""
    extra = {
        "AWSAccessKeyId": ACCESS_KEY,
        "StringToSign": policy,
        "SignatureProvided": signature,
        "StringToSignBytes": policy.encode().hex(" "),
    }
    return xml_error(403, "SignatureDoesNotMatch", _MISMATCH, extra)


def expired_token(status: int) -> web.Response:
    """A form whose temporary credentials are over: B19; the sources disagree on its status, 400 or 403."""
    return xml_error(status, "ExpiredToken", "The provided token has expired.")


def missing_field(name: str) -> web.Response:
    """A form without a field that it can't do without: B16."""
    words = (
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
    )
    return xml_error(400, "InvalidArgument", words, {"ArgumentName": name, "ArgumentValue": ""})


def no_file() -> web.Response:
    """A form without its file, or with it under another name; as AWS words it."""
    words = "POST requires exactly one file upload per request."
    return xml_error(400, "InvalidArgument", words, {"ArgumentName": "file", "ArgumentValue": "0"})


def malformed_form() -> web.Response:
    """A form that is not well-formed; as AWS words it."""
    words = "The body of your POST request is not well-formed multipart/form-data."
    return xml_error(400, "MalformedPOSTRequest", words)


def long_form() -> web.Response:
    """A form whose fields take more than 20 KB; as AWS words it."""
    words = "Your POST request fields preceding the upload file were too large."
    return xml_error(400, "MaxPostPreDataLengthExceeded", words)


def not_a_form() -> web.Response:
    """A POST that is no form: B18."""
    words = "At least one of the pre-conditions you specified did not hold"
    condition = "Bucket POST must be of the enclosure-type multipart/form-data"
    return xml_error(412, "PreconditionFailed", words, {"Condition": condition})


def _answer(status: int, elements: Mapping[str, str]) -> web.Response:
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'
    return web.Response(body=body.encode(), status=status, content_type="application/xml")


def _iso(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
