"""IHI 0070 chapter 6: the fields of the control, queue and interrupt registers."""

from amaranth.lib import data

__all__ = [
    "CR0", "CR0ACK", "CR1", "CR2", "STATUSR", "GBPA", "IRQ_CTRL", "IRQ_CTRLACK", "GERROR",
    "GERRORN", "IRQ_CFG0", "IRQ_CFG1", "IRQ_CFG2", "STRTAB_BASE", "STRTAB_BASE_CFG", "CMDQ_BASE",
    "CMDQ_PROD", "CMDQ_CONS", "EVENTQ_BASE", "EVENTQ_PROD", "EVENTQ_CONS", "GERROR_IRQ_CFG0",
    "GERROR_IRQ_CFG1", "GERROR_IRQ_CFG2", "EVENTQ_IRQ_CFG0", "EVENTQ_IRQ_CFG1", "EVENTQ_IRQ_CFG2",
]


class CR0(data.Struct):
    """Enables."""

    SMMUEN:      1
    PRIQEN:      1
    EVENTQEN:    1
    CMDQEN:      1
    ATSCHK:      1
    _res5:       1
    VMW:         3
    _res9:       1
    DPT_WALK_EN: 1
    _res11:      21


class CR0ACK(CR0):
    """Enables that have taken effect."""


class CR1(data.Struct):
    """Attributes of the SMMU's own accesses. Cacheability: 0 NC, 1 WB, 2 WT."""

    QUEUE_IC: 2
    QUEUE_OC: 2
    QUEUE_SH: 2
    TABLE_IC: 2
    TABLE_OC: 2
    TABLE_SH: 2
    _res12:   20


class CR2(data.Struct):
    """Behaviour that is set before SMMUEN."""

    E2H:         1
    RECINVSID:   1  # 1: C_BAD_STREAMID is recorded
    PTM:         1
    REC_CFG_ATS: 1
    _res4:       28


class STATUSR(data.Struct):
    """Dormant hint."""

    DORMANT: 1
    _res1:   31


class GBPA(data.Struct):
    """What happens to a transaction while SMMUEN is 0. Fields as in the STE."""

    MemAttr:  4
    MTCFG:    1
    _res5:    3
    ALLOCCFG: 4
    SHCFG:    2
    _res14:   2
    PRIVCFG:  2
    INSTCFG:  2
    ABORT:    1
    _res21:   10
    Update:   1


class IRQ_CTRL(data.Struct):
    """Interrupt enables."""

    GERROR_IRQEN: 1
    PRIQ_IRQEN:   1
    EVENTQ_IRQEN: 1
    _res3:        29


class IRQ_CTRLACK(IRQ_CTRL):
    """Interrupt enables that have taken effect."""


class GERROR(data.Struct):
    """Global errors. One is active while its bit differs from that of GERRORN."""

    CMDQ_ERR:           1
    _res1:              1
    EVENTQ_ABT_ERR:     1
    PRIQ_ABT_ERR:       1
    MSI_CMDQ_ABT_ERR:   1
    MSI_EVENTQ_ABT_ERR: 1
    MSI_PRIQ_ABT_ERR:   1
    MSI_GERROR_ABT_ERR: 1
    SFM_ERR:            1
    CMDQP_ERR:          1
    DPT_ERR:            1
    _res11:             21


class GERRORN(GERROR):
    """Acknowledged global errors."""


class IRQ_CFG0(data.Struct):
    """Address of an MSI. 0: no MSI."""

    _res0:  2
    ADDR:   54  # address[55:2]
    _res56: 8


class IRQ_CFG1(data.Struct):
    """Data of an MSI."""

    DATA: 32


class IRQ_CFG2(data.Struct):
    """Attributes of an MSI."""

    MemAttr: 4  # stage 2 memory attribute code
    SH:      2
    _res6:   26


class STRTAB_BASE(data.Struct):
    """Stream table address."""

    _res0:  6
    ADDR:   50  # address[55:6]
    _res56: 6
    RA:     1
    _res63: 1


class STRTAB_BASE_CFG(data.Struct):
    """Stream table size and format."""

    LOG2SIZE: 6
    SPLIT:    5  # 6, 8 or 10; others act as 6
    _res11:   5
    FMT:      2  # 0 linear, 1 2-level, others act as 0
    _res18:   14


class CMDQ_BASE(data.Struct):
    """Command queue address and size."""

    LOG2SIZE: 5
    ADDR:     51  # address[55:5]
    _res56:   6
    RA:       1
    _res63:   1


class CMDQ_PROD(data.Struct):
    """Command queue producer index, with the wrap bit at LOG2SIZE."""

    WR:     20
    _res20: 12


class CMDQ_CONS(data.Struct):
    """Command queue consumer index and error."""

    RD:     20
    _res20: 4
    ERR:    7  # CERROR
    _res31: 1


class EVENTQ_BASE(data.Struct):
    """Event queue address and size."""

    LOG2SIZE: 5
    ADDR:     51  # address[55:5]
    _res56:   6
    WA:       1
    _res63:   1


class EVENTQ_PROD(data.Struct):
    """Event queue producer index and overflow flag."""

    WR:     20
    _res20: 11
    OVFLG:  1


class EVENTQ_CONS(data.Struct):
    """Event queue consumer index and acknowledge of the overflow."""

    RD:       20
    _res20:   11
    OVACKFLG: 1


class GERROR_IRQ_CFG0(IRQ_CFG0):
    """Address of the MSI of global errors."""


class GERROR_IRQ_CFG1(IRQ_CFG1):
    """Data of the MSI of global errors."""


class GERROR_IRQ_CFG2(IRQ_CFG2):
    """Attributes of the MSI of global errors."""


class EVENTQ_IRQ_CFG0(IRQ_CFG0):
    """Address of the MSI of the event queue."""


class EVENTQ_IRQ_CFG1(IRQ_CFG1):
    """Data of the MSI of the event queue."""


class EVENTQ_IRQ_CFG2(IRQ_CFG2):
    """Attributes of the MSI of the event queue."""
