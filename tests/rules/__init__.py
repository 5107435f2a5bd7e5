"""The rules that every object of the database keeps, one in a file.

They read the catalog of a migrated database, so they hold for whatever created an object: a model,
a revision edited by hand, an operator. A file has a docstring (the rule, then its reason) and a
``RULE``: the query for what breaks it, what was expected, how to fix it, and examples that prove
that the query finds what it should and nothing else. ``test_rules.py`` runs them all.

The rules of this kind for models, which fail earlier, are in tests/models (test_conventions,
test_columns, test_access).
"""
