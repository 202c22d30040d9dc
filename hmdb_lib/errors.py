"""Define the error for what a user can mend, and advice for a full disk and for a hub that refuses."""

import difflib
from collections.abc import Iterable

FREE_DISK = "free some of it (on Colab: the folder icon on the left; on Kaggle: Output in the panel on the right)"


class UserError(ValueError):
    """Bad input, told in one line: what, where, and what to do. Commands print it and exit with code 2."""

    def __init__(self, message: str = "") -> None:
        if message.startswith("Caught ") and "\n" in message:  # torch's loaders put a worker's traceback before it
            message = message.splitlines()[-1].partition(": ")[2]
        super().__init__(message)


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.0) -> str:
    """Say which known name is most like another; nothing where none is as like as that, from 0 to 1."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=likeness)
    return f", did you mean {nearest[0]}?" if nearest else ""


def hub_reason(error: BaseException) -> str:
    """Say in one line why the Hugging Face hub gave or took nothing, and what to do; whatever library raised `error`."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    answers = [each for each in chain if getattr(each, "response", None) is not None]
    if not answers:
        if type(error).__name__ == "LocalTokenNotFoundError":
            return "no token; log in with hf auth login, or set HF_TOKEN"
        last = next((line for each in reversed(chain) for line in str(each).splitlines()), type(error).__name__)
        return f"it cannot be reached: {last}; is there internet? On Kaggle: Settings > Internet on"
    status = answers[0].response.status_code  # pyright: ignore[reportAttributeAccessIssue]
    told = " ".join((getattr(answers[0], "server_message", None) or str(answers[0]).partition("\n")[0]).split())
    advice = {
        401: "log in with hf auth login, or set HF_TOKEN to a token that is still valid",
        403: "the token may not do that: it needs the right to write, to repositories of your own or of your groups",
        404: "is the name right? A private one needs hf auth login, or HF_TOKEN",
    }
    return f"it answers {status}, {told}; {advice.get(status, 'try again later')}"
