"""``python -m bulkup``."""

from bulkup.cli import main

main()
