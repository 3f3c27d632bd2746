"""What a boot must show, and one verdict about it."""

from dataclasses import dataclass

__all__ = ["Check", "Expected", "StrayAccess", "same"]


@dataclass(frozen=True)
class StrayAccess:
    """An access of 8 bytes by a device that nothing is mapped for."""

    sid: int
    addr: int
    write: bool
    in_memory: bool          # there is memory at this physical address

    def refused_in(self, variant):
        """Tell whether it must end with an error."""
        return variant.translates or not self.in_memory


@dataclass(frozen=True)
class Expected:
    """What the host knows about a boot."""

    variant: object          # Variant
    params: object           # Params of the SMMU
    sids: dict               # {"blk": StreamID, ...}
    cpus: int
    page_size: int | None    # bytes; None: the kernel's image did not tell
    release: str             # of the kernel; "": not known
    msi: bool
    stray_accesses: tuple    # StrayAccess, in the order in which the guest asks for them
    disk_bytes: int
    statistics: dict         # of the session


@dataclass(frozen=True)
class Check:
    """One verdict. ``expected`` is empty if ``found`` says it all."""

    name: str
    title: str
    ok: bool
    found: str
    expected: str = ""


def same(name, title, found, expected):
    """Return the :class:`Check` that two texts are the same."""
    return Check(name, title, found == expected, found or "nothing", expected)
