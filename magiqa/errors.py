"""The one exception for what a user can get wrong."""


class UserError(ValueError):
    """A mistake that its reader can mend: names the file or field, says what is wrong and the remedy.

    The command line prints the message on one line and exits with code 2.
    """


class UnreadableImage(UserError):
    """An image file that is missing, empty, truncated or no image: ``on_error=skip`` lists it and goes on."""
