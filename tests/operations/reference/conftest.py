"""Databases at head without reference data, which these tests apply themselves."""

from __future__ import annotations

import pytest


@pytest.fixture
def database(migrated_database: str) -> str:
    return migrated_database
