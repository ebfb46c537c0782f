"""The JSON Schemas that editors use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bulkup.manifest.json_schema import manifest_schema, row_schema
from bulkup.providers import COLUMNS
from tests.vendors import CASES, Case

MANIFESTS = Path(__file__).parents[1] / "manifests"
ROWS = Draft202012Validator(manifest_schema(COLUMNS))


@pytest.mark.parametrize("name", [*COLUMNS, "manifest"])
def test_the_files_are_those_of_the_code(name: str) -> None:
    """What lies in ``manifests/schema`` is what ``bulkup schema`` prints, and a valid schema."""
    schema = row_schema(name, COLUMNS[name]) if name in COLUMNS else manifest_schema(COLUMNS)
    Draft202012Validator.check_schema(schema)
    assert json.loads((MANIFESTS / "schema" / f"{name}.json").read_text("utf-8")) == schema


@pytest.mark.parametrize("name", [*COLUMNS, "mixed"])
def test_examples_fit(name: str) -> None:
    """The JSON examples fit the schema of a manifest, and each row that of its kind."""
    rows = json.loads((MANIFESTS / f"{name}.json").read_text("utf-8"))
    ROWS.validate(rows)
    for row in rows:
        Draft202012Validator(row_schema(row["provider"], COLUMNS[row["provider"]])).validate(row)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_text_forms_fit_too(case: Case) -> None:
    """What a CSV cell says may stand in JSON as text."""
    ROWS.validate([{"path": "a.pdf", **case.row(1)}])


LOAN = {"path": "a", "provider": "loanpro", "section_id": "1", "loan_id": "2"}
KOMPLIANT = {"path": "a.pdf", "provider": "kompliant", "subject_record_id": "sr_1"}


@pytest.mark.parametrize(
    "row",
    [
        {"path": "a", "account_id": "1", "type": "t"},
        {"provider": "lightreach", "account_id": "1", "type": "t"},
        {"path": "a", "provider": "lightreech"},
        {"path": "a", "provider": "lightreach", "account_id": "1"},
        {"path": "a", "provider": "lightreach", "account_id": "1", "type": "t", "loan_id": "2"},
        {"path": "a", "provider": "alloy", "entity_token": "P", "type": "selfie"},
        LOAN | {"customer_id": "3"},
        LOAN | {"archived": "maybe"},
        KOMPLIANT | {"document_type_code": "PASSPORT"},
        {"path": "a", "provider": "auco", "email": "a@b", "name": "n", "subject": "s", "message": "m"},
        {"path": "a", "provider": "auco", "email": "a@b", "name": "n", "subject": "s", "message": "m"}
        | {"sign_profile": [{"name": "no address"}]},
    ],
)
def test_mistakes_are_seen_in_the_editor(row: Mapping[str, Any]) -> None:
    """A missing, unknown or wrong column does not fit."""
    assert not ROWS.is_valid([row])


def test_the_demo_is_the_mixed_example() -> None:
    """``make demo`` runs the manifest that lies in ``manifests`` for all five vendors."""
    demo = Path(__file__).parents[1] / "bulkup" / "demo" / "archive" / "manifest.csv"
    mixed = (MANIFESTS / "mixed.csv").read_text("utf-8")
    assert mixed.replace("../bulkup/demo/archive/", "") == demo.read_text("utf-8")
