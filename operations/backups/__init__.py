"""Backups of a database: made, rotated, restored, and proved by a drill."""
