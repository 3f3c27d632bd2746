"""Commands as the driver uses them: IHI 0070 chapter 4, packed."""

from smmu.formats.commands import (
    ATC_INV_ALL_SIZE, CFGI_ALL_RANGE, CMD_ATC_INV, CMD_SYNC, CS, TLBI, Opcode, pack_command)
from smmu.formats.descriptors import SH, TLBI_TG, Granule, bits_per_level

from smmu_sim.fields import address

__all__ = ["atc_inv", "cfgi_all", "cfgi_cd", "cfgi_cd_all", "cfgi_ste", "prefetch_config",
           "pri_resp", "resume", "sync", "sync_with_msi", "tlbi", "tlbi_range"]

_MEMATTR_WB = 0b1111
_NUM_MAX, _SCALE_MAX = 31, 31
_ATC_SHIFT = 12  # ATCs are invalidated in units of 4 KiB


def cfgi_ste(sid, leaf=True):
    return pack_command(Opcode.CMD_CFGI_STE, {"StreamID": sid, "Leaf": leaf})


def cfgi_all():
    return pack_command(Opcode.CMD_CFGI_STE_RANGE, {"Range": CFGI_ALL_RANGE})


def cfgi_cd(sid, ssid, leaf=True):
    return pack_command(Opcode.CMD_CFGI_CD, {"StreamID": sid, "SubstreamID": ssid, "Leaf": leaf})


def cfgi_cd_all(sid):
    return pack_command(Opcode.CMD_CFGI_CD_ALL, {"StreamID": sid})


def prefetch_config(sid):
    return pack_command(Opcode.CMD_PREFETCH_CONFIG, {"StreamID": sid})


def atc_inv(sids, ssid, addr, size):
    """Return the commands that remove a range from the ATCs of ``sids``; size 0: everything.

    The range becomes the smallest aligned power of two of 4 KiB pages around it. SubstreamID 0
    means all of the device, with and without one.
    """
    first, span = 0, ATC_INV_ALL_SIZE
    if size:
        first = addr >> _ATC_SHIFT
        span = (first ^ (addr + size - 1 >> _ATC_SHIFT)).bit_length()
        first = first >> span << span
    return [pack_command(Opcode.CMD_ATC_INV, {
        "StreamID": sid, "SSV": int(ssid != 0), "SubstreamID": ssid, "Size": span,
        "Address": address(CMD_ATC_INV, "Address", first << _ATC_SHIFT)}) for sid in sids]


def pri_resp(sid, group, response, ssid=None):
    """Answer a group of page requests."""
    return pack_command(Opcode.CMD_PRI_RESP, {
        "StreamID": sid, "SSV": int(ssid is not None), "SubstreamID": ssid or 0,
        "PRGIndex": group, "Resp": response})


def resume(sid, stag, *, retry):
    """Let a stalled transaction be tried again, or abort."""
    return pack_command(Opcode.CMD_RESUME, {
        "StreamID": sid, "STAG": stag, "Ac": int(retry), "Ab": int(not retry)})


def sync():
    """A CMD_SYNC whose end is seen in CMDQ_CONS; where processors sleep it also wakes them.

    Like Linux's it has the attributes of a write that it doesn't do.
    """
    return pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_SEV, "MSH": SH.ISH, "MSIAttr": _MEMATTR_WB})


def sync_with_msi(addr, data=0):
    """A CMD_SYNC that writes ``data`` to ``addr``, in write-back memory, at its end."""
    return pack_command(Opcode.CMD_SYNC, {
        "CS": CS.SIG_IRQ, "MSH": SH.ISH, "MSIAttr": _MEMATTR_WB, "MSIData": data,
        "MSIAddress": address(CMD_SYNC, "MSIAddress", addr)})


def tlbi(opcode, **fields):
    """A TLBI without an address."""
    return pack_command(opcode, fields)


def tlbi_range(opcode, addr, size, *, granule, ril, leaf=True, leaf_size=None, **fields):
    """Return the TLBI commands for a range of addresses, which are whole granules.

    With range invalidation (``ril``) a few commands do; without, there is one for each leaf.
    ``leaf_size`` is the size of all leaves in the range, if they are the same: the level hint.
    ``fields`` are ASID and VMID.
    """
    addr &= (1 << 64) - 1
    if not ril:
        step = leaf_size or 1 << granule
        return [_tlbi_va(opcode, at, Leaf=leaf, **fields) for at in range(addr, addr + size, step)]
    pages, ttl = size >> granule, 0
    if leaf and leaf_size:
        ttl = 3 - (leaf_size.bit_length() - 1 - granule) // bits_per_level(granule)
    elif pages & _NUM_MAX == 1:
        pages += 1  # NUM = SCALE = TTL = 0 would be illegal
    commands = []
    while pages:
        scale = min((pages & -pages).bit_length() - 1, _SCALE_MAX)
        num = pages >> scale & _NUM_MAX or _NUM_MAX
        commands.append(_tlbi_va(
            opcode, addr, Leaf=leaf, NUM=num - 1, SCALE=scale, TTL=ttl,
            TG=TLBI_TG[Granule(granule).name], **fields))
        pages, addr = pages - (num << scale), addr + (num << scale + granule)
    return commands


def _tlbi_va(opcode, addr, **fields):
    return pack_command(opcode, {"Address": address(TLBI, "Address", addr), **fields})
