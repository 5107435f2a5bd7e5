"""What functions in PL/pgSQL have in common."""

from __future__ import annotations

PLPGSQL_SETTINGS = {"search_path": "pg_catalog, pg_temp"}
"""The search_path of functions with a text body. It contains none of our schemas, so that no role
can create an object that the function would use instead of ours."""
