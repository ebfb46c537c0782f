"""The object store behind the stand-ins' signed URLs."""
