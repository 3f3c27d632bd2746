"""The register table: IHI 0070 chapter 6, non-secure page 0 and page 1, and this core's own frame.

Offsets are those of the register slave: page 1 at 0x10000, the implementation-defined frame at
0x40000. Decoder, driver, ``REGISTERS.md`` and the C header derive from this table.
"""

from dataclasses import dataclass

from smmu.formats import control_registers, id_registers, optional_registers, own_registers
from smmu.formats.control_registers import *
from smmu.formats.core import bits, fields, pack
from smmu.formats.descriptors import SIZE_CODES
from smmu.formats.id_registers import *
from smmu.formats.optional_registers import *
from smmu.formats.own_registers import *

__all__ = [
    "Register", "REGISTERS", "OPTIONAL", "BY_NAME", "COUNTERS", "PAGE1", "OWN_FRAME",
    "implemented", "absent", "id_values", "write_mask",
    *control_registers.__all__, *id_registers.__all__, *optional_registers.__all__,
    *own_registers.__all__,
]

PAGE1 = 0x1_0000
OWN_FRAME = 0x4_0000

# IIDR and PIDR. No JEP106 code belongs to this project, so the designer is 0.
PRODUCT_ID = 0x53D
REVISION = 0

# Counters of the implementation-defined frame, in their order.
COUNTERS = [
    "transactions", "utlb_hit", "utlb_miss", "tlb_hit", "tlb_miss", "cfg_hit", "cfg_miss",
    "s1_walk_cache_hit", "s1_walk_cache_miss", "s2_walk_cache_hit", "s2_walk_cache_miss",
    "table_reads", "faults",
]


@dataclass(frozen=True)
class Register:
    """One register, or one array of registers.

    ``access`` is ``"RO"`` or ``"RW"``; ``reset`` is None for a value that the build decides
    (:func:`id_values`). ``guard`` tells when a write is not ignored. ``feature`` is the ID field
    without which the register is RES0. An array has ``count`` registers (a number, or the name of
    the parameter that holds it), ``stride`` bytes apart.
    """

    name: str
    offset: int
    struct: type
    access: str
    reset: int | None = 0
    guard: str = ""
    feature: str = ""
    count: int | str = 1
    stride: int = 0

    @property
    def width(self):
        """Size in bits, 32 or 64."""
        return bits(self.struct)

    def at(self, index):
        """Return the offset of register ``index`` of the array."""
        return self.offset + index * self.stride

    def copies(self, params):
        """Return how many registers the array has in this build."""
        return getattr(params, self.count) if isinstance(self.count, str) else self.count


def _ro(name, offset, struct, reset=None, **more):
    return Register(name, offset, struct, "RO", reset, **more)


def _rw(name, offset, struct, guard="", reset=0, **more):
    return Register(name, offset, struct, "RW", reset, guard, **more)


REGISTERS = [
    _ro("IDR0", 0x000, IDR0),
    _ro("IDR1", 0x004, IDR1),
    _ro("IDR2", 0x008, IDR2),
    _ro("IDR3", 0x00C, IDR3),
    _ro("IDR4", 0x010, IDR4),
    _ro("IDR5", 0x014, IDR5),
    _ro("IIDR", 0x018, IIDR),
    _ro("AIDR", 0x01C, AIDR),
    _rw("CR0", 0x020, CR0),
    _ro("CR0ACK", 0x024, CR0ACK, reset=0),
    _rw("CR1", 0x028, CR1, "TABLE_*: SMMUEN=0; QUEUE_*: CMDQEN=EVENTQEN=PRIQEN=0"),
    _rw("CR2", 0x02C, CR2, "SMMUEN=0"),
    _ro("STATUSR", 0x040, STATUSR, reset=0),
    _rw("GBPA", 0x044, GBPA, "Update=0, and Update=1 in the data", pack(GBPA, {"SHCFG": 1})),
    _rw("IRQ_CTRL", 0x050, IRQ_CTRL),
    _ro("IRQ_CTRLACK", 0x054, IRQ_CTRLACK, reset=0),
    _ro("GERROR", 0x060, GERROR, reset=0),
    _rw("GERRORN", 0x064, GERRORN),
    _rw("GERROR_IRQ_CFG0", 0x068, GERROR_IRQ_CFG0, "GERROR_IRQEN=0", feature="MSI"),
    _rw("GERROR_IRQ_CFG1", 0x070, GERROR_IRQ_CFG1, "GERROR_IRQEN=0", feature="MSI"),
    _rw("GERROR_IRQ_CFG2", 0x074, GERROR_IRQ_CFG2, "GERROR_IRQEN=0", feature="MSI"),
    _rw("STRTAB_BASE", 0x080, STRTAB_BASE, "SMMUEN=0"),
    _rw("STRTAB_BASE_CFG", 0x088, STRTAB_BASE_CFG, "SMMUEN=0"),
    _rw("CMDQ_BASE", 0x090, CMDQ_BASE, "CMDQEN=0"),
    _rw("CMDQ_PROD", 0x098, CMDQ_PROD),
    _rw("CMDQ_CONS", 0x09C, CMDQ_CONS, "CMDQEN=0"),
    _rw("EVENTQ_BASE", 0x0A0, EVENTQ_BASE, "EVENTQEN=0"),
    _rw("EVENTQ_IRQ_CFG0", 0x0B0, EVENTQ_IRQ_CFG0, "EVENTQ_IRQEN=0", feature="MSI"),
    _rw("EVENTQ_IRQ_CFG1", 0x0B8, EVENTQ_IRQ_CFG1, "EVENTQ_IRQEN=0", feature="MSI"),
    _rw("EVENTQ_IRQ_CFG2", 0x0BC, EVENTQ_IRQ_CFG2, "EVENTQ_IRQEN=0", feature="MSI"),
    _ro("PIDR4", 0xFD0, PIDR),
    _ro("PIDR5", 0xFD4, PIDR),
    _ro("PIDR6", 0xFD8, PIDR),
    _ro("PIDR7", 0xFDC, PIDR),
    _ro("PIDR0", 0xFE0, PIDR),
    _ro("PIDR1", 0xFE4, PIDR),
    _ro("PIDR2", 0xFE8, PIDR),
    _ro("PIDR3", 0xFEC, PIDR),
    _ro("CIDR0", 0xFF0, CIDR),
    _ro("CIDR1", 0xFF4, CIDR),
    _ro("CIDR2", 0xFF8, CIDR),
    _ro("CIDR3", 0xFFC, CIDR),
    _rw("EVENTQ_PROD", PAGE1 + 0x0A8, EVENTQ_PROD, "EVENTQEN=0"),
    _rw("EVENTQ_CONS", PAGE1 + 0x0AC, EVENTQ_CONS),
    _ro("IMP_ID", OWN_FRAME + 0x0000, IMP_ID),
    _ro("IMP_VERSION", OWN_FRAME + 0x0004, IMP_VERSION),
    _ro("REMAP_COUNT", OWN_FRAME + 0x0008, REMAP_COUNT),
    _rw("REMAP_CTRL", OWN_FRAME + 0x000C, REMAP_CTRL),
    _rw("REMAP_STREAMID", OWN_FRAME + 0x1000, REMAP_STREAMID, count="remap_entries", stride=32),
    _rw("REMAP_IPA", OWN_FRAME + 0x1008, REMAP_IPA, count="remap_entries", stride=32),
    _rw("REMAP_DOORBELL", OWN_FRAME + 0x1010, REMAP_DOORBELL, count="remap_entries", stride=32),
    _ro("COUNTER", OWN_FRAME + 0x2000, COUNTER, reset=0, count=len(COUNTERS), stride=8),
]

# Registers of features that no build of this version has: they read as zero and ignore writes.
OPTIONAL = [
    _rw("PRIQ_BASE", 0x0C0, PRIQ_BASE, "PRIQEN=0", feature="PRI"),
    _rw("PRIQ_IRQ_CFG0", 0x0D0, PRIQ_IRQ_CFG0, "PRIQ_IRQEN=0", feature="PRI"),
    _rw("PRIQ_IRQ_CFG1", 0x0D8, PRIQ_IRQ_CFG1, "PRIQ_IRQEN=0", feature="PRI"),
    _rw("PRIQ_IRQ_CFG2", 0x0DC, PRIQ_IRQ_CFG2, "PRIQ_IRQEN=0", feature="PRI"),
    _rw("GATOS_CTRL", 0x100, GATOS_CTRL, "RUN=0", feature="ATOS"),
    _rw("GATOS_SID", 0x108, GATOS_SID, "RUN=0", feature="ATOS"),
    _rw("GATOS_ADDR", 0x110, GATOS_ADDR, "RUN=0", feature="ATOS"),
    _ro("GATOS_PAR", 0x118, GATOS_PAR, reset=0, feature="ATOS"),
    _rw("VATOS_SEL", 0x180, VATOS_SEL, feature="VATOS"),
    _rw("PRIQ_PROD", PAGE1 + 0x0C8, PRIQ_PROD, "PRIQEN=0", feature="PRI"),
    _rw("PRIQ_CONS", PAGE1 + 0x0CC, PRIQ_CONS, feature="PRI"),
]

BY_NAME = {register.name: register for register in REGISTERS + OPTIONAL}


def implemented(params):
    """Return the registers that this build has. All other offsets are RES0."""
    return [register for register in REGISTERS
            if not register.feature or getattr(params, register.feature.lower())]


# Fields that no build of this version has: RES0 in its registers.
_ABSENT = {
    "CR0": {"PRIQEN", "ATSCHK", "VMW", "DPT_WALK_EN"},
    "CR2": {"PTM", "REC_CFG_ATS"},
    "IRQ_CTRL": {"PRIQ_IRQEN"},
    "GERRORN": {"PRIQ_ABT_ERR", "MSI_PRIQ_ABT_ERR", "CMDQP_ERR", "DPT_ERR"},
}
_ABSENT["CR0ACK"], _ABSENT["IRQ_CTRLACK"] = _ABSENT["CR0"], _ABSENT["IRQ_CTRL"]
_ABSENT["GERROR"] = _ABSENT["GERRORN"]

# Fields of writable registers that only the hardware changes.
_READ_ONLY = {"REMAP_CTRL": {"BUSY"}}


def absent(name, params):
    """Return the names of the fields of control register ``name`` that are RES0 in this build."""
    names = set(_ABSENT.get(name, ()))
    if name == "CR2" and not params.hyp:
        names.add("E2H")
    if name == "STRTAB_BASE_CFG" and not params.st_level:
        names.add("FMT")
    if name == "GBPA" and not params.attr_types_ovr:
        names |= {"MemAttr", "MTCFG", "ALLOCCFG", "SHCFG"}
    if name == "GBPA" and not params.attr_perms_ovr:
        names |= {"PRIVCFG", "INSTCFG"}
    if name in ("GERROR", "GERRORN") and not params.msi:
        names |= {"MSI_CMDQ_ABT_ERR", "MSI_EVENTQ_ABT_ERR", "MSI_GERROR_ABT_ERR"}
    return names


def write_mask(name, params):
    """Return the bits of register ``name`` that this build stores when software writes them.

    Gaps, fields of absent features and address bits above the output address size are RES0. The
    guard is not looked at.
    """
    register = BY_NAME[name]
    if register.access != "RW" or register not in implemented(params):
        return 0
    unwritten = absent(name, params) | _READ_ONLY.get(name, set())
    mask = 0
    for field_name, field in fields(register.struct).items():
        if field_name in unwritten:
            continue
        field_mask = field.mask
        if field_name == "ADDR":  # these fields hold the address bits at their own places
            field_mask &= (1 << params.oas) - 1
        mask |= field_mask
    return mask


def id_values(params):
    """Return ``{name: value}`` of the registers whose value the build decides."""
    return {
        "IDR0": pack(IDR0, {
            "S2P": params.s2p, "S1P": params.s1p, "TTF": 2, "COHACC": params.cohacc,
            "Hyp": params.hyp, "ASID16": params.asid16, "MSI": params.msi,
            "VMID16": params.vmid16, "CD2L": params.cd2l, "TTENDIAN": params.ttendian,
            "STALL_MODEL": params.stall_model, "TERM_MODEL": params.term_model,
            "ST_LEVEL": params.st_level}),
        "IDR1": pack(IDR1, {
            "SIDSIZE": params.sidsize, "SSIDSIZE": params.ssidsize, "EVENTQS": params.eventqs,
            "CMDQS": params.cmdqs, "ATTR_PERMS_OVR": params.attr_perms_ovr,
            "ATTR_TYPES_OVR": params.attr_types_ovr}),
        "IDR2": 0,
        "IDR3": pack(IDR3, {
            "HAD": params.had, "XNX": params.xnx, "FWB": params.fwb, "RIL": params.ril,
            "BBML": params.bbml}),
        "IDR4": 0,
        "IDR5": pack(IDR5, {
            "OAS": SIZE_CODES[params.oas], "GRAN4K": params.gran4k, "GRAN16K": params.gran16k,
            "GRAN64K": params.gran64k}),
        "IIDR": pack(IIDR, {"ProductID": PRODUCT_ID, "Revision": REVISION}),
        "AIDR": pack(AIDR, {"ArchMajorRev": 0, "ArchMinorRev": 2}),
        "PIDR0": PRODUCT_ID & 0xFF, "PIDR1": PRODUCT_ID >> 8, "PIDR2": REVISION << 4 | 1 << 3,
        "PIDR3": 0, "PIDR4": 0, "PIDR5": 0, "PIDR6": 0, "PIDR7": 0,
        "CIDR0": 0x0D, "CIDR1": 0xF0, "CIDR2": 0x05, "CIDR3": 0xB1,
        "IMP_ID": 0x534D_4D55, "IMP_VERSION": 1, "REMAP_COUNT": params.remap_entries,
    }
