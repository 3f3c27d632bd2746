"""Build parameters of the SMMU core: sizes, features, and what of them the architecture forbids."""

from dataclasses import dataclass, fields, replace

from smmu.formats.descriptors import Granule, SIZE_CODES

__all__ = ["Params", "ParamsError", "CONFIGS"]


class ParamsError(ValueError):
    """A parameter, or a combination of them, that cannot be built. The message names the rule."""


@dataclass(frozen=True)
class Params:
    """Sizes and features of one build.

    Parameters that are ID register fields have the field's name in lower case and its encoding,
    except ``oas``, which is in bits.
    """

    # Ports
    ports: int = 1               # device ports (translation buffers)
    data_width: int = 64         # AXI data width of the device ports and the table master, bits
    id_width: int = 4            # AXI ID width of the device ports, bits
    # IDR0
    s1p: int = 1
    s2p: int = 1
    cohacc: int = 1
    hyp: int = 1
    asid16: int = 1
    msi: int = 1
    vmid16: int = 1
    cd2l: int = 1
    ttendian: int = 2            # 0 mixed, 2 little only
    stall_model: int = 1         # 1: terminate only
    term_model: int = 0          # 0: CD.A chooses abort or RAZ/WI; 1: abort only
    st_level: int = 1
    # IDR1
    sidsize: int = 16
    ssidsize: int = 16
    eventqs: int = 19
    cmdqs: int = 19
    attr_perms_ovr: int = 1
    attr_types_ovr: int = 1
    # IDR3
    had: int = 1
    xnx: int = 1
    fwb: int = 1
    ril: int = 1
    bbml: int = 2
    # IDR5
    oas: int = 48                # output address size, bits: 32, 36, 40, 42, 44, 48
    gran4k: int = 1
    gran16k: int = 1
    gran64k: int = 1
    # Sizes
    utlb_entries: int = 16       # micro-TLB entries of each direction of each port
    utlb_contexts: int = 8       # (StreamID, SubstreamID) that have entries there at a time
    tlb_entries: int = 2048      # main TLB
    tlb_ways: int = 4
    walk_cache_entries: int = 512  # stage-1 and stage-2 table pointers
    walk_cache_ways: int = 2
    cfg_entries: int = 64        # configuration cache (STE + CD)
    walks: int = 16              # walks in flight
    block_records: int = 0       # 1: requests and walks lie in block RAM: fewer LUTs, slower clock
    slots: int = 16              # parked transactions of each direction of each port
    write_buffer_beats: int = 512  # 0: writes leave in order
    remap_entries: int = 16      # MSI doorbell remap

    def __post_init__(self):
        for name, (values, why) in _VALUES.items():
            given = getattr(self, name)
            if not isinstance(given, int) or given not in values:
                raise ParamsError(f"{name} = {given}: expected {_list(values)} ({why})")
        for broken, message in self._rules():
            if broken:
                raise ParamsError(message)

    def _rules(self):
        """Yield (is broken, message) for each rule about a combination (SMMUV3 ID registers)."""
        both = self.s1p & self.s2p
        yield (not self.s1p and not self.s2p,
               "s1p = 0 and s2p = 0: expected at least one stage (IDR0: S1P or S2P is 1)")
        yield (self.hyp != both,
               f"hyp = {self.hyp}: expected {both} (IDR0.Hyp is 1 in SMMUv3.2 if and only if S1P "
               f"and S2P are 1)")
        yield (self.had != self.s1p,
               f"had = {self.had}: expected s1p = {self.s1p} (IDR3.HAD equals S1P from SMMUv3.1)")
        yield (self.xnx != self.s2p,
               f"xnx = {self.xnx}: expected s2p = {self.s2p} (IDR3.XNX equals S2P from SMMUv3.1)")
        yield (self.s2p and not self.fwb,
               "fwb = 0: expected 1 (IDR3.FWB is 1 from SMMUv3.2 with stage 2)")
        yield (self.sidsize >= 7 and not self.st_level,
               f"sidsize = {self.sidsize} with st_level = 0: expected sidsize below 7, or "
               f"st_level = 1 (IDR1.SIDSIZE >= 7 requires IDR0.ST_LEVEL = 1)")
        yield (not self.granules,
               "gran4k = gran16k = gran64k = 0: expected at least one granule (IDR5.GRAN*)")
        for cache in ("tlb", "walk_cache"):
            entries, ways = getattr(self, f"{cache}_entries"), getattr(self, f"{cache}_ways")
            yield (entries < 2 * ways,
                   f"{cache}_entries = {entries} with {cache}_ways = {ways}: expected at least "
                   f"{2 * ways} (two sets)")

    @classmethod
    def from_settings(cls, config="default", settings=""):
        """Return a configuration with single parameters changed: ``"oas=44 term_model=1"``."""
        if config not in CONFIGS:
            raise ParamsError(f"CONFIG = {config}: expected {_list(CONFIGS)}")
        known = [field.name for field in fields(cls)]
        changes = {}
        for setting in settings.replace(",", " ").split():
            name, _, value = setting.partition("=")
            if name not in known:
                raise ParamsError(f"SET has no parameter {name!r}: expected {_list(known)}")
            try:
                changes[name] = int(value, 0)
            except ValueError:
                raise ParamsError(f"SET {setting!r}: expected {name}=<number>") from None
        return replace(CONFIGS[config], **changes)

    # What follows from the parameters

    @property
    def oas_code(self):
        """The output address size as IDR5.OAS codes it."""
        return SIZE_CODES[self.oas]

    @property
    def granules(self):
        """The granules of this build, as page offset bits, smallest first."""
        present = {Granule.G4K: self.gran4k, Granule.G16K: self.gran16k,
                   Granule.G64K: self.gran64k}
        return tuple(granule for granule, has in present.items() if has)

    @property
    def sid_bits(self):
        """Width of a signal that holds a StreamID; at least 1."""
        return max(1, self.sidsize)

    @property
    def ssid_bits(self):
        """Width of a signal that holds a SubstreamID; at least 1."""
        return max(1, self.ssidsize)

    @property
    def asid_bits(self):
        """Implemented bits of an ASID."""
        return 16 if self.asid16 else 8

    @property
    def vmid_bits(self):
        """Implemented bits of a VMID."""
        return 16 if self.vmid16 else 8

    @property
    def record_ram_style(self):
        """Where synthesis puts what is kept of requests and walks: the attribute `ram_style`."""
        return "block" if self.block_records else "distributed"

    @property
    def tlb_sets(self):
        """Rows of the main TLB."""
        return self.tlb_entries // self.tlb_ways

    @property
    def walk_cache_sets(self):
        """Rows of each walk cache."""
        return self.walk_cache_entries // self.walk_cache_ways


def _powers(low, high):
    return tuple(1 << n for n in range(high.bit_length()) if low <= 1 << n <= high)


def _list(values):
    if isinstance(values, range) and len(values) > 4:
        return f"{values[0]} to {values[-1]}"
    names = [str(value) for value in values]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


_BIT = ((0, 1), "one bit")
# name: (values that can be built, the rule)
_VALUES = {
    "ports": (range(1, 9), "device ports"),
    "data_width": ((64,), "other widths are not in this version"),
    "id_width": (range(1, 9), "AXI ID bits"),
    **dict.fromkeys(("s1p", "s2p", "cohacc", "hyp", "asid16", "msi", "vmid16", "cd2l",
                     "term_model", "attr_perms_ovr", "attr_types_ovr", "had", "xnx", "fwb",
                     "gran4k", "gran16k", "gran64k", "block_records"), _BIT),
    "ttendian": ((0, 2), "IDR0.TTENDIAN: mixed or little-endian; 1 is reserved, big-endian only "
                         "is not in this version"),
    "stall_model": ((1,), "IDR0.STALL_MODEL: stalls are not in this version"),
    "st_level": ((0, 1), "IDR0.ST_LEVEL: linear, or linear and 2-level"),
    "sidsize": (range(33), "IDR1.SIDSIZE"),
    "ssidsize": (range(21), "IDR1.SSIDSIZE"),
    "eventqs": (range(20), "IDR1.EVENTQS <= 19"),
    "cmdqs": (range(20), "IDR1.CMDQS <= 19"),
    "ril": ((1,), "IDR3.RIL is 1 from SMMUv3.2"),
    "bbml": ((1, 2), "IDR3.BBML >= 1 from SMMUv3.2"),
    "oas": ((32, 36, 40, 42, 44, 48), "IDR5.OAS in bits; 52 and 56 are not in this version"),
    "utlb_entries": (_powers(2, 64), "a power of two"),
    "utlb_contexts": (range(1, 33), "a bit of every entry each"),
    "tlb_entries": (_powers(4, 65536), "a power of two"),
    "tlb_ways": (_powers(1, 8), "a power of two"),
    "walk_cache_entries": (_powers(4, 65536), "a power of two"),
    "walk_cache_ways": (_powers(1, 8), "a power of two"),
    "cfg_entries": (_powers(4, 4096), "a power of two"),
    "walks": (_powers(1, 32), "a power of two"),
    "slots": (range(1, 33), "parked transactions"),
    "write_buffer_beats": ((0, *_powers(256, 4096)), "none, or a power of two that holds one "
                                                     "AXI4 burst of 256 beats"),
    "remap_entries": (range(1, 65), "the frame has room for them"),
}

CONFIGS = {
    "default": Params(),
    "small": Params(sidsize=8, ssidsize=0, utlb_entries=8, utlb_contexts=4, tlb_entries=512,
                    walks=8, cfg_entries=16, slots=4, write_buffer_beats=0, remap_entries=4,
                    tlb_ways=1, walk_cache_entries=256, walk_cache_ways=1, block_records=1),
    "server": Params(ports=4, id_width=8, utlb_entries=32),
}
