"""AXI4 codes and the meaning of the user signals of this core's ports."""

from amaranth.lib import data, enum

__all__ = ["Burst", "Resp", "UntranslatedUser", "TranslatedUser", "TableUser", "AxPROT", "AxCACHE",
           "TABLE_PROT"]


class Burst(enum.IntEnum, shape=2):
    """AxBURST. 3 is reserved."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Resp(enum.IntEnum, shape=2):
    """xRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class AxPROT(data.Struct):
    """AxPROT. Bit 1 passes as it came and is never interpreted."""

    privileged:  1
    nonsecure:   1
    instruction: 1


TABLE_PROT = 0b011  # what the table master sends: privileged, non-secure, data


class AxCACHE(enum.IntEnum, shape=4):
    """AxCACHE of the types without allocation hints."""

    DEVICE_nGnRnE = 0b0000
    DEVICE = 0b0001
    NORMAL_NC = 0b0011


class UntranslatedUser(data.Struct):
    """``s<n>_axi_awuser`` and ``aruser``: AMBA's untranslated-transaction signals."""

    StreamID:    32  # AxMMUSID
    SubstreamID: 20  # AxMMUSSID
    SSV:         1   # AxMMUSSIDV
    ATST:        1   # AxMMUATST: the address is already translated
    SH:          2   # incoming shareability


class TranslatedUser(data.Struct):
    """``m<n>_axi_awuser`` and ``aruser``."""

    DeviceID: 32  # the StreamID, for the interrupt controller
    MSI:      1   # this write goes to an MSI doorbell
    SH:       2   # shareability that the translation yielded


class TableUser(data.Struct):
    """``m_axi_tbl_awuser`` and ``aruser``."""

    SH: 2  # shareability
