"""What keeps a database in order: retention, purges, jobs, conversion to TimescaleDB."""
