"""The parts of our HTTP client that do no I/O: heads of requests, and answers out of bytes as they come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bulkup.transport import MOST_OF_AN_ERROR, Request, body_of
from bulkup.wire.answer import Answer
from bulkup.wire.head import addressed, composed

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: 1\r\n\r\nabcde"


def head(url: str, method: str = "PUT", *headers: tuple[str, str], fresh: bool = False) -> list[str]:
    """The lines of a request's head."""
    request = Request(method, url, headers, body_of(b"abc") if method == "PUT" else None, fresh)
    return composed(request, *addressed(url)).decode().split("\r\n")


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://host/a?b=c#d", "host", "/a?b=c"),
        ("https://HOST:443/", "host", "/"),
        ("http://host:8080", "host:8080", "/"),
        ("http://host?x=/y", "host", "/?x=/y"),
        ("http://[::1]:81/k", "[::1]:81", "/k"),
        ("https://b\u00fccher.example/\u00fc", "xn--bcher-kva.example", "/\u00fc"),
        ("http://host/%2F~'()!", "host", "/%2F~'()!"),
    ],
)
def test_where_a_url_leads(url: str, host: str, target: str) -> None:
    """The target goes out as it stands; a port that is the default one, and a fragment, do not."""
    lines = head(url)
    assert lines[:2] == [f"PUT {target} HTTP/1.1", f"Host: {host}"]


@pytest.mark.parametrize(
    "url",
    [
        "http://me:secret@host/",
        "http://host:0/",
        "http://host /",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http:///",
    ],
)
def test_urls_that_make_no_sense(url: str) -> None:
    """Credentials in a URL, and anything that would end a line."""
    with pytest.raises(ValueError, match="no "):
        addressed(url)


@pytest.mark.parametrize("header", [("X", "a\r\nY: b"), ("X:", "a"), ("", "a"), ("X Y", "a"), ("X", "a\0")])
def test_headers_that_make_no_sense(header: tuple[str, str]) -> None:
    """What a vendor says becomes headers of ours: no name and no value may end the line."""
    with pytest.raises(ValueError, match="no header"):
        head("http://host/", "PUT", header)


def test_lengths_and_the_last_request() -> None:
    """A body has its length, a POST without one says 0, a GET says nothing; a connection for one use says so."""
    assert head("http://host/")[2:] == ["Content-Length: 3", "", ""]
    assert head("http://host/", "POST")[2:] == ["Content-Length: 0", "", ""]
    assert head("http://host/", "GET", fresh=True)[2:] == ["Connection: close", "", ""]


@given(st.sampled_from([CHUNKED, INTERIM]), st.lists(st.integers(1, 200), max_size=20))
def test_an_answer_in_any_pieces(data: bytes, cuts: list[int]) -> None:
    """However the network cuts it, the same comes out; trailers and interim answers are no part of it."""
    answer = Answer()
    answer.expect(100)
    start = 0
    for cut in [*cuts, len(data)]:
        answer.feed(data[start : start + cut])
        start += cut
        if start >= len(data):
            break
    assert (answer.complete, answer.problem, answer.keeps_alive) == (True, None, True)
    response = answer.whole()
    assert (response.status, response.body, response.headers["x"]) == (200, b"abcde", "1")
    assert "t" not in response.headers
    assert "link" not in response.headers


@given(st.lists(st.one_of(st.binary(max_size=50), st.sampled_from([CHUNKED[:n] for n in range(0, 90, 7)])), max_size=6))
def test_garbage_is_a_problem_and_no_exception(pieces: list[bytes]) -> None:
    """Whatever comes, and then the end: it is over, one way or the other."""
    answer = Answer()
    answer.expect(100)
    for piece in pieces:
        answer.feed(piece)
    answer.end()
    assert answer.over


def test_an_answer_that_ends_with_the_connection() -> None:
    """Without a length the end is the end (RFC 9112, 6.3), and no other answer follows; with one it is not."""
    answer = Answer()
    for headers, complete in ((b"", True), (b"Content-Length: 10\r\n", False)):
        answer = Answer()
        answer.expect(100)
        answer.feed(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\nhalf")
        assert not answer.complete
        answer.end()
        assert (answer.complete, answer.keeps_alive) == (complete, False)


def test_bytes_after_an_answer() -> None:
    """What nobody asked for is no part of the answer, and the last of the connection."""
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    for pieces in ([good + good], [good, good], [good + b"\0"]):
        answer = Answer()
        answer.expect(100)
        for piece in pieces:
            answer.feed(piece)
        assert (answer.complete, answer.keeps_alive, answer.whole().body) == (True, False, b"ok")


def test_one_answer_after_the_other() -> None:
    """The next request's answer has nothing of the last one's."""
    answer = Answer()
    for number in range(3):
        answer.expect(100)
        answer.feed(b"HTTP/1.1 200 OK\r\nX-%d: 1\r\nContent-Length: 1\r\n\r\n%d" % (number, number))
        response = answer.whole()
        assert (response.body, set(response.headers)) == (b"%d" % number, {f"x-{number}", "content-length"})


def test_bounds() -> None:
    """A head without end, a success that is too long, and a refusal of which only the beginning is read."""
    for data, over in (
        (b"X: " + b"y" * 70_000, "headers are too long"),
        (b"X: y\r\n" * 20_000, "headers are too long"),
    ):
        answer = Answer()
        answer.expect(100)
        answer.feed(b"HTTP/1.1 200 OK\r\n" + data)
        assert over in (answer.problem or "")
    answer = Answer()
    answer.expect(100)
    answer.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n" + b"x" * 101)
    assert "longer than 100 bytes" in (answer.problem or "")
    answer = Answer()
    answer.expect(100)
    answer.feed(b"HTTP/1.1 500 Oh\r\nContent-Length: 9999999\r\n\r\n" + b"x" * MOST_OF_AN_ERROR)
    assert (answer.complete, answer.keeps_alive) == (True, False)
