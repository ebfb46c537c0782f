"""What a run has to do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bulkup.model import Columns, Content, Document
from bulkup.plan import Batch, OnChange, Planned, Planner, Verdict, cut, judge, mix, only, split

MOST = 25
SHARES = st.sampled_from("ABC")


def document(number: int, filename: str = "") -> Document[Columns]:
    """A row."""
    return Document(number, f"k{number}", number, "p", "t", f"/f/{number}", filename or f"{number}.pdf", Columns())


def batch(names: Sequence[str], *, bundled: bool = False) -> Batch:
    """A batch of files with these names."""
    documents = tuple(document(number, name) for number, name in enumerate(names))
    return Batch(documents, bundled, 7, 2, frozenset({1}))


# --- skip, replace, compare -----------------------------------------------------------------------------------------

HASHED = Content(10, 5, md5="m")
BARE = Content(10, 5)


@pytest.mark.parametrize(
    ("sent", "found", "verdicts"),
    [
        (None, (10, 5), [Verdict.SEND] * 3),
        (None, None, [Verdict.SEND] * 3),
        (HASHED, (10, 5), [Verdict.SKIP] * 3),
        (HASHED, None, [Verdict.SKIP] * 3),
        (HASHED, (10, 6), [Verdict.COMPARE] * 3),
        (Content(10, 5, sha256="s"), (10, 4), [Verdict.COMPARE] * 3),
        (HASHED, (11, 5), [Verdict.REPLACE, Verdict.SKIP, Verdict.REFUSE]),
        (HASHED, (11, 6), [Verdict.REPLACE, Verdict.SKIP, Verdict.REFUSE]),
        (BARE, (10, 6), [Verdict.REPLACE, Verdict.SKIP, Verdict.REFUSE]),
        (BARE, (10, 5), [Verdict.SKIP] * 3),
    ],
)
def test_judge(sent: Content | None, found: tuple[int, int] | None, verdicts: list[Verdict]) -> None:
    """A row is sent once; what changed follows the user's wish, and a touched file is compared by hash."""
    assert [judge(sent, found, wish) for wish in (OnChange.UPLOAD, OnChange.SKIP, OnChange.FAIL)] == verdicts


# --- batches --------------------------------------------------------------------------------------------------------


@st.composite
def pages(draw: st.DrawFn) -> list[list[Planned]]:
    """Rows in pages, in any order of shares; a share is bundled or not."""
    shares = draw(st.lists(st.tuples(SHARES, st.booleans(), st.integers(1, 60)), max_size=8))
    rows: list[Planned] = []
    for share, bundled, count in shares:
        for _ in range(count):
            size = draw(st.integers(0, 3)) if count < 5 else count
            rows.append(Planned(document(len(rows)), share, bundled, size))
    cuts = sorted(draw(st.lists(st.integers(0, len(rows)), max_size=6)))
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


def planned(given_pages: Sequence[Sequence[Planned]]) -> list[Batch]:
    """All batches of a run."""
    planner = Planner(MOST)
    return [batch for page in given_pages for batch in planner.add(page)] + planner.flush()


@given(pages())
@example([[Planned(document(i), share, bundled=False, size=1) for i, share in enumerate("ABA")]])
def test_every_row_exactly_once(given_pages: list[list[Planned]]) -> None:
    """Whatever the order and the pages, no row is lost and none comes twice."""
    ids = [document.id for batch in planned(given_pages) for document in batch.documents]
    assert sorted(ids) == [row.document.id for page in given_pages for row in page]


@given(pages())
def test_what_a_batch_holds(given_pages: list[list[Planned]]) -> None:
    """At most 25 rows, unless they are one bundle; only of one share; what is said of it is true."""
    rows = {row.document.id: row for page in given_pages for row in page}
    for made in planned(given_pages):
        members = [rows[document.id] for document in made.documents]
        assert members
        assert len({(row.share, row.bundled) for row in members}) == 1
        assert made.bundled == members[0].bundled
        assert made.bundled or len(members) <= MOST
        assert made.size == sum(row.size for row in members)
        assert (made.round, made.reread) == (0, frozenset())


@given(pages())
def test_bundles_are_whole(given_pages: list[list[Planned]]) -> None:
    """Rows of one bundle that stand beside each other make one batch, also across pages."""
    rows = [row for page in given_pages for row in page]
    runs = [[row.document.id for row in run] for key, run in groupby(rows, lambda r: (r.share, r.bundled)) if key[1]]
    made = [[document.id for document in batch.documents] for batch in planned(given_pages) if batch.bundled]
    assert sorted(made) == sorted(runs)


@given(pages())
def test_batches_are_as_full_as_can_be(given_pages: list[list[Planned]]) -> None:
    """Pages cost no inits: a share's run makes as many batches as its length needs."""
    rows = [row for page in given_pages for row in page]
    needed = sum(
        1 if key[1] else -(-len(list(run)) // MOST) for key, run in groupby(rows, lambda r: (r.share, r.bundled))
    )
    assert len(planned(given_pages)) == needed


def test_full_batches_don_t_wait() -> None:
    """What can't grow any more comes at once; at most one batch less a row is held back."""
    planner = Planner(MOST)
    rows = [Planned(document(i), "A", bundled=False, size=1) for i in range(60)]
    assert [len(made.documents) for made in planner.add(rows)] == [25, 25]
    assert planner.add([]) == []
    assert [len(made.documents) for made in planner.flush()] == [10]
    assert planner.flush() == []


def test_rows_that_must_not_share_stand_alone() -> None:
    """A row whose batch failed before gets an init of its own; the others share theirs."""
    rows = [Planned(document(i), "A", bundled=False, size=1, alone=i % 5 == 0) for i in range(20)]
    planner = Planner(MOST)
    made = sorted(len(batch.documents) for batch in [*planner.add(rows), *planner.flush()])
    assert made == [1, 1, 1, 1, 16]


@given(st.lists(st.integers(0, 100)))
def test_mix(sizes: list[int]) -> None:
    """Nothing is lost, the largest comes first, and the last is never larger than the middle one."""
    batches = [Batch((document(number),), size=size) for number, size in enumerate(sizes)]
    mixed = mix(batches)
    assert sorted(b.documents[0].id for b in mixed) == list(range(len(sizes)))
    if sizes:
        assert mixed[0].size == max(sizes)
        assert mixed[-1].size <= sorted(sizes)[(len(sizes) + 1) // 2] if len(sizes) > 1 else True


# --- parts ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["a.pdf", "b.PDF", "c.jpg", "d", "e.tar.gz", ".x", ""]), min_size=2, max_size=25))
def test_split_finds_the_bad_file(names: list[str]) -> None:
    """Splitting again and again leaves each file alone, loses none, and keeps what is known of them."""
    work, alone = [batch(names)], []
    for _ in range(200):
        if not work:
            break
        part = work.pop()
        assert part.documents
        assert (part.round, part.reread) == (2, frozenset({1}))
        if len(part.documents) == 1:
            alone.append(part.documents[0].id)
        else:
            work += split(part)
    assert sorted(alone) == list(range(len(names)))


def test_split_by_extension_first() -> None:
    """One bad extension costs two more inits, not one for each file."""
    parts = split(batch(["a.pdf", "b.exe", "c.PDF"]))
    assert [[document.filename for document in part.documents] for part in parts] == [["a.pdf", "c.PDF"], ["b.exe"]]


@given(st.integers(1, 60), st.integers(1, 25), st.booleans())
def test_cut(count: int, most: int, bundled: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
    """A flow that carries fewer gets parts in order; a bundle stays whole."""
    whole = batch(["x"] * count, bundled=bundled)
    parts = cut(whole, most)
    assert [d.id for part in parts for d in part.documents] == list(range(count))
    if bundled:
        assert parts == [whole]
    else:
        assert all(1 <= len(part.documents) <= most for part in parts)
        assert len(parts) == -(-count // most)


def test_only() -> None:
    """Some documents of a batch, in its order, with those marked whose file changed."""
    part = only(batch(["a", "b", "c"]), [2, 0, 9], reread=[2])
    assert [d.id for d in part.documents] == [0, 2]
    assert part.reread == {1, 2}
