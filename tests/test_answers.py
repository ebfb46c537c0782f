"""What an HTTP answer means: the decision table of the providers' wire contract, row by row."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.answers import judge_api, judge_store
from bulkup.model import Again

NEVER, SAME, FRESH = Again.NEVER, Again.SAME, Again.FRESH
IDS = "<RequestId>EXAMPLE0REQUEST1</RequestId><HostId>example-host-id</HostId>"
MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your key and signing method."
)
SIGNED = (
    "<AWSAccessKeyId>EXAMPLEKEYID</AWSAccessKeyId><StringToSign>S3CRET AWS4-HMAC-SHA256</StringToSign>"
    "<SignatureProvided>S3CRET</SignatureProvided><StringToSignBytes>53 33 S3CRET</StringToSignBytes>"
)
CANONICAL = "<CanonicalRequest>PUT S3CRET</CanonicalRequest><CanonicalRequestBytes>S3CRET 50 55</CanonicalRequestBytes>"
FIELD = "Bucket POST must contain a field named 'X-Amz-Signature'.  If it is specified, please check the order."
TIMEOUT = "Your socket connection to the server was not read from or written to within the timeout period."


def error(code: str, message: str | None = None, more: str = "") -> bytes:
    """An error body as S3 sends it."""
    text = "" if message is None else f"<Message>{message}</Message>"
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<Error><Code>{code}</Code>{text}{more}{IDS}</Error>".encode()


EXPIRY = "<X-Amz-Expires>600</X-Amz-Expires><Expires>2025-01-01T00:10:00Z</Expires>"
POLICY = "Invalid according to Policy: "
ANSWERS: list[tuple[str, int, bytes, str, Again]] = [
    ("B1", 403, error("AccessDenied", "Request has expired", EXPIRY), "url_expired", FRESH),
    ("B2", 403, error("AccessDenied", "Request is not yet valid"), "clock_skew", NEVER),
    ("B3", 403, error("SignatureDoesNotMatch", MISMATCH, SIGNED + CANONICAL), "store_refused", NEVER),
    ("B4", 403, error("AccessDenied", "There were headers present in the request which were not signed"), "", NEVER),
    ("B5", 400, error("AuthorizationQueryParametersError", "Query-string authentication requires"), "", NEVER),
    ("B6", 501, error("NotImplemented", "A header you provided implies functionality that is not"), "", NEVER),
    ("B7", 400, error("RequestTimeout", TIMEOUT), "store_timeout", SAME),
    ("B8", 403, error("RequestTimeTooSkewed"), "clock_skew", NEVER),
    ("B9", 503, error("SlowDown"), "rate_limited", SAME),
    ("B9 500", 500, error("InternalError"), "store_error", SAME),
    ("B10", 400, error("BadDigest", "The Content-MD5 you specified did not match what we received."), "", NEVER),
    ("B11", 403, error("AccessDenied", f"{POLICY}Policy expired."), "url_expired", FRESH),
    ("B12", 403, error("AccessDenied", f'{POLICY}Policy Condition failed: ["eq", "$key", "v"]'), "", NEVER),
    ("B13", 403, error("AccessDenied", f"{POLICY}Extra input fields: comment"), "store_refused", NEVER),
    ("B14", 400, error("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"), "", NEVER),
    ("B14 small", 400, error("EntityTooSmall", "Your proposed upload is smaller than the minimum"), "", NEVER),
    ("B15", 403, error("SignatureDoesNotMatch", MISMATCH, SIGNED), "store_refused", NEVER),
    ("B16", 400, error("InvalidArgument", FIELD), "store_refused", NEVER),
    ("B17", 403, error("AccessDenied", "Access Denied"), "store_refused", NEVER),
    ("B18", 412, error("PreconditionFailed", "At least one of the pre-conditions did not hold"), "", NEVER),
    ("B19", 400, error("ExpiredToken", "The provided token has expired."), "url_expired", FRESH),
    ("B19 403", 403, error("ExpiredToken", "The provided token has expired."), "url_expired", FRESH),
    (
        "G1",
        400,
        b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
        "",
        FRESH,
    ),
    ("G2", 400, error("MalformedSecurityHeader", "Your request has a malformed header."), "store_refused", NEVER),
    ("G3", 403, error("SignatureDoesNotMatch", "Access denied.", SIGNED + CANONICAL), "store_refused", NEVER),
    ("408", 408, b"", "server_timeout", SAME),
    ("429", 429, b"", "rate_limited", SAME),
    ("502", 502, b"<html><body>Bad Gateway</body></html>", "store_error", SAME),
    ("504", 504, b"", "store_error", SAME),
    ("403 bare", 403, b"", "store_refused", NEVER),
    ("403 HTML", 403, b"<html><title>Forbidden</title></html>", "store_refused", NEVER),
    ("InvalidDigest", 400, error("InvalidDigest", "The Content-MD5 you specified was invalid."), "", NEVER),
    ("404", 404, error("NoSuchBucket", "The specified bucket does not exist"), "store_refused", NEVER),
    ("307", 307, error("TemporaryRedirect", "Please re-send this request elsewhere"), "store_refused", NEVER),
]


@pytest.mark.parametrize(("status", "body", "code", "again"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS])
def test_store_answers(status: int, body: bytes, code: str, again: Again) -> None:
    """Each recorded answer of S3 and GCS gets the verdict of the table, and shows nothing of the signature."""
    failure = judge_store(status, {}, body)
    assert failure is not None
    assert failure.again is again
    assert failure.code == (code or failure.code)
    assert (failure.status, failure.answered, failure.sent) == (status, True, True)
    assert failure.text.startswith(f"HTTP {status}")
    for secret in ("S3CRET", "EXAMPLEKEYID", "AWS4-HMAC"):
        assert secret not in failure.text


@pytest.mark.parametrize("status", [200, 201, 204, 206, 299])
def test_success(status: int) -> None:
    """Any 2xx is a success, whatever its body says."""
    assert judge_store(status, {}, error("AccessDenied")) is None
    assert judge_api(status, {}, b"{}") is None


def test_store_keeps_the_vendors_words() -> None:
    """Code and message are shown, entities resolved, on one line; a clock problem says whose clock."""
    failure = judge_store(403, {}, error("AccessDenied", "a &lt;b&gt; &amp;\n c"))
    assert failure is not None
    assert failure.text == "HTTP 403: AccessDenied: a <b> & c"
    skewed = judge_store(403, {}, error("RequestTimeTooSkewed"))
    assert skewed is not None
    assert "clock" in skewed.text


@pytest.mark.parametrize("order", [0, 1])
def test_store_takes_any_order_of_elements(order: int) -> None:
    """No source records the order of elements: long ones may come before the code."""
    long = f"<CanonicalRequest>{'S3CRET ' * 5000}</CanonicalRequest>"
    parts = ["<Code>AccessDenied</Code><Message>Request has expired</Message>", long]
    failure = judge_store(403, {}, f"<Error>{parts[order]}{parts[1 - order]}</Error>".encode())
    assert failure is not None
    assert failure.again is FRESH
    assert "S3CRET" not in failure.text


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><StringToSign>S3CRET</StringToSign>",
        b"<Error><SignatureProvided>S3CRET</SignatureProvided><Code>half",
        b"<Error><CanonicalRequest>S3CRET" + b"x" * 10_000,
        b"<Error><Resource>/b/k?X-Amz-Signature=S3CRET&x=y</Resource></Error>",
        b"Cannot PUT /b/k?X-Amz-Signature=S3CRET",
        b'{"url": "https:\\/\\/host\\/key?X-Amz-Signature=S3CRET"}',
    ],
)
def test_broken_store_answers_show_no_signature(body: bytes) -> None:
    """What can't be understood is shown without the parts that are secret."""
    failure = judge_store(403, {}, body)
    assert failure is not None
    assert "S3CRET" not in failure.text
    api = judge_api(400, {}, body)
    assert api is not None
    assert "S3CRET" not in api.text


@pytest.mark.parametrize(
    ("status", "code", "again"),
    [
        (400, "rejected", NEVER),
        (401, "unauthorized", NEVER),
        (403, "forbidden", NEVER),
        (404, "not_found", NEVER),
        (408, "server_timeout", SAME),
        (409, "conflict", NEVER),
        (413, "too_large", NEVER),
        (422, "rejected", NEVER),
        (429, "rate_limited", SAME),
        (500, "server_error", SAME),
        (501, "server_error", NEVER),
        (502, "server_error", SAME),
        (503, "server_error", SAME),
        (504, "server_error", SAME),
        (302, "rejected", NEVER),
    ],
)
def test_api_answers(status: int, code: str, again: Again) -> None:
    """A status of a vendor's API has its word, and only what may pass is tried again."""
    failure = judge_api(status, {"retry-after": "7"}, b"")
    assert failure is not None
    assert (failure.code, failure.again, failure.status, failure.answered) == (code, again, status, True)
    assert failure.retry_after == (7 if again is SAME else None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"message": "bad type"}', "bad type"),
        (b'{"error": "bad type"}', "bad type"),
        (b'{"message": "bad", "allowed": ["pdf"]}', '{"message": "bad", "allowed": ["pdf"]}'),
        (b'{"message": {"value": 1}}', '{"message": {"value": 1}}'),
        (b"[1]", "[1]"),
        (b"<html><style>x{}</style><body>Bad  Gateway</body></html>", "Bad Gateway"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"two\nlines\x1b[31m", "two lines [31m"),
        (b'{"message": "token tok-123456 is bad"}', "token *** is bad"),
        (b"Bearer abcdefgh.ijkl", "Bearer ***"),
    ],
)
def test_api_words(body: bytes, words: str) -> None:
    """The vendor's own words are kept, on one line and without secrets."""
    failure = judge_api(400, {}, body, ["tok-123456"])
    assert failure is not None
    assert failure.text == f"HTTP 400: {words}"


@given(
    status=st.integers(300, 599), body=st.binary(max_size=300) | st.text("<>/Codemsgx& ", max_size=200).map(str.encode)
)
def test_any_answer_is_judged(status: int, body: bytes) -> None:
    """No status and no body raises or gives more than one bounded line."""
    for failure in (judge_api(status, {}, body), judge_store(status, {}, body)):
        assert failure is not None
        assert len(failure.text) < 1100
        assert "\n" not in failure.text


@pytest.mark.parametrize("body", [b"<" * 65536, b"<script" * 9000, b"<Code>" * 10_000, b"<style><" * 8000])
def test_hostile_markup_is_read_quickly(body: bytes) -> None:
    """The work on a body grows with its length, not faster (pytest's time limit holds it)."""
    assert judge_store(403, {}, body) is not None
