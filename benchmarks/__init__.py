"""How much isolation, compression and rollups cost, and what they save: ratios, never seconds."""
