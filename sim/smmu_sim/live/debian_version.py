"""Order of version numbers of Debian packages."""

import re

__all__ = ["version_key"]


def version_key(version):
    """Return a key that sorts versions as Debian's policy (5.6.12) orders them.

    ``[epoch:]upstream[-revision]``; in each part, text and numbers alternate, letters come before
    other characters, and ``~`` before everything, even the end.
    """
    epoch, colon, rest = version.rpartition(":")
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return int(epoch) if colon else 0, _part_key(upstream), _part_key(revision)


def _part_key(part):
    # The empty match at the end is the end of the part, which has an order of its own.
    return [([_rank(character) for character in text] + [0], int(number or 0))
            for text, number in re.findall(r"(\D*)(\d*)", part)]


def _rank(character):
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 0x100
