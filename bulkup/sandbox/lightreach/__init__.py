"""The stand-in for Palmetto LightReach (documents v2)."""
