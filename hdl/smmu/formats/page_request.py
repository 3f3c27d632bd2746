"""IHI 0070 chapter 8: entries of the page request queue, 16 bytes each."""

from amaranth.lib import data

__all__ = ["PageRequest"]


class PageRequest(data.Struct):
    """PRI queue entry."""

    StreamID:    32
    SubstreamID: 20
    _res52:      6
    Priv:        1
    X:           1
    R:           1
    W:           1
    Last:        1
    SSV:         1
    PRGIndex:    9
    _res73:      3
    Address:     52  # address[63:12]
