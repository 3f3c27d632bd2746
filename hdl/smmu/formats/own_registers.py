"""The fields of the implementation-defined frame."""

from amaranth.lib import data

__all__ = [
    "IMP_ID", "IMP_VERSION", "REMAP_COUNT", "REMAP_CTRL", "REMAP_STREAMID", "REMAP_IPA",
    "REMAP_DOORBELL", "COUNTER",
]


class IMP_ID(data.Struct):
    """Identifies the implementation-defined frame."""

    VALUE: 32


class IMP_VERSION(data.Struct):
    """Version of the implementation-defined frame."""

    VALUE: 32


class REMAP_COUNT(data.Struct):
    """Number of MSI doorbell remap entries."""

    VALUE: 32


class REMAP_CTRL(data.Struct):
    """MSI doorbell remap control."""

    ENABLE: 1
    BUSY:   1  # RO
    _res2:  30


class REMAP_STREAMID(data.Struct):
    """Remap entry: whose doorbell. A write commits the entry."""

    StreamID: 32
    _res32:   31
    V:        1


class REMAP_IPA(data.Struct):
    """Remap entry: the page at which stage 2 would see the doorbell."""

    _res0:  12
    IPA:    44  # address[55:12]
    _res56: 8


class REMAP_DOORBELL(data.Struct):
    """Remap entry: the physical doorbell."""

    _res0:  2
    ADDR:   54  # address[55:2]
    _res56: 8


class COUNTER(data.Struct):
    """Counter of the implementation-defined frame."""

    VALUE: 64
