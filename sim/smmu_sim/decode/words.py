"""Words of a structure as people give them: arguments, or a file."""

import string
import sys
from pathlib import Path

__all__ = ["FORMATS", "WordsError", "hexadecimal", "read_words"]

FORMATS = ("auto", "text", "binary")
_TEXT = set(string.printable.encode())


class WordsError(ValueError):
    """A value that is no word of the structure. The message names it and what was expected."""


def hexadecimal(text, bits, where):
    """Return the number that ``text`` holds: hexadecimal digits, ``0x`` and ``_`` as one likes.

    Raises :exc:`WordsError` if it is none, or has more than ``bits``. ``where`` completes
    "... in <where>".
    """
    digits = text.replace("_", "")
    digits = digits[2:] if digits[:2] in ("0x", "0X") else digits
    if not digits or set(digits) - set(string.hexdigits):
        raise WordsError(f"{text!r} in {where}: expected a hexadecimal number")
    number = int(digits, 16)
    if number >> bits:
        raise WordsError(f"{text!r} in {where}: expected at most {bits} bits "
                         f"({-(-bits // 4)} digits), it has {number.bit_length()}")
    return number


def read_words(values, size, *, what, width=64, fmt="auto"):
    """Return the structures that ``values`` hold, as integers.

    Parameters
    ----------
    values
        Words, the low one first, missing ones 0; or one number longer than a word, which is the
        whole structure; or ``@FILE``, which may hold several structures (``@-``: standard input).
        A path that can't be a number needs no ``@``.
    size, what
        The structure: its bits and its name.
    width
        Bits of a word, 32 or 64.
    fmt
        What a file holds: one of ``FORMATS``; ``auto`` takes what is all digits for text.

    Raises :exc:`WordsError`.
    """
    most = max(1, size // width)
    if not values:
        raise WordsError(f"no value: expected up to {most} words of {width} bits for {what}")
    files = [value for value in values if value.startswith("@") or _is_path(value)]
    if files:
        if len(values) > 1:
            raise WordsError(f"{' '.join(values)!r}: expected {files[0]} alone, if it is a file")
        return _from_file(values[0].removeprefix("@"), size, what, width, fmt)
    if len(values) == 1:
        return [hexadecimal(values[0], size, f"{what} of {size} bits")]
    if len(values) > most:
        raise WordsError(f"{len(values)} words: expected at most {most} of {width} bits for {what}")
    return [_join([hexadecimal(value, width, f"word {n} of {what}")
                   for n, value in enumerate(values)], width)]


def _is_path(value):
    """Whether a value names a file: it has a separator or a suffix, or is one and no number."""
    return bool(set(value) & {"/", "."} or set(value) - set(string.hexdigits + "xX_")
                and Path(value).is_file())


def _join(words, width):
    return sum(word << width * n for n, word in enumerate(words))


def _from_file(name, size, what, width, fmt):
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise WordsError(f"{name}: {error.strerror}") from None
    if not content:
        raise WordsError(f"{name} is empty: expected {what}")
    if fmt == "binary" or fmt == "auto" and set(content) - _TEXT:
        return _structures(list(content), size // 8, 8, what, f"{name} (binary)", "bytes")
    words = []
    for number, line in enumerate(content.decode("ascii", "replace").splitlines(), 1):
        line = line.partition("#")[0].rpartition(":")[2]  # an address before the words is skipped
        words += [hexadecimal(word, width, f"{name}, line {number}")
                  for word in line.replace(",", " ").split()]
    if not words:
        raise WordsError(f"{name} has no words: expected {what}")
    return _structures(words, max(1, size // width), width, what, name, f"words of {width} bits")


def _structures(items, count, width, what, name, unit):
    """Join each ``count`` items; one structure may lack items at its end, several may not."""
    if len(items) > count and len(items) % count:
        raise WordsError(f"{name} has {len(items)} {unit}: expected a multiple of {count}, "
                         f"the size of {what}")
    return [_join(items[start:start + count], width) for start in range(0, len(items), count)]
