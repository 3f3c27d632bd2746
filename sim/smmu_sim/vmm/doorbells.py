"""Where a guest has mapped the doorbell of its interrupt controller."""

from typing import NamedTuple

from smmu_sim.backend import Transaction
from smmu_sim.model.context_descriptor import BYPASS_STAGE1, select_cd
from smmu_sim.model.faults import Fault
from smmu_sim.model.tables import walk
from smmu_sim.model.translation import HALF_SHIFT, Translator
from smmu_sim.vmm.stage1 import Kind

__all__ = ["Doorbell", "find_doorbell"]


class Doorbell(NamedTuple):
    """A page of the guest's stage 1 with a doorbell in it. All in bytes."""

    giova: int  # of the page
    gpa: int    # what it is mapped to
    size: int

    def contains(self, giova):
        return self.giova <= giova < self.giova + self.size


def find_doorbell(smmu, vsid, giova):
    """Return the :class:`Doorbell` behind ``giova``, or None if stage 1 has nothing there.

    The monitor reads the guest's tables when the guest programs an MSI vector, as QEMU does; DMA
    never comes this way. Without stage 1 the gIOVA is the address of the doorbell.
    """
    if smmu.state(vsid).kind is not Kind.TRANSLATE:
        return Doorbell(giova & -0x1000, giova & -0x1000, 0x1000) \
            if smmu.state(vsid).kind is Kind.BYPASS else None
    translator = Translator(smmu.params, smmu.memory, smmu.registers, None,
                            stalls=smmu.params.stall)
    write = Transaction(sid=vsid, addr=giova, write=True, data=bytes(4), cache=0)
    try:
        stream = translator.stream(vsid)
        index = select_cd(stream, write)
        if index == BYPASS_STAGE1:
            return Doorbell(giova & -0x1000, giova & -0x1000, 0x1000)
        context = translator.context(stream, index)
        half = context.high if giova >> HALF_SHIFT & 1 and context.high else context.low
        if half.table is None or half is context.low and giova >> half.table.input_bits:
            return None
        leaf = walk(smmu.memory, half.table, giova, lambda addr: addr,
                    lambda event, _: Fault(event))
    except Fault:
        return None
    size = 1 << leaf.size_shift
    return Doorbell(giova & -size, leaf.output & -size, size)
