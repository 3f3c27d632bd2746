"""What can go wrong before and beside the boot, as told to the user."""

__all__ = ["LiveError"]


class LiveError(Exception):
    """A live run cannot start or go on; the text says why, and what to do."""
