"""What the documentation says, held to what the project does."""
