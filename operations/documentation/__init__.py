"""Pages about the schema, made from the catalog of a migrated database.

Names, types, keys, rules, grants and policies come from the server; the domain of a table and the
introductions come from the models. What differs between servers and editions although it means
the same (the text of views, chunks, pending operations) is left out, so that every server gives
the same pages.
"""
