"""A guest's invalidations as iommufd passes them: raw commands of its command queue."""

from smmu.formats.commands import CMD_CFGI_CD, TLBI, CommandHeader, Opcode
from smmu.formats.core import fields, plain, update

from smmu_sim.driver import commands as pack
from smmu_sim.driver.errors import CommandError, TimedOut
from smmu_sim.driver.features import COMMAND_BATCH
from smmu_sim.linux_error import LinuxError

__all__ = ["MODES", "convert", "viommu_invalidate"]

MODES = ("upstream", "strict")

_TAGGED = {Opcode.CMD_TLBI_NH_ALL, Opcode.CMD_TLBI_NH_ASID, Opcode.CMD_TLBI_NH_VA,
           Opcode.CMD_TLBI_NH_VAA}
_STREAM = {Opcode.CMD_CFGI_CD, Opcode.CMD_CFGI_CD_ALL, Opcode.CMD_ATC_INV}
_OP, _SID = plain(CommandHeader).Op, plain(CMD_CFGI_CD).StreamID
_BLOCK = COMMAND_BATCH - 1  # and a CMD_SYNC


def convert(command, vmid, sid_of):
    """Return a guest's raw command with the host's VMID or StreamID in it.

    Raises :exc:`LinuxError` EIO for a command that a guest may not send, and for a StreamID that
    it does not have. Linux 7.0: ``arm_vsmmu_convert_user_cmd``.
    """
    opcode = _OP(command)
    if opcode == Opcode.CMD_TLBI_NSNH_ALL:
        return pack.tlbi(Opcode.CMD_TLBI_NH_ALL, VMID=vmid)
    if opcode in _TAGGED:
        return update(TLBI, command, {"VMID": vmid})
    if opcode not in _STREAM:
        raise LinuxError("EIO", f"command {opcode:#x} is not one that a guest may pass on")
    vsid = _SID(command)
    try:
        sid = sid_of(vsid)
    except KeyError:
        raise LinuxError("EIO", f"the guest has no StreamID {vsid:#x}") from None
    lsb = fields(CMD_CFGI_CD)["StreamID"].lsb
    return command & ~fields(CMD_CFGI_CD)["StreamID"].mask | sid << lsb


def viommu_invalidate(driver, parent, commands, sid_of, mode="upstream"):
    """Convert raw commands and issue them in blocks, each with a CMD_SYNC; return their number.

    Parameters
    ----------
    driver
        The host's driver.
    parent
        The nest parent, whose VMID the guest has.
    commands
        Raw 128-bit commands.
    sid_of
        Function from a guest's StreamID to the physical one; raises :exc:`KeyError`.
    mode
        What happens to a block with a bad command in it: ``"upstream"`` does none of it, though
        it counts the good ones before; ``"strict"`` does those.

    Raises :exc:`LinuxError`: EINVAL for an empty list, EIO for a bad command (see
    :func:`convert`), ETIMEDOUT. Its attribute ``done`` is the number that user space is told. A
    command that the SMMU finds illegal is skipped, and noted in ``driver.refused``. Linux 7.0:
    ``arm_vsmmu_cache_invalidate``.
    """
    if mode not in MODES:
        raise LinuxError("EINVAL", f"mode is {mode!r}; it is one of {', '.join(MODES)}")
    commands = list(commands)
    if not commands:
        raise _with_count(LinuxError("EINVAL", "there is no command"), 0)
    for start in range(0, len(commands), _BLOCK):
        block = []
        for number, command in enumerate(commands[start:start + _BLOCK], start):
            try:
                block.append(convert(command, parent.vmid, sid_of))
            except LinuxError as error:
                if mode == "strict" and block:
                    _push(driver, block, start)
                raise _with_count(error, number) from None
        _push(driver, block, start)
    return len(commands)


def _push(driver, block, done):
    """Issue a block. What the guest did wrong is not the host's error."""
    try:
        driver.issue(block)
    except CommandError as error:
        driver.refused.append(error)
    except TimedOut as error:
        raise _with_count(LinuxError("ETIMEDOUT", str(error)), done) from error


def _with_count(error, done):
    error.done = done
    return error
