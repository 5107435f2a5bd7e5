"""What people do with the database: set it up, try it, run it. A Typer command line."""
