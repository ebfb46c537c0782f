"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Ledger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        "-l",
        help="The results ledger: a SQLite file, or postgresql://HOST/DATABASE.",
        show_default="bulkup.db",
    ),
]
