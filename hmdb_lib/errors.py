"""The one kind of error that a user can cause."""


class UserError(ValueError):
    """Bad input, told in one line: what, where, and what to do. Commands print it and exit with code 2."""
