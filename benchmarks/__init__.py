"""The cost and the savings of isolation, compression and rollups: ratios, not seconds."""
