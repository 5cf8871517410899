"""The one exception for what a user can get wrong, and text from files as it may be shown."""

import re
from collections.abc import Collection, Sequence


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


BOLD, PLAIN = "\x1b[1m", "\x1b[0m"

# what moves a terminal's cursor, changes its title or the direction of text, or cannot be encoded
_UNPRINTABLE = re.compile(
    "\x1b\\[[01]m|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)


def printable(text: str, kept: Collection[str] = ()) -> str:
    r"""Return text for a terminal, with an escape for each character that is not visible, a tab or a line end.

    Args:
        kept: characters, or `BOLD` and `PLAIN`, that stay as they are.

    Example:
        >>> print(printable("name\x1b[2J.png"))
        name\x1b[2J.png
    """

    def escaped(match: re.Match[str]) -> str:
        return match[0] if match[0] in kept else match[0].encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escaped, text)


def some(items: Sequence[str], separator: str = ", ") -> str:
    """Join the first five items, and say how many more there are."""
    more = f" and {len(items) - 5} more" if len(items) > 5 else ""
    return separator.join(items[:5]) + more
