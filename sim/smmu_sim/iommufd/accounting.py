"""Who pays for pinned pages, and the limit (RLIMIT_MEMLOCK)."""

from enum import Enum

from smmu_sim.iommufd.constants import PAGE_SIZE
from smmu_sim.linux_error import LinuxError

__all__ = ["AccountMode", "charge", "move", "uncharge"]


class AccountMode(Enum):
    """Where pinned pages are counted against the limit."""

    NONE = "none"        # not at all: the process has CAP_IPC_LOCK
    USER = "user"        # with the user, all processes together
    PROCESS = "process"  # with the process alone, as VFIO's type 1 did


def _payer(process, mode):
    return process.user if mode is AccountMode.USER else process


def charge(process, mode, pages):
    """Count ``pages`` more. ENOMEM: that would pass the process's RLIMIT_MEMLOCK."""
    if mode is AccountMode.NONE:
        return
    payer = _payer(process, mode)
    wanted = payer.locked_pages + pages
    if process.memlock is not None and wanted > process.memlock // PAGE_SIZE:
        raise LinuxError("ENOMEM", f"{wanted} pages locked, and RLIMIT_MEMLOCK is "
                                   f"{process.memlock:#x} bytes")
    payer.locked_pages = wanted


def uncharge(process, mode, pages):
    """Count ``pages`` less."""
    if mode is not AccountMode.NONE:
        _payer(process, mode).locked_pages -= pages


def move(old, new, mode, pages):
    """Let another process pay. ENOMEM as of :func:`charge`; then the old one goes on to pay."""
    if mode is not AccountMode.NONE and _payer(old, mode) is not _payer(new, mode):
        charge(new, mode, pages)
        uncharge(old, mode, pages)
