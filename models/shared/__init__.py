"""What the models of all domains share."""
