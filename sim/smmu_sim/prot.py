"""What a mapping allows, and the descriptor fields that say so."""

from dataclasses import dataclass, field
from typing import NamedTuple

from smmu.formats.descriptors import SH

__all__ = ["DEFAULT", "MAIR", "PageTableError", "Prot"]


class _Memory(NamedTuple):
    attr_indx: int     # byte of MAIR
    mem_attr: int      # stage 2
    mem_attr_fwb: int  # stage 2 with S2FWB


_MEMORY = {"nc": _Memory(0, 0b0101, 0b0101), "wb": _Memory(1, 0b1111, 0b0110),
           "device": _Memory(2, 0b0001, 0b0001)}
MAIR = 0x04_FF_44  # NC, WB RA WA, Device-nGnRE: the AttrIndx of `_MEMORY`
_XN_NEVER = 2


class PageTableError(ValueError):
    """A mapping, or a geometry, that is impossible. The message names the rule and the values."""


@dataclass(frozen=True)
class Prot:
    """What a mapping allows and how it is cached.

    Stage 1 cannot express "no read": there ``read`` is ignored. ``privileged`` (nobody else may
    access it) and ``nG`` exist in stage 1 alone. ``contiguous`` sets the bit wherever a whole
    group is mapped at once. ``fields`` overrides descriptor fields, for tests.
    """

    read: bool = True
    write: bool = True
    execute: bool = False
    privileged: bool = False
    memory: str = "wb"      # "wb", "nc" or "device"
    nG: bool = True
    contiguous: bool = False
    fields: dict = field(default_factory=dict, hash=False)

    def __post_init__(self):
        if self.memory not in _MEMORY:
            raise PageTableError(f"memory is {self.memory!r}; it is one of {', '.join(_MEMORY)}")

    @property
    def _sh(self):
        return SH.ISH if self.memory == "wb" else SH.OSH

    def stage1_fields(self):
        """Return the fields of :class:`S1Leaf` that say this."""
        return {"AttrIndx": _MEMORY[self.memory].attr_indx, "SH": self._sh, "nG": self.nG,
                "AP": (not self.write) << 1 | (not self.privileged),
                "PXN": not self.execute, "UXN": not self.execute}

    def stage2_fields(self, fwb=False):
        """Return the fields of :class:`S2Leaf` that say this."""
        memory = _MEMORY[self.memory]
        return {"MemAttr": memory.mem_attr_fwb if fwb else memory.mem_attr, "SH": self._sh,
                "S2AP": self.write << 1 | self.read, "XN": 0 if self.execute else _XN_NEVER}


DEFAULT = Prot()
