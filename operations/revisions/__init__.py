"""Tools for the revision files: lint and release."""
