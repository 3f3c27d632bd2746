"""What the ID registers say, and whether this driver can work with it."""

from dataclasses import dataclass

from smmu.formats.descriptors import SIZE_BITS, Granule

from smmu_sim.driver.errors import ProbeError

__all__ = ["COMMAND_BATCH", "LINEAR_CD_BITS", "Features", "probe"]

COMMAND_BATCH = 64   # commands that are issued at once
LINEAR_CD_BITS = 10  # SubstreamID bits of the largest linear CD table
_MAX_QUEUE = 19      # log2 of the largest queue
_STALL, _TERMINATE, _FORCE = 0, 1, 2
_MIXED, _LITTLE, _BIG = 0, 2, 3
_TTF_AARCH64 = 2


@dataclass(frozen=True)
class Features:
    """The ID registers, decoded. Names that are in capitals are ID fields."""

    S1P: bool
    S2P: bool
    COHACC: bool
    Hyp: bool
    ATS: bool
    PRI: bool
    MSI: bool
    SEV: bool
    HTTU: int
    CD2L: bool
    two_level_stream_table: bool
    stall_possible: bool
    stall_forced: bool
    abort_only: bool
    endian: frozenset       # of "little", "big"
    asid_bits: int
    vmid_bits: int
    SIDSIZE: int
    SSIDSIZE: int
    CMDQS: int
    EVENTQS: int
    PRIQS: int
    ATTR_TYPES_OVR: bool
    STALL_MAX: int
    FWB: bool
    XNX: bool
    RIL: bool
    BBML: int
    oas: int                # bits
    granules: tuple         # of Granule
    version: str

    @property
    def nested(self):
        """Both stages can be on for one stream."""
        return self.S1P and self.S2P


def probe(registers):
    """Read the ID registers, as Linux does, and return :class:`Features`.

    Raises :exc:`ProbeError` with the reason if the SMMU cannot be used.
    """
    idr0, idr1, idr3, idr5, aidr = (registers.fields(name) for name in
                                    ("IDR0", "IDR1", "IDR3", "IDR5", "AIDR"))
    _refuse(idr0, idr1, idr5)
    model = idr0["STALL_MODEL"]
    return Features(
        **{name: bool(idr0[name]) for name in
           ("S1P", "S2P", "COHACC", "Hyp", "ATS", "PRI", "MSI", "SEV", "CD2L")},
        **{name: bool(idr3[name]) for name in ("FWB", "XNX", "RIL")},
        **{name: idr1[name] for name in ("SIDSIZE", "SSIDSIZE")},
        ATTR_TYPES_OVR=bool(idr1["ATTR_TYPES_OVR"]), STALL_MAX=idr5["STALL_MAX"],
        **{name: min(idr1[name], _MAX_QUEUE) for name in ("CMDQS", "EVENTQS", "PRIQS")},
        HTTU=idr0["HTTU"], BBML=idr3["BBML"],
        two_level_stream_table=idr0["ST_LEVEL"] == 1,
        stall_possible=model != _TERMINATE, stall_forced=model == _FORCE,
        abort_only=bool(idr0["TERM_MODEL"]),
        endian=frozenset({_MIXED: ("little", "big"), _LITTLE: ("little",), _BIG: ("big",)}
                         [idr0["TTENDIAN"]]),
        asid_bits=16 if idr0["ASID16"] else 8, vmid_bits=16 if idr0["VMID16"] else 8,
        oas=min(SIZE_BITS[idr5["OAS"]], 48),
        granules=tuple(granule for granule, field in
                       ((Granule.G4K, "GRAN4K"), (Granule.G16K, "GRAN16K"),
                        (Granule.G64K, "GRAN64K")) if idr5[field]),
        version=f"v3.{aidr['ArchMinorRev']}")


def _refuse(idr0, idr1, idr5):
    """Raise :exc:`ProbeError` for what the driver cannot work with."""
    if not idr0["TTF"] & _TTF_AARCH64:
        raise ProbeError(f"IDR0.TTF is {idr0['TTF']}: VMSAv8-64 tables are not supported")
    if idr0["TTENDIAN"] not in (_MIXED, _LITTLE, _BIG):
        raise ProbeError(f"IDR0.TTENDIAN is {idr0['TTENDIAN']}, which is reserved")
    if idr0["STALL_MODEL"] not in (_STALL, _TERMINATE, _FORCE):
        raise ProbeError(f"IDR0.STALL_MODEL is {idr0['STALL_MODEL']}, which is reserved")
    if not idr0["S1P"] and not idr0["S2P"]:
        raise ProbeError("IDR0.S1P and IDR0.S2P are 0: nothing is translated")
    for field in ("TABLES_PRESET", "QUEUES_PRESET", "REL"):
        if idr1[field]:
            raise ProbeError(f"IDR1.{field} is 1: preset tables and queues are not supported")
    if (1 << idr1["CMDQS"]) <= COMMAND_BATCH:
        raise ProbeError(f"IDR1.CMDQS is {idr1['CMDQS']}: the command queue must hold more than "
                         f"{COMMAND_BATCH} commands")
    if not any(idr5[field] for field in ("GRAN4K", "GRAN16K", "GRAN64K")):
        raise ProbeError("IDR5 names no granule")
