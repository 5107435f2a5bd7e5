"""Pages about the schema, made from the catalog of a migrated database.

Names, types, keys, rules, grants and policies are the server's; which page a table stands on, and
the words of introduction, are the models'. What differs between servers and editions though it
means the same (the text of views, chunks, the ledger) is left out, so that the pages are the same
wherever they are made.
"""
