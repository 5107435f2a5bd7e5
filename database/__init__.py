"""How to reach a database: settings, engine, embedded server, readiness, edition, tenancy."""
