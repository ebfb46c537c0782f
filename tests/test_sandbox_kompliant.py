"""The rules of Kompliant's guide at its stand-in: shapes, signature, and how a breach is answered."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from bulkup.sandbox import KompliantOptions, Rule
from tests.kompliant import CONTENT, ORDER, PDF, Client, form, sandboxed

CREATE: Mapping[str, Any] = {"subject_record_id": "sr_1", "file_name": "passport.pdf", "file_size_in_bytes": 3}
PASSPORT, STATEMENT = "rd_sandbox_passport", "rd_sandbox_bank_statement"
LINK = "workflow.requiredDocument.fulfillment.batchAdd"
FULFILLMENTS = "workflow.requiredDocument.fulfillment.list"
METHODS = {
    "document.create": CREATE,
    "document.get": {"document_id": "d_1"},
    "document.list": {"subject_record_id": "sr_1"},
    "workflow.requiredDocument.list": {"workflow_id": "w_sandbox"},
    LINK: {"workflow_id": "w_sandbox", "fulfillments": [{"required_document_id": PASSPORT, "document_id": "d_1"}]},
    FULFILLMENTS: {"required_document_id": PASSPORT},
}
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def link(document: str, *required: str, workflow: str = "w_sandbox") -> dict[str, object]:
    """The body of a ``batchAdd``."""
    items = [{"required_document_id": id_, "document_id": document} for id_ in required]
    return {"workflow_id": workflow, "fulfillments": items}


def check_refusal(answer: Any, code: str, words: str = "") -> Any:
    """The failure envelope has this code; the error."""
    assert answer.keys() == {"meta", "errors"}
    assert answer["meta"].keys() == {"status", "trace_id", "version"}
    assert answer["meta"]["status"] == "ERROR"
    (error,) = answer["errors"]
    assert error["code"] == code
    assert words in error["message"]
    return error


# --- shapes -----------------------------------------------------------------------------------------------------------


async def test_create_answers_as_the_contract_says() -> None:
    """A record, where its form goes, and the nine fields of it."""
    async with sandboxed() as client:
        status, answer = await client.call("document.create", CREATE)
        assert status == 200
        assert answer.keys() == {"meta", "data"}
        assert answer["meta"].keys() == {"status", "trace_id", "version"}
        assert answer["meta"]["status"] == "SUCCESS"
        made = answer["data"]["document"]
        assert made.keys() == {"document_id", "upload_url", "presign_values"}
        id_, values = made["document_id"], made["presign_values"]
        assert id_.startswith("d_")
        assert values.keys() == set(ORDER)
        assert values["Content-Type"] == PDF
        assert values["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
        assert re.fullmatch(r"\w+/\d{8}/us-east-1/s3/aws4_request", values["X-Amz-Credential"])
        assert re.fullmatch(r"\d{8}T\d{6}Z", values["X-Amz-Date"])
        assert values["key"] == f"sr_1/{id_}.pdf"
        assert values["x-amz-meta-document-id"] == id_
        policy = orjson.loads(base64.b64decode(values["policy"]))
        assert policy["conditions"][-1] == ["content-length-range", 3, 3]
        assert client.sandbox.breaches == []


async def test_get_answers_as_the_contract_says() -> None:
    """The record as it was announced, without hash; with the bytes it is uploaded, and has their SHA-256."""
    async with sandboxed() as client:
        made = await client.create()
        before = (await client.ask("document.get", {"document_id": made.id}))["document"]
        assert {name: value for name, value in before.items() if not name.endswith("_at")} == {
            "document_id": made.id,
            "subject_record_id": "sr_1",
            "file_name": "a.pdf",
            "file_size": len(CONTENT),
            "upload_status": "PENDING",
            "hash": None,
            "comment": None,
            "uploaded_by": "api",
        }
        assert re.fullmatch(TIME, before["created_at"])
        await client.post(made.url, form(made.fields()))
        after = await client.final(made.id)
        assert (after["upload_status"], after["hash"]) == ("UPLOADED", hashlib.sha256(CONTENT).hexdigest())
        assert after["updated_at"] > before["updated_at"]


async def test_list_answers_as_the_contract_says() -> None:
    """The subject record's documents, without hash; a list that is empty is a success."""
    async with sandboxed() as client:
        assert await client.ask("document.list", {"subject_record_id": "sr_1"}) == {"documents": []}
        ids = [await client.upload(), await client.upload(name="b.png")]
        await client.upload(subject="sr_2")
        (first, second) = (await client.ask("document.list", {"subject_record_id": "sr_1"}))["documents"]
        assert [first["document_id"], second["document_id"]] == ids
        names = "document_id subject_record_id file_name file_size upload_status comment created_at updated_at"
        assert first.keys() == {*names.split(), "deleted_at"}
        assert first["deleted_at"] is None


async def test_required_documents_as_the_guide_shows_them() -> None:
    """What a workflow requires, each with its type code."""
    async with sandboxed() as client:
        found = (await client.ask("workflow.requiredDocument.list", {"workflow_id": "w_sandbox"}))["required_documents"]
        assert [each["document_type_code"] for each in found] == ["PASSPORT", "BANK_STATEMENT", "PROOF_OF_ADDRESS"]
        assert found[0] == {
            "required_document_id": PASSPORT,
            "document_type_code": "PASSPORT",
            "name": "Passport",
            "category": "REQUIREMENT",
            "requirement_text": "required by the sandbox",
            "required_document_status": "INACTIVE",
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
        }


async def test_batch_add_answers_as_the_guide_shows() -> None:
    """One document for several required ones: flat fulfillments, in order, that the list has then too."""
    async with sandboxed() as client:
        id_ = await client.upload()
        made = (await client.ask(LINK, link(id_, PASSPORT, STATEMENT)))["fulfillments"]
        assert [each["required_document_id"] for each in made] == [PASSPORT, STATEMENT]
        names = {"fulfillment_id", "required_document_id", "document_id", "decision_status", "created_at", "updated_at"}
        assert all(each.keys() == names for each in made)
        assert {(each["document_id"], each["decision_status"]) for each in made} == {(id_, "PENDING")}
        for each in made:
            body = {"required_document_id": each["required_document_id"]}
            assert await client.ask(FULFILLMENTS, body) == {"fulfillments": [each]}


async def test_results_per_item() -> None:
    """By switches: the vendor's docs' form of the batch's answer, its word for a new decision, a list of any name."""
    options = KompliantOptions(batch_form="items", batch_list="results", decision="NEEDS_REVIEW", status_delay=0)
    async with sandboxed(options=options) as client:
        id_ = await client.upload()
        body = link(id_, PASSPORT, "rd_none")
        good, bad = (await client.ask(LINK, body))["results"]
        assert (good["request"], good["status"]) == (body["fulfillments"][0], "SUCCESS")  # type: ignore[index]
        assert good["data"]["decision_status"] == "NEEDS_REVIEW"
        assert (bad["request"], bad["status"]) == (body["fulfillments"][1], "ERROR")  # type: ignore[index]
        assert bad["errors"][0]["code"] == "ENTITY_NOT_FOUND"


async def test_answers_without_envelope() -> None:
    """By a switch a success has neither ``meta`` nor ``data``, as the guide prints it; a failure has its envelope."""
    async with sandboxed(options=KompliantOptions(envelope=False)) as client:
        status, answer = await client.call("document.create", CREATE)
        assert (status, list(answer)) == (200, ["document"])
        status, answer = await client.call("document.get", {"document_id": "d_none"})
        assert status == 400
        check_refusal(answer, "ENTITY_NOT_FOUND")


async def test_filters_of_the_list() -> None:
    """By decision and by the document's upload status; what fits neither is left out."""
    async with sandboxed() as client:
        id_ = await client.upload()
        await client.final(id_)
        await client.ask(LINK, link(id_, PASSPORT))
        for filters, count in (
            ({}, 1),
            ({"decision_status": "PENDING"}, 1),
            ({"decision_status": "ACCEPTED"}, 0),
            ({"document_upload_status": "UPLOADED"}, 1),
            ({"decision_status": "PENDING", "document_upload_status": "PENDING"}, 0),
        ):
            body = {"required_document_id": PASSPORT, "filters": filters, "verbose": False}
            assert len((await client.ask(FULFILLMENTS, body))["fulfillments"]) == count


# --- who may call -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["Authorization", "X-API-Key", "X-API-Auth-Token"])
@pytest.mark.parametrize("value", [None, "wrong"])
async def test_each_call_is_signed(method: str, name: str, value: str | None) -> None:
    """Without the signature or one of the two keys, or with another, each method answers 401."""
    async with sandboxed() as client:
        headers = {each: given for each, given in client.signed.items() if each != name}
        headers |= {} if value is None else {name: value}
        status, answer = await client.call(method, METHODS[method], headers)
        assert status == 401
        check_refusal(answer, "UNAUTHORIZED")
        assert client.sandbox.kompliant.documents == []
        assert len(client.sandbox.breaches) == 1
        assert client.signed["X-API-Key"] not in str(client.sandbox.breaches)


async def test_the_signature_is_the_contracts() -> None:
    """HMAC-SHA256 of the API key by the decoded secret key: neither of another message, nor by the encoded key."""
    async with sandboxed() as client:
        environment = client.sandbox.environment()
        key, secret = (environment[f"BULKUP_KOMPLIANT_{name}"] for name in ("API_KEY", "SECRET_KEY"))
        assert len(base64.b64decode(secret)) == 33
        for digest, status in (
            (hmac.digest(base64.b64decode(secret), key.encode(), "sha256"), 200),
            (hmac.digest(secret.encode(), key.encode(), "sha256"), 401),
            (hmac.digest(base64.b64decode(secret), b"POST" + key.encode(), "sha256"), 401),
            (hmac.digest(base64.b64decode(secret), key.encode(), "sha512"), 401),
        ):
            signature = base64.b64encode(digest).decode()
            headers = client.signed | {"Authorization": f"KSig1-HMAC-SHA256 {signature}"}
            assert (await client.call("document.create", CREATE, headers))[0] == status
        bearer = client.signed | {
            "Authorization": client.signed["Authorization"].replace("KSig1-HMAC-SHA256", "Bearer")
        }
        assert (await client.call("document.create", CREATE, bearer))[0] == 401


async def test_signed_elements_are_verified() -> None:
    """A call that says that more is signed than is, is refused."""
    async with sandboxed() as client:
        headers = client.signed | {"X-API-Signed-Elements": "API-Key;Timestamp", "X-API-Timestamp": "1750000000"}
        assert (await client.call("document.create", CREATE, headers))[0] == 401


async def test_the_code_of_401_is_a_switch() -> None:
    """Its name is not published."""
    async with sandboxed(options=KompliantOptions(unauthorized_code="AUTH_FAILED")) as client:
        _, answer = await client.call("document.create", CREATE, {})
        check_refusal(answer, "AUTH_FAILED")


# --- what a call must be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("verb", ["GET", "PUT", "DELETE"])
async def test_always_post(method: str, verb: str) -> None:
    """Another HTTP method is answered 400, never 404 or 405."""
    async with sandboxed() as client:
        status, answer = await client.call(method, METHODS[method], verb=verb)
        assert status == 400
        check_refusal(answer, "BAD_REQUEST")
        assert len(client.sandbox.breaches) == 1


@pytest.mark.parametrize("method", ["document.delete", "documents", "", "document.create/x"])
async def test_unknown_method(method: str) -> None:
    """A method or path that isn't there is answered 400, not 404."""
    async with sandboxed() as client:
        status, answer = await client.call(method, CREATE)
        assert status == 400
        check_refusal(answer, "BAD_REQUEST")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_another_content_type(content_type: str | None) -> None:
    """A body that is not said to be JSON is answered 415."""
    async with sandboxed() as client:
        headers = {name: value for name, value in client.signed.items() if name != "Content-Type"}
        headers |= {} if content_type is None else {"Content-Type": content_type}
        assert (await client.call("document.create", CREATE, headers))[0] == 415


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'"x"', b"null"])
async def test_malformed_json(body: bytes) -> None:
    """A body that is no JSON object is answered 400."""
    async with sandboxed() as client:
        status, answer = await client.call("document.create", body)
        assert status == 400
        check_refusal(answer, "BAD_REQUEST")


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        ("document.create", {"subject_record_id": None}, "subject_record_id"),
        ("document.create", {"subject_record_id": 7}, "subject_record_id"),
        ("document.create", {"file_name": None}, "file_name"),
        ("document.create", {"file_name": ""}, "file_name"),
        ("document.create", {"file_name": 7}, "file_name"),
        ("document.create", {"file_name": "passport"}, "extension"),
        ("document.create", {"file_name": ".pdf"}, "extension"),
        ("document.create", {"file_name": "passport."}, "extension"),
        ("document.create", {"file_size_in_bytes": None}, "file_size_in_bytes"),
        ("document.create", {"file_size_in_bytes": "3"}, "file_size_in_bytes"),
        ("document.create", {"file_size_in_bytes": 3.0}, "file_size_in_bytes"),
        ("document.create", {"file_size_in_bytes": True}, "file_size_in_bytes"),
        ("document.create", {"file_size_in_bytes": -1}, "file_size_in_bytes"),
        ("document.create", {"content_type": PDF}, "content_type"),
        ("document.get", {"document_id": None}, "document_id"),
        ("document.get", {"document_id": ["d_1"]}, "document_id"),
        ("document.list", {"subject_record_id": None}, "subject_record_id"),
        ("document.list", {"page": 1}, "page"),
        ("workflow.requiredDocument.list", {"workflow_id": None}, "workflow_id"),
        (LINK, {"workflow_id": None}, "workflow_id"),
        (LINK, {"fulfillments": []}, "non-empty"),
        (LINK, {"fulfillments": {}}, "non-empty"),
        (LINK, {"fulfillments": [PASSPORT]}, "objects"),
        (LINK, {"fulfillments": [{"required_document_id": PASSPORT}]}, "fulfillments[0].document_id"),
        (LINK, {"fulfillments": [{"document_id": "d_1"}]}, "fulfillments[0].required_document_id"),
        (LINK, {"fulfillments": [{"document_id": 1, "required_document_id": PASSPORT}]}, "document_id"),
        (LINK, {"fulfillments": [{"document_id": "d_1", "required_document_id": PASSPORT, "note": ""}]}, "note"),
        (FULFILLMENTS, {"required_document_id": None}, "required_document_id"),
        (FULFILLMENTS, {"filters": "PENDING"}, "filters"),
        (FULFILLMENTS, {"filters": {"status": "PENDING"}}, "filters.status"),
        (FULFILLMENTS, {"filters": {"decision_status": 1}}, "filters"),
        (FULFILLMENTS, {"verbose": "no"}, "verbose"),
    ],
)
async def test_broken_rule(method: str, change: dict[str, object], words: str) -> None:
    """A body that lacks something, has something of another type, or something more, is answered 400: a breach."""
    async with sandboxed() as client:
        body = {name: value for name, value in {**METHODS[method], **change}.items() if value is not None}
        status, answer = await client.call(method, body)
        assert status == 400
        check_refusal(answer, "BAD_REQUEST", words)
        assert client.sandbox.kompliant.documents == []
        assert len(client.sandbox.breaches) == 1


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("document.create", {**CREATE, "subject_record_id": "none"}),
        ("document.get", {"document_id": "d_none"}),
        ("document.list", {"subject_record_id": "none"}),
        ("workflow.requiredDocument.list", {"workflow_id": "w_none"}),
        (LINK, {**METHODS[LINK], "workflow_id": "w_none"}),
        (FULFILLMENTS, {"required_document_id": "rd_none"}),
    ],
)
async def test_what_is_not_there(method: str, body: object) -> None:
    """A missing entity is 400 ENTITY_NOT_FOUND; to ask for it is no breach."""
    async with sandboxed() as client:
        status, answer = await client.call(method, body)
        assert status == 400
        check_refusal(answer, "ENTITY_NOT_FOUND", "none")
        assert client.sandbox.breaches == []


async def test_subject_records_can_be_named() -> None:
    """By a switch only these exist."""
    async with sandboxed(options=KompliantOptions(subjects=frozenset({"sr_7"}))) as client:
        assert (await client.call("document.create", CREATE))[0] == 400
        assert (await client.call("document.create", {**CREATE, "subject_record_id": "sr_7"}))[0] == 200


async def test_file_types_and_the_largest_size() -> None:
    """A type that isn't in the list, and by a switch a size above the largest, is answered 400; case doesn't matter."""
    async with sandboxed(options=KompliantOptions(extensions=frozenset({"pdf"}), max_size=3)) as client:
        status, answer = await client.call("document.create", {**CREATE, "file_name": "a.pdf.exe"})
        assert status == 400
        check_refusal(answer, "BAD_REQUEST", "DOCUMENT_FILE_TYPES")
        assert (await client.call("document.create", {**CREATE, "file_name": "A.PDF"}))[0] == 200
        assert (await client.call("document.create", {**CREATE, "file_size_in_bytes": 4}))[0] == 400
        assert len(client.sandbox.kompliant.documents) == 1
        assert client.sandbox.breaches == []
    async with sandboxed(options=KompliantOptions(extensions=None)) as client:
        assert (await client.call("document.create", {**CREATE, "file_name": "a.xyz"}))[0] == 200


# --- what comes of an upload ------------------------------------------------------------------------------------------


async def test_a_content_of_another_type_fails() -> None:
    """By a switch, a file that is not what its extension says fails after its 204."""
    async with sandboxed(options=KompliantOptions(check_type=True, status_delay=0)) as client:
        bad, good = await client.upload(b"GIF89a"), await client.upload()
        assert (await client.final(bad))["upload_status"] == "FAILED"
        assert (await client.final(good))["upload_status"] == "UPLOADED"


async def test_words_of_the_status_are_switches() -> None:
    """Before the bytes, while they are looked at, and after."""
    options = KompliantOptions(pending="NEW", processing="SCANNING", uploaded="AVAILABLE", status_delay=0.05)
    async with sandboxed(options=options) as client:
        made = await client.create()
        body = {"document_id": made.id}
        assert (await client.ask("document.get", body))["document"]["upload_status"] == "NEW"
        await client.post(made.url, form(made.fields()))
        assert (await client.ask("document.get", body))["document"]["upload_status"] == "SCANNING"
        assert (await client.final(made.id))["upload_status"] == "AVAILABLE"


@pytest.mark.parametrize(("before", "expected"), [("null", None), ("empty", ""), ("missing", "absent")])
async def test_the_hash_before_the_bytes(before: str, expected: str | None) -> None:
    """By a switch it is null, empty or not there."""
    options = KompliantOptions.model_validate({"hash_before": before})
    async with sandboxed(options=options) as client:
        made = await client.create()
        document = (await client.ask("document.get", {"document_id": made.id}))["document"]
        assert document.get("hash", "absent") == expected


async def test_the_encoding_of_the_hash() -> None:
    """By a switch it is in base64."""
    async with sandboxed(options=KompliantOptions(hash_encoding="base64", status_delay=0)) as client:
        document = await client.final(await client.upload())
        assert base64.b64decode(document["hash"]) == hashlib.sha256(CONTENT).digest()


async def test_faults_of_an_upload() -> None:
    """A fault plan makes the vendor report another hash, let the upload fail, or never come to an end, for a file."""
    rules = (
        Rule(kind="wrong_hash", match="hash.pdf"),
        Rule(kind="job_failed", match="failed.pdf"),
        Rule(kind="job_never", match="never.pdf"),
    )
    async with sandboxed(*rules) as client:
        never = await client.upload(name="never.pdf")
        assert (await client.final(await client.upload(name="failed.pdf")))["upload_status"] == "FAILED"
        wrong = await client.final(await client.upload(name="hash.pdf"))
        assert wrong["hash"] != hashlib.sha256(CONTENT).hexdigest()
        document = (await client.ask("document.get", {"document_id": never}))["document"]
        assert (document["upload_status"], document["hash"]) == ("PENDING", None)


# --- links ------------------------------------------------------------------------------------------------------------


def fulfilled(client: Client) -> list[str]:
    """The required documents that are fulfilled."""
    return [each.required for each in client.sandbox.kompliant.fulfillments]


@pytest.mark.parametrize(
    ("required", "document", "code", "words"),
    [
        ("rd_none", "", "ENTITY_NOT_FOUND", "rd_none"),
        ("rd_other_passport", "", "ENTITY_NOT_FOUND", "rd_other_passport"),
        (STATEMENT, "d_none", "ENTITY_NOT_FOUND", "d_none"),
        (STATEMENT, "foreign", "SYSTEM_RULE_VIOLATION", "another subject record"),
        (PASSPORT, "", "SYSTEM_RULE_VIOLATION", "duplicate"),
    ],
)
@pytest.mark.parametrize("batch_form", ["flat", "items"])
async def test_a_bad_item_takes_only_itself_out(
    batch_form: str, required: str, document: str, code: str, words: str
) -> None:
    """An unknown requirement, one of another workflow, an unknown or foreign document, a duplicate: in its result."""
    workflows = {"w_sandbox": ("sr_1", ("PASSPORT", "BANK_STATEMENT")), "w_other": ("sr_1", ("PASSPORT",))}
    given = {"workflows": workflows, "batch_form": batch_form, "status_delay": 0}
    async with sandboxed(options=KompliantOptions.model_validate(given)) as client:
        id_, foreign = await client.upload(), await client.upload(subject="sr_2")
        bad = {"required_document_id": required, "document_id": {"": id_, "foreign": foreign}.get(document, document)}
        body = link(id_, PASSPORT)
        body["fulfillments"] = [*body["fulfillments"], bad]  # type: ignore[misc]
        _, result = (await client.ask(LINK, body))["fulfillments"]
        assert (result["request"], result["status"]) == (bad, "ERROR")
        assert result["errors"][0]["code"] == code
        assert words in result["errors"][0]["message"]
        assert fulfilled(client) == [PASSPORT]
        assert client.sandbox.breaches == []


async def test_a_duplicate_of_an_earlier_call() -> None:
    """The same link in another call is refused, in words that are a switch."""
    async with sandboxed(options=KompliantOptions(duplicate="the pair is taken")) as client:
        id_ = await client.upload()
        await client.ask(LINK, link(id_, PASSPORT))
        (result,) = (await client.ask(LINK, link(id_, PASSPORT)))["fulfillments"]
        assert result["errors"] == [{"code": "SYSTEM_RULE_VIOLATION", "message": "the pair is taken"}]
        assert fulfilled(client) == [PASSPORT]


async def test_a_batch_that_is_refused_as_a_whole() -> None:
    """By a switch a bad item refuses the whole batch with 400, and nothing is linked."""
    async with sandboxed(options=KompliantOptions(refusals="batch")) as client:
        id_ = await client.upload()
        status, answer = await client.call(LINK, link(id_, PASSPORT, "rd_none"))
        assert status == 400
        check_refusal(answer, "ENTITY_NOT_FOUND", "rd_none")
        assert fulfilled(client) == []
        await client.ask(LINK, link(id_, PASSPORT))
        assert fulfilled(client) == [PASSPORT]


async def test_an_ended_workflow() -> None:
    """A workflow that has ended takes nothing: SYSTEM_RULE_VIOLATION with entity type and sub code."""
    async with sandboxed() as client:
        id_ = await client.upload()
        status, answer = await client.call(LINK, link(id_, "rd_ended_passport", workflow="w_ended"))
        assert status == 400
        error = check_refusal(answer, "SYSTEM_RULE_VIOLATION")
        assert (error["entity_type"], error["sub_code"]) == ("WORKFLOW", "WORKFLOW_ENDED")
        assert fulfilled(client) == []
        assert client.sandbox.breaches == []


# --- what the infrastructure answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [413, 415, 429, 503, 504])
@pytest.mark.parametrize("form_", ["text", "json", "empty"])
async def test_answers_of_the_infrastructure(status: int, form_: str) -> None:
    """They may lack a trace id, or be no JSON at all, by a switch."""
    options = KompliantOptions.model_validate({"infrastructure": form_, "throttled_code": "SLOW"})
    rule = Rule(kind="status", step="init", status=status, retry_after=1)
    async with sandboxed(rule, options=options) as client:
        given, answer = await client.call("document.create", CREATE)
        assert given == status
        if form_ == "json":
            assert answer["meta"].keys() == {"status", "version"}
            assert answer["errors"][0]["code"] == {429: "SLOW"}.get(status, answer["errors"][0]["code"])
        else:
            assert bool(answer) is (form_ == "text")


async def test_a_server_error_is_the_vendors_own() -> None:
    """500 has the failure envelope."""
    async with sandboxed(Rule(kind="status", step="get", status=500)) as client:
        status, answer = await client.call("document.get", {"document_id": "d_1"})
        assert status == 500
        check_refusal(answer, "INTERNAL_ERROR")


async def test_state_tells_the_truth() -> None:
    """Documents with the hash of what came, and where it is; fulfillments."""
    async with sandboxed() as client:
        id_ = await client.upload()
        empty = await client.create()
        await client.ask(LINK, link(id_, PASSPORT))
        async with client.http.get(f"{client.sandbox.url}/_sandbox/state") as answer:
            state = (await answer.json())["kompliant"]
        first, second = state["documents"]
        assert (first["id"], first["sha256"]) == (id_, hashlib.sha256(CONTENT).hexdigest())
        assert (second["id"], second["sha256"]) == (empty.id, None)
        assert [each["document_id"] for each in state["fulfillments"]] == [id_]
        params = {"key": first["key"]}
        async with client.http.get(f"{client.sandbox.url}/_sandbox/object", params=params) as answer:
            assert await answer.read() == CONTENT
