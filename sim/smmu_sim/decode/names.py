"""Names of values: functions from a field's value to a text."""

from smmu.formats.descriptors import SH, SIZE_BITS, TG0_GRANULE, TG1_GRANULE, TLBI_TG_GRANULE

__all__ = ["CD_FETCH_CACHE", "WALK_CACHE", "coded", "granule0", "granule1", "granule_name",
           "mair_name", "memattr_name", "named", "octal_size", "shareability", "tlbi_granule"]

CD_FETCH_CACHE = ("non-cacheable", "write-back read-allocate", "write-through read-allocate",
                  "write-back no-allocate")
WALK_CACHE = ("non-cacheable", "write-back read-write-allocate", "write-through read-allocate",
              "write-back read-allocate")
_DEVICE = ("Device-nGnRnE", "Device-nGnRE", "Device-nGRE", "Device-GRE")
_NORMAL = {1: "NC", 2: "WT", 3: "WB"}


def named(enum, otherwise="reserved"):
    """Names of an enum's members."""
    names = {int(member): member.name for member in enum}
    return lambda value: names.get(value, otherwise)


def coded(texts, otherwise="reserved"):
    """One text for each value."""
    return lambda value: texts[value] if value < len(texts) else otherwise


def octal_size(value):
    """IPS, S2PS and OAS: bits of an address."""
    return f"{SIZE_BITS[value]} bits"


def granule_name(granule):
    """A granule as the manual writes it."""
    return f"{(1 << granule) >> 10}K"


def _granule(table):
    return lambda value: granule_name(table[value]) if value in table else "reserved"


granule0, granule1 = _granule(TG0_GRANULE), _granule(TG1_GRANULE)
_RANGE = _granule(TLBI_TG_GRANULE)


def tlbi_granule(value):
    """TG of a TLBI."""
    return _RANGE(value) if value else "no range"


_SHAREABILITY = named(SH, "reserved, acts as NSH")


def shareability(value):
    """SH fields other than SHCFG."""
    return _SHAREABILITY(value)


def memattr_name(value):
    """Stage 2 MemAttr[3:0] without S2FWB, and the attributes of STE, GBPA and MSIs."""
    if value >> 2 == 0:
        return _DEVICE[value]
    if not value & 3:
        return "reserved"
    return f"Normal, outer {_NORMAL[value >> 2]}, inner {_NORMAL[value & 3]}"


def mair_name(byte):
    """One byte of MAIR."""
    if byte >> 4 == 0:
        return _DEVICE[byte >> 2 & 3] if not byte & 3 else "reserved"
    return f"Normal, outer {_mair_half(byte >> 4)}, inner {_mair_half(byte & 15)}"


def _mair_half(code):
    if code == 0b0100:
        return "NC"
    kind = "WB" if code & 4 else "WT"
    hints = "".join(f" {hint}" for bit, hint in ((2, "RA"), (1, "WA")) if code & bit)
    return f"{kind}{hints}{'' if code & 8 else ' transient'}"
