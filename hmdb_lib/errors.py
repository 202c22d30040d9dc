"""Define the error for what a user can mend, and the advice for a full disk."""

FREE_DISK = "free some of it (on Colab: the folder icon on the left; on Kaggle: Output in the panel on the right)"


class UserError(ValueError):
    """Bad input, told in one line: what, where, and what to do. Commands print it and exit with code 2."""

    def __init__(self, message: str = "") -> None:
        if message.startswith("Caught ") and "\n" in message:  # torch's loaders put a worker's traceback before it
            message = message.splitlines()[-1].partition(": ")[2]
        super().__init__(message)
