"""The stand-in for Kompliant."""
