"""Reading a manifest: a stream of rows, each valid or with all that is wrong with it. No network, no ledger.

The flow is the order of the files: `source` opens the bytes, `table` (CSV, TSV) and `objects` (JSON, JSON lines) make
records of them, `schema` knows the columns, `check` makes a row of a record. Nothing here knows a vendor: the kinds of
columns come in as an argument.

What is wrong with the manifest is an answer, not an exception: `Invalid` rows and `Complaint` about the whole file.
"""

from bulkup.manifest.check import parse
from bulkup.manifest.reader import read

__all__ = ["parse", "read"]
