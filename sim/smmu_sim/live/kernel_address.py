"""Where the guest's kernel has mapped a physical page: a search through its page tables."""

import struct

__all__ = ["virtual_address"]

_OFFSET_BITS = {1: 14, 2: 12, 3: 16}  # TCR_EL1.TG1 (Arm ARM, D19.2)
_T1SZ_SHIFT, _TG1_SHIFT = 16, 30
_OA_MASK = 0x0000_FFFF_FFFF_F000
_KIND, _TABLE_OR_PAGE = 3, 3


def virtual_address(memory, ttbr1, tcr, pa):
    """Return the kernel's virtual address of the page at ``pa``, 64 KB aligned; None if unmapped.

    ``ttbr1`` and ``tcr`` are TTBR1_EL1 and TCR_EL1 of one processor. Blocks, and output addresses
    above 48 bits, are not looked at: device frames have pages.
    """
    offset_bits = _OFFSET_BITS.get(tcr >> _TG1_SHIFT & 3)
    if offset_bits is None:
        return None
    index_bits = offset_bits - 3
    va_bits = 64 - (tcr >> _T1SZ_SHIFT & 0x3F)
    levels = -(-(va_bits - offset_bits) // index_bits)
    page_mask = _OA_MASK & -(1 << offset_bits)
    top = (1 << 64) - (1 << va_bits)

    def search(table, va, shift):
        last = shift == offset_bits
        entries = 1 << min(index_bits, va_bits - shift)
        data = memory.peek(table, 8 * entries)
        for index, descriptor in enumerate(struct.unpack(f"<{entries}Q", data)):
            if descriptor & _KIND != _TABLE_OR_PAGE:
                continue
            here = va | index << shift
            target = descriptor & page_mask
            if last:
                if target == pa:
                    return here
                continue
            found = search(target, here, shift - index_bits)
            if found is not None:
                return found
        return None

    return search(ttbr1 & _OA_MASK, top, offset_bits + (levels - 1) * index_bits)
