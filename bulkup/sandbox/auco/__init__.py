"""The stand-in for Auco."""
