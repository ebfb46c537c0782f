"""Values that must never be seen."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.secret import REDACTED, SignedUrl, scrub

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
QUERY_CHARACTERS = ALPHABET + "!$&'()*+,;=:@/?%"
SECRETS = st.lists(st.text("QWXZ019", min_size=4, max_size=12), max_size=4)
WORDS = st.text("abcdefg .:'(),", max_size=30)


@given(
    before=WORDS, after=WORDS, path=st.text(ALPHABET + "/'", max_size=20), query=st.text("QWXZ" + "'&=%+/?", min_size=4)
)
@example(before="'", after="'", path="a", query="Q'WXZ")
def test_no_query_survives(before: str, after: str, path: str, query: str) -> None:
    """Of a URL in any text its host and path may stay; nothing of what follows the question mark does."""
    shown = scrub(f"{before} https://host.example/{path}?{query} {after}")
    assert "host.example" in shown
    assert not set("QWXZ") & set(shown.replace(path, ""))


@given(query=st.text("QWXZ0'/+%", min_size=1, max_size=40), quote=st.sampled_from(["", '"', "<", " "]))
def test_no_relative_query_survives(query: str, quote: str) -> None:
    """A proxy may name a URL without its host, or with its slashes escaped."""
    for url in (f"/bucket/key?X-Amz-Signature={query}", f"https:\\/\\/h\\/k?a=b&X-Goog-Signature={query}"):
        assert not set("QWXZ") & set(scrub(f"Cannot PUT {url}{quote}").replace("X-Amz", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://h/p?x=y, then", "at https://h/p?*** then"),
        ("at HTTPS://h:8443/p#frag", "at HTTPS://h:8443/p?***"),
        ("at https://user:pass@h/p", "at https://h/p"),
        ("at _https://user:pass@h/p?x", "at _https://h/p?***"),
        ("at ftp://user:pass@h", "at ftp://h"),
        ("<a href='https://h/it's?sig=1'>", "<a href='https://h/it's?***>"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("basic dXNlcjpwYXNz", "basic ***"),
        ("is this it? yes #1, file#2.pdf", "is this it? yes #1, file#2.pdf"),
        ("mail a@b.example: 1/2", "mail a@b.example: 1/2"),
        ("https://h/p is fine", "https://h/p is fine"),
        ("two\r\n lines\t\x00\x1b[1m\u202e", "two lines [1m"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    """URL queries and credentials go, plain words stay, all on one line."""
    assert scrub(text) == shown


@given(secrets=SECRETS, words=st.lists(WORDS), data=st.data())
@example(secrets=["QWXZ", "QWXZ0123"], words=[], data=None)
def test_no_secret_survives(secrets: list[str], words: list[str], data: st.DataObject | None) -> None:
    """Known secrets are replaced wherever they stand, the longer ones first."""
    if data is None:
        text = " ".join(secrets)
    else:
        parts = data.draw(st.permutations([*secrets, *words]))
        text = " ".join(parts)
    shown = scrub(text, secrets, limit=10_000)
    assert not set("QWXZ019") & set(shown)


def test_short_values_are_no_secrets() -> None:
    """A value of a few characters would tear up every text."""
    assert scrub("an answer", ["an", ""]) == "an answer"


@given(st.text(), st.integers(10, 100))
def test_one_bounded_printable_line(text: str, limit: int) -> None:
    """Whatever came in, what comes out is one printable line of at most so many characters, and stays so."""
    shown = scrub(text, limit=limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    assert shown == shown.strip()


def test_long_text_is_scrubbed_quickly() -> None:
    """The work grows with the length (pytest's time limit holds it)."""
    for text in ("a" * 200_000, "://" * 50_000, "https://" + "a@" * 50_000, "?a" * 50_000, "?" + "a" * 200_000):
        assert len(scrub(text)) <= 500


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://host/a?sig=s3cret", "https://host"),
        ("https://user:s3cret@host:8443/a", "https://host:8443"),
        ("http://[::1]:80/s3cret", "http://[::1]:80"),
        ("http://[::1/s3cret", ""),
        ("s3cret", "://"),
        ("", "://"),
    ],
)
def test_signed_url_shows_its_origin_only(url: str, origin: str) -> None:
    """However it is printed, a signed URL shows scheme, host and port."""
    signed = SignedUrl(url)
    assert signed.origin == origin
    assert signed.value == url
    for shown in (repr(signed), str(signed), f"{signed}", "%s" % signed, repr([signed])):  # noqa: UP031
        assert "s3cret" not in shown
        assert REDACTED in shown
