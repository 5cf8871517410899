"""The one exception for what a user can get wrong."""


class UserError(ValueError):
    """A mistake that its reader can mend: names the file or field, says what is wrong and the remedy.

    The command line prints the message on one line and exits with code 2.
    """


class UnreadableImage(UserError):
    """An image file that is missing, empty, truncated or no image: ``on_error=skip`` lists it and goes on."""


def users_mistake(error: BaseException) -> UserError | None:
    """The user's mistake behind an error, where there is one."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return cause


def one_line(error: BaseException) -> str:
    """An error's message on one line; the user's mistake behind a Hydra error where there is one."""
    mistake = users_mistake(error)
    text = " ".join(str(mistake or error).split())
    return text if mistake is not None or text else type(error).__name__
