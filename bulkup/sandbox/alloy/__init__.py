"""The stand-in for Alloy."""
