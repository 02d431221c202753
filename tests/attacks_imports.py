"""What attacked commands import, imported once."""
