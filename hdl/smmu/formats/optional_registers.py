"""IHI 0070 chapter 6: the fields of registers of features that this core does not have."""

from amaranth.lib import data

from smmu.formats.control_registers import (
    EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD, IRQ_CFG0, IRQ_CFG1,
)

__all__ = [
    "PRIQ_BASE", "PRIQ_PROD", "PRIQ_CONS", "PRIQ_IRQ_CFG0", "PRIQ_IRQ_CFG1", "PRIQ_IRQ_CFG2",
    "GATOS_CTRL", "GATOS_SID", "GATOS_ADDR", "GATOS_PAR", "VATOS_SEL",
]


class PRIQ_BASE(EVENTQ_BASE):
    """Page request queue address and size."""


class PRIQ_PROD(EVENTQ_PROD):
    """Page request queue producer index and overflow flag."""


class PRIQ_CONS(EVENTQ_CONS):
    """Page request queue consumer index and acknowledge of the overflow."""


class PRIQ_IRQ_CFG0(IRQ_CFG0):
    """Address of the MSI of the page request queue."""


class PRIQ_IRQ_CFG1(IRQ_CFG1):
    """Data of the MSI of the page request queue."""


class PRIQ_IRQ_CFG2(data.Struct):
    """Attributes of the MSI of the page request queue."""

    MemAttr: 4
    SH:      2
    _res6:   25
    LO:      1  # 1: interrupt for each Last, 0: when the queue was empty


class GATOS_CTRL(data.Struct):
    """Address translation operation: start."""

    RUN:   1
    _res1: 31


class GATOS_SID(data.Struct):
    """Address translation operation: stream."""

    STREAMID:    32
    SUBSTREAMID: 20
    SSID_VALID:  1
    _res53:      11


class GATOS_ADDR(data.Struct):
    """Address translation operation: address."""

    _res0: 6
    HTTUI: 1
    InD:   1
    RnW:   1
    PnU:   1
    TYPE:  2   # 1 stage 1, 2 stage 2, 3 both
    ADDR:  52  # address[63:12]


class GATOS_PAR(data.Struct):
    """Address translation operation: result, as it is when FAULT is 0."""

    FAULT:  1
    _res1:  7
    SH:     2
    _res10: 1
    Size:   1
    ADDR:   44  # address[55:12]
    ATTR:   8


class VATOS_SEL(data.Struct):
    """VMID that may use the VATOS page."""

    VMID:   16
    _res16: 16
