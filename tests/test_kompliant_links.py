"""Linking a document to what a Kompliant workflow requires."""

from __future__ import annotations

import json
import re

import orjson
import pytest

from bulkup.providers.kompliant_envelope import linked
from bulkup.sandbox import Faults, KompliantOptions, Rule, Sandbox
from tests.conftest import Archive
from tests.kompliant import Tap, add, count, ended, failing, held, links, run

LINK = "/kompliant/workflow.requiredDocument.fulfillment.batchAdd"
PASSPORT, STATEMENT, ADDRESS = (f"rd_sandbox_{name}" for name in ("passport", "bank_statement", "proof_of_address"))

LINKED: list[tuple[dict[str, str], list[str]]] = [
    ({"required_document_ids": PASSPORT}, [PASSPORT]),
    ({"required_document_ids": f" {STATEMENT} ; {PASSPORT}"}, [STATEMENT, PASSPORT]),
    ({"document_type_code": "PROOF_OF_ADDRESS"}, [ADDRESS]),
    ({"document_type_code": "PASSPORT", "required_document_ids": f"{STATEMENT};{PASSPORT}"}, [STATEMENT, PASSPORT]),
    ({"document_type_code": "PASSPORT", "required_document_ids": ADDRESS}, [ADDRESS, PASSPORT]),
    ({}, []),
]
"""Columns of rows, and what they are to be linked to."""


@pytest.mark.parametrize("batch_form", ["flat", "items"])
@pytest.mark.parametrize("envelope", [True, False])
async def test_links(archive: Archive, *, envelope: bool, batch_form: str) -> None:
    """By ids, by type code, or both: all of a row in one ``batchAdd`` with exactly the guide's keys, and no other."""
    for number, (columns, _) in enumerate(LINKED):
        archive.add(f"{number}.pdf", provider="kompliant", subject_record_id="sr_1", workflow_id="w_sandbox", **columns)
    options = KompliantOptions.model_validate({"envelope": envelope, "batch_form": batch_form, "status_delay": 0})
    async with Sandbox(options=options) as sandbox, Tap().listening(sandbox) as tap:
        assert (await run(archive, sandbox)).completed == len(LINKED), archive.ended()
        ids = [row["document_id"] for row in archive.ledger_rows()]
        expected = [
            [{"required_document_id": required, "document_id": id_} for required in linked_to]
            for id_, (_, linked_to) in zip(ids, LINKED, strict=True)
        ]
        sent = [orjson.loads(seen.body) for seen in tap.requests(LINK)]
        assert {each["workflow_id"] for each in sent} == {"w_sandbox"}
        assert all(each.keys() == {"workflow_id", "fulfillments"} for each in sent)
        assert sorted((each["fulfillments"] for each in sent), key=str) == sorted(filter(None, expected), key=str)
        assert len(links(sandbox)) == sum(len(linked_to) for _, linked_to in LINKED)
        assert (count(sandbox, "required"), count(sandbox, "fulfillments")) == (3, 0)
        assert not sandbox.breaches


async def test_a_json_list_of_required_documents(archive: Archive) -> None:
    """In JSON the ids may be a list."""
    add(archive)
    manifest = archive.folder / "manifest.json"
    row = archive.rows[0] | {"workflow_id": "w_sandbox"}
    manifest.write_text(json.dumps([row | {"required_document_ids": [PASSPORT, STATEMENT]}]))
    async with Sandbox() as sandbox:
        assert (await archive.upload(sandbox, manifest)).completed == 1
        assert links(sandbox) == sorted([PASSPORT, STATEMENT])
        assert count(sandbox, "link") == 1


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        (("PASSPORT", "BANK_STATEMENT"), "requires no document of type 'VISA'; it requires: BANK_STATEMENT, PASSPORT"),
        ((), "it requires: none"),
        (("VISA", "VISA"), "several documents of type 'VISA': name one by its id: rd_sandbox_visa, rd_sandbox_visa"),
    ],
)
async def test_a_type_code_that_does_not_tell(archive: Archive, codes: tuple[str, ...], words: str) -> None:
    """The row fails at ``link`` and says which codes there are; once it is mended, only the link is made."""
    add(archive, workflow_id="w_sandbox", document_type_code="VISA")
    workflows = {"w_sandbox": ("sr_1", codes), "w_good": ("sr_1", ("VISA",))}
    async with Sandbox(options=KompliantOptions(workflows=workflows)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        end = ended(archive)
        assert (end.stage, end.error_code) == ("link", "no_requirement")
        assert words in (end.error or "")
        archive.rows[0]["workflow_id"] = "w_good"
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "init"), count(sandbox, "form"), links(sandbox)) == (1, 1, ["rd_good_visa"])


@pytest.mark.parametrize("batch_form", ["flat", "items"])
async def test_partial_failure(archive: Archive, batch_form: str) -> None:
    """The row fails at ``link`` with the reason of each refused item; later runs link only what is missing."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"rd_none;{PASSPORT};rd_other_visa")
    workflows = {"w_sandbox": ("sr_1", ("PASSPORT", "BANK_STATEMENT")), "w_other": ("sr_1", ("VISA",))}
    options = KompliantOptions.model_validate({"batch_form": batch_form, "workflows": workflows})
    async with Sandbox(options=options) as sandbox, Tap().listening(sandbox) as tap:
        for _ in range(2):  # unmended it stays failed, and nothing is done twice
            assert (await run(archive, sandbox)).failed == 1
            end = ended(archive)
            assert (end.stage, end.error_code) == ("link", "link_failed")
            assert end.error == (
                "rd_none: ENTITY_NOT_FOUND: there is no required document rd_none in w_sandbox; "
                "rd_other_visa: ENTITY_NOT_FOUND: there is no required document rd_other_visa in w_sandbox"
            )
            assert links(sandbox) == [PASSPORT]
        archive.rows[0]["required_document_ids"] = f"{STATEMENT};{PASSPORT}"
        assert (await run(archive, sandbox)).completed == 1
        assert links(sandbox) == sorted([PASSPORT, STATEMENT])
        assert (count(sandbox, "init"), count(sandbox, "form")) == (1, 1)
        batches = [orjson.loads(seen.body)["fulfillments"] for seen in tap.requests(LINK)]
        linked_once = [item["required_document_id"] for batch in batches for item in batch]
        assert (linked_once.count(PASSPORT), linked_once.count(STATEMENT)) == (1, 1)


async def test_a_foreign_document(archive: Archive) -> None:
    """A document must belong to the workflow's subject record."""
    add(archive, workflow_id="w_sandbox", required_document_ids=PASSPORT)
    workflows = {"w_sandbox": ("sr_2", ("PASSPORT",))}
    async with Sandbox(options=KompliantOptions(workflows=workflows)) as sandbox:
        assert (await run(archive, sandbox)).failed == 1
        assert "another subject record" in (ended(archive).error or "")


@pytest.mark.parametrize("duplicate", ["a duplicate of an existing fulfillment", "the pair is taken"])
@pytest.mark.parametrize("refusals", ["item", "batch"])
async def test_a_duplicate_counts_as_done(archive: Archive, refusals: str, duplicate: str) -> None:
    """A batch whose answer was lost is repeated, and refused as there already: in whatever words, that is done."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"{PASSPORT};{STATEMENT}")
    options = KompliantOptions.model_validate({"refusals": refusals, "duplicate": duplicate})
    async with Sandbox(options=options, faults=failing("link", kind="reset_after", times=1)) as sandbox:
        assert (await run(archive, sandbox)).completed == 1, ended(archive)
        assert (links(sandbox), count(sandbox, "link")) == (sorted([PASSPORT, STATEMENT]), 2)


async def test_a_list_that_is_down_fails_no_row(archive: Archive) -> None:
    """Whether a refused link was there already can't be told now: the next run asks, and the row is completed."""
    add(archive, workflow_id="w_sandbox", required_document_ids=PASSPORT)
    lost = Rule(kind="reset_after", step="link", times=1)
    down = Rule(kind="status", step="fulfillments", status=503)
    options = KompliantOptions(duplicate="the pair is taken")
    async with Sandbox(options=options, faults=Faults(rules=(lost, down))) as sandbox:
        assert (await run(archive, sandbox)).pending == 1
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "link"), links(sandbox)) == (2, [PASSPORT])


async def test_links_that_were_made_before_a_kill(archive: Archive) -> None:
    """All answers to the batch are lost: the next run asks what is linked, and links no more."""
    add(archive, workflow_id="w_sandbox", required_document_ids=f"{PASSPORT};{STATEMENT}")
    async with Sandbox(faults=failing("link", kind="reset_after")) as sandbox:
        assert (await run(archive, sandbox)).pending == 1
        tries = count(sandbox, "link")
        sandbox.faults = Faults()
        assert (await run(archive, sandbox)).completed == 1
        assert (count(sandbox, "link"), count(sandbox, "fulfillments")) == (tries, 2)
        assert (len(held(sandbox)), links(sandbox)) == (1, sorted([PASSPORT, STATEMENT]))


async def test_an_ended_workflow(archive: Archive) -> None:
    """The row fails at ``link`` with code, sub code and trace id; its bytes stay, and are not sent again."""
    add(archive, workflow_id="w_ended", document_type_code="PASSPORT")
    async with Sandbox() as sandbox:
        for _ in range(2):
            assert (await run(archive, sandbox)).failed == 1
            end = ended(archive)
            assert end.stage == "link"
            assert re.search(
                r"SYSTEM_RULE_VIOLATION WORKFLOW_ENDED: the workflow has ended \(trace id \w+\)", end.error or ""
            )
        assert (count(sandbox, "init"), count(sandbox, "form"), len(held(sandbox))) == (1, 1, 1)


def _refused(code: str, message: str, sub_code: str | None = None) -> dict[str, object]:
    error = {"code": code, "message": message} | ({"sub_code": sub_code} if sub_code else {})
    return {"request": {"required_document_id": "a"}, "status": "ERROR", "errors": [error]}


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"fulfillment_id": "f", "required_document_id": "a", "decision_status": "NEEDS_REVIEW"}, {"a": None}),
        ({"request": {"required_document_id": "a"}, "status": "SUCCESS", "data": {}}, {"a": None}),
        ({"status": "SUCCESS", "data": {"fulfillment": {"required_document_id": "a"}}}, {"a": None}),
        ({"status": "SUCCESS"}, {"a": None}),
        ({"status": "ERROR"}, {"a": "refused without a reason"}),
        ({"status": "ERROR", "errors": [{"code": "X", "message": "y"}]}, {"a": "X: y"}),
        (_refused("X", "y", "Z"), {"a": "X Z: y"}),
        (_refused("SYSTEM_RULE_VIOLATION", "Fulfillment already exists"), {"a": None}),
        (_refused("SYSTEM_RULE_VIOLATION", "no", "DUPLICATE_FULFILLMENT"), {"a": None}),
        (_refused("ALREADY_LINKED", "no"), {"a": None}),
        (
            _refused("SYSTEM_RULE_VIOLATION", "workflow already completed"),
            {"a": "SYSTEM_RULE_VIOLATION: workflow already completed"},
        ),
        (_refused("ENTITY_NOT_FOUND", "it no longer exists"), {"a": "ENTITY_NOT_FOUND: it no longer exists"}),
        ({"required_document_id": "a"}, {}),
        ({"required_document_id": "a", "status": "QUEUED"}, {}),
    ],
)
@pytest.mark.parametrize("name", ["fulfillments", "results", ""])
def test_items_of_a_batch(item: dict[str, object], said: dict[str, str | None], name: str) -> None:
    """Both forms of an item, however its list is called: only a positive word is one, and only a duplicate is done."""
    inner: object = {name: [item]} if name else [item]
    assert linked({"meta": {"status": "SUCCESS"}, "data": inner}, ["a"]) == said
    if name:
        assert linked({name: [item]}, ["a"]) == said


def test_items_are_taken_by_their_own_ids() -> None:
    """In any order; by their place only where an item has none, and all are there."""
    good = {"fulfillment_id": "f", "required_document_id": "a"}
    assert linked({"data": {"x": [_refused("X", "y"), good]}}, ["b", "a"]) == {"a": None}
    bad = {"status": "ERROR", "errors": [{"code": "X"}]}
    assert linked({"data": {"x": [good, bad]}}, ["a", "b"]) == {"a": None, "b": "X"}
    assert linked({"data": {"x": [bad]}}, ["a", "b"]) == {}
    assert linked({"meta": {"status": "ERROR"}, "errors": [{"code": "X"}, {"code": "Y"}]}, ["a", "b"]) == {}
