"""The one kind of error that a user can cause, and what to click against the commonest one."""

FREE_DISK = "free some of it (on Colab: the folder icon on the left; on Kaggle: Output in the panel on the right)"


class UserError(ValueError):
    """Bad input, told in one line: what, where, and what to do. Commands print it and exit with code 2."""
