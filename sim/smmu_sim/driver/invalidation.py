"""Which commands make the TLB forget: by range, by address space, by virtual machine."""

from smmu.formats.commands import Opcode
from smmu.formats.descriptors import bits_per_level

from smmu_sim.driver import commands

__all__ = ["all_of_asid", "all_of_vmid", "stage1_range", "stage2_range", "too_many"]


def too_many(size, granule, ril):
    """Whether one command for everything is better than one for each page: a table's worth."""
    return not ril and size >= 1 << granule + bits_per_level(granule)


def all_of_asid(asid, vmid=0, e2h=False):
    """Return the commands that remove an address space."""
    if e2h:
        return [commands.tlbi(Opcode.CMD_TLBI_EL2_ASID, ASID=asid)]
    return [commands.tlbi(Opcode.CMD_TLBI_NH_ASID, ASID=asid, VMID=vmid)]


def all_of_vmid(vmid):
    """Return the commands that remove everything of a virtual machine, both stages."""
    return [commands.tlbi(Opcode.CMD_TLBI_S12_VMALL, VMID=vmid)]


def stage1_range(addr, size, *, granule, ril, asid, vmid=0, leaf=True, leaf_size=None, e2h=False):
    """Return the commands that remove a range of virtual addresses."""
    if too_many(size, granule, ril):
        return all_of_asid(asid, vmid, e2h)
    opcode, tags = Opcode.CMD_TLBI_NH_VA, {"ASID": asid, "VMID": vmid}
    if e2h:
        opcode, tags = Opcode.CMD_TLBI_EL2_VA, {"ASID": asid}
    return commands.tlbi_range(opcode, addr, size, granule=granule, ril=ril, leaf=leaf,
                               leaf_size=leaf_size, **tags)


def stage2_range(addr, size, *, granule, ril, vmid, leaf=True, leaf_size=None, nested=True):
    """Return the commands that remove a range of IPAs.

    With ``nested`` all stage 1 entries go as well, as they may combine what is removed.
    """
    if too_many(size, granule, ril):
        return all_of_vmid(vmid)
    batch = commands.tlbi_range(Opcode.CMD_TLBI_S2_IPA, addr, size, granule=granule, ril=ril,
                                leaf=leaf, leaf_size=leaf_size, VMID=vmid)
    if nested:
        batch.append(commands.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=vmid))
    return batch
