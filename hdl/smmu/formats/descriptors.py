"""VMSAv8-64 (DDI 0487 chapter D8) as the SMMU uses it: descriptors, geometry, codes of sizes.

A granule is the number of its page offset bits: 12 (4K), 14 (16K) or 16 (64K). Levels are 0 to 3.
"""

from amaranth.lib import data, enum

__all__ = ["Granule", "GRANULES", "TG0", "TG1", "TLBI_TG", "TG0_GRANULE", "TG1_GRANULE",
           "TLBI_TG_GRANULE", "SIZE_CODES", "SIZE_BITS", "SH", "S2_START_LEVEL", "BLOCK_LEVELS",
           "Descriptor", "S1Table", "S1Leaf", "S2Table", "S2Leaf", "bits_per_level", "level_shift",
           "s1_start_level", "s2_start_level", "start_index_bits", "start_table_bytes",
           "next_table_mask"]


class Granule(enum.IntEnum, shape=5):
    """Translation granules, as page offset bits."""

    G4K = 12
    G16K = 14
    G64K = 16


GRANULES = (Granule.G4K, Granule.G16K, Granule.G64K)


class TG0(enum.IntEnum, shape=2):
    """CD.TG0 and STE.S2TG. 3 is reserved."""

    G4K = 0
    G64K = 1
    G16K = 2


class TG1(enum.IntEnum, shape=2):
    """CD.TG1. 0 is reserved."""

    G16K = 1
    G4K = 2
    G64K = 3


class TLBI_TG(enum.IntEnum, shape=2):
    """TG of the TLBI commands. ANY: not a range, entries of every granule."""

    ANY = 0
    G4K = 1
    G16K = 2
    G64K = 3


TG0_GRANULE = {int(TG0[granule.name]): granule for granule in GRANULES}
TG1_GRANULE = {int(TG1[granule.name]): granule for granule in GRANULES}
TLBI_TG_GRANULE = {int(TLBI_TG[granule.name]): granule for granule in GRANULES}

# IDR5.OAS, CD.IPS and STE.S2PS: code -> bits, and back
SIZE_BITS = {0: 32, 1: 36, 2: 40, 3: 42, 4: 44, 5: 48, 6: 52, 7: 56}
SIZE_CODES = {size: code for code, size in SIZE_BITS.items()}


class SH(enum.IntEnum, shape=2):
    """Shareability, except in SHCFG. 1 is reserved and acts as NSH."""

    NSH = 0
    OSH = 2
    ISH = 3


# STE.S2SL0 -> start level. 3 means level 3 with 4K and level 0 with 16K: they need STT and DS,
# which this version does not have.
S2_START_LEVEL = {
    Granule.G4K: {0: 2, 1: 1, 2: 0},
    Granule.G16K: {0: 3, 1: 2, 2: 1},
    Granule.G64K: {0: 3, 1: 2, 2: 1},
}

# Levels at which a block descriptor is valid, with 48-bit addresses
BLOCK_LEVELS = {Granule.G4K: (1, 2), Granule.G16K: (2,), Granule.G64K: (2,)}


def bits_per_level(granule):
    """Return the number of index bits that one full table resolves."""
    return granule - 3


def level_shift(level, granule):
    """Return the number of the lowest address bit that indexes a table of ``level``."""
    return granule + (3 - level) * bits_per_level(granule)


def s1_start_level(txsz, granule):
    """Return the level at which a walk of an input address of 64 - ``txsz`` bits starts."""
    return 3 - (64 - txsz - 1 - granule) // bits_per_level(granule)


def s2_start_level(s2sl0, granule):
    """Return the start level of a stage 2 walk, or None if ``s2sl0`` is reserved."""
    return S2_START_LEVEL[granule].get(s2sl0)


def start_index_bits(txsz, level, granule):
    """Return the index bits of the start table, more than a level's if tables are concatenated."""
    return 64 - txsz - level_shift(level, granule)


def start_table_bytes(txsz, level, granule):
    """Return size and alignment of the start table, or of all concatenated ones together."""
    return 8 << start_index_bits(txsz, level, granule)


def next_table_mask(granule):
    """Return the bits of a table descriptor that hold the address of the next table."""
    return (1 << 48) - (1 << granule)


class Descriptor(data.Struct):
    """What all descriptors have in common (DDI 0487: D8.3)."""

    Valid:  1
    Type:   1   # 1 table or page, 0 block (invalid at level 3)
    _res2:  10
    OA:     36  # address[47:12]; bits below the granule or the block are not part of it
    _res48: 16

    def is_table(self, level):
        """Points to a table of the next level."""
        return self.Valid & self.Type & (level != 3)

    def is_page(self, level):
        """Maps a page."""
        return self.Valid & self.Type & (level == 3)

    def is_block(self, level, granule_4k):
        """Maps a block: at level 2, and at level 1 where ``granule_4k`` is 1."""
        return self.Valid & ~self.Type & ((level == 2) | (level == 1) & granule_4k)

    def is_leaf(self, level, granule_4k):
        """Maps a page or a block."""
        return self.is_page(level) | self.is_block(level, granule_4k)


class S1Table(data.Struct):
    """Stage 1 table descriptor."""

    Valid:     1
    Type:      1
    _res2:     10
    NextTable: 36  # address[47:12]
    _res48:    11
    PXNTable:  1
    UXNTable:  1   # XNTable with one privilege level
    APTable:   2   # bit 0: no unprivileged access, bit 1: no writes
    NSTable:   1   # ignored


class S1Leaf(data.Struct):
    """Stage 1 block or page descriptor."""

    Valid:      1
    Type:       1
    AttrIndx:   3   # byte of MAIR
    NS:         1   # ignored
    AP:         2   # AP[2:1]; bit 0: unprivileged access, bit 1: read-only
    SH:         2   # SH
    AF:         1
    nG:         1
    OA:         36  # address[47:12]; in a block its bit 16 is nT, which BBML=2 ignores
    _res48:     2
    GP:         1   # ignored
    DBM:        1
    Contiguous: 1
    PXN:        1
    UXN:        1   # XN with one privilege level
    SW:         4   # ignored
    PBHA:       4   # ignored
    _res63:     1


class S2Table(data.Struct):
    """Stage 2 table descriptor."""

    Valid:     1
    Type:      1
    _res2:     10
    NextTable: 36  # address[47:12]
    _res48:    16


class S2Leaf(data.Struct):
    """Stage 2 block or page descriptor."""

    Valid:      1
    Type:       1
    MemAttr:    4
    S2AP:       2   # bit 0: read, bit 1: write
    SH:         2   # SH
    AF:         1
    _res11:     1
    OA:         36  # address[47:12]; in a block its bit 16 is nT, which BBML=2 ignores
    _res48:     3
    DBM:        1
    Contiguous: 1
    XN:         2   # XN[1:0]: 0 executable, 1 unprivileged only, 2 never, 3 privileged only
    SW:         4   # ignored
    PBHA:       4   # ignored
    _res63:     1
