"""What people do with the database: set it up, look after it, try it. A Typer command line."""
