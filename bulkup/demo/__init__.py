"""The sample archive of `bulkup demo`."""
