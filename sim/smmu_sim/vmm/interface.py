"""What a monitor's two ways to the host have in common."""

from smmu_sim.linux_error import LinuxError

__all__ = ["Interface"]

_PAGE = 4096
_RAM_VA, _TRAP_VA, _SCRATCH_VA = 0x7F00_0000_0000, 0x7E00_0000_0000, 0x7D00_0000_0000


class Interface:
    """The monitor's process, and the devices that it has taken from the host.

    Subclasses say by which calls: :meth:`open`, :meth:`write_command`.

    Parameters
    ----------
    host
        :class:`Host`.
    process
        The monitor's process.

    Attributes
    ----------
    msi_ways
        The ways of :class:`VM` that MSIs can take.
    stalls, substreams
        Whether a guest can be offered them.
    hardware
        The :class:`HardwareInfo` that the guest's ID registers are made of.
    """

    msi_ways = ()
    stalls = substreams = False
    hardware = None

    def __init__(self, host, process):
        self.host, self.process = host, process
        self._pages, self._vectors = [], {}

    def open(self, vm):
        """Take the devices of a VM, and give them its memory; return a :class:`Stage1Owner`."""
        raise LinuxError("ENOTSUPP", f"{type(self).__name__} opens nothing")

    def write_command(self, device, value):
        """Write the command register of a device for the guest."""
        raise LinuxError("ENOTSUPP", f"{type(self).__name__} has no configuration space")

    def _map(self, memory):
        """Map the guest's RAM into the process, and two pages of zeros.

        Returns the addresses of the RAM, of the page that is an invalid CD for devices, and of
        scratch memory for what ioctls point to.
        """
        self.process.mmap(_RAM_VA, memory.target, memory.size)
        for va in (_TRAP_VA, _SCRATCH_VA):
            self._pages.append(self.host.machine.allocator.alloc(_PAGE))
            self.process.mmap(va, self._pages[-1], _PAGE)
        return _RAM_VA, _TRAP_VA, _SCRATCH_VA

    def close(self):
        """Give the memory back. Subclasses have closed their files."""
        for page in self._pages:
            self.host.machine.allocator.free(page, _PAGE)
        self._pages, self._vectors = [], {}

    # --- interrupts ------------------------------------------------------------------------------

    def enable_vector(self, device, index):
        """Let a vector's interrupts come. What the host says is passed on."""
        self._vectors[device].enable(index)

    def disable_vector(self, device, index):
        """Let no more come."""
        self._vectors[device].disable(index)

    def disable_vectors(self, device):
        """Switch all vectors of a device off."""
        self._vectors[device].disable_all()

    def take_interrupts(self, device):
        """Return the vectors that have had interrupts since the last call."""
        return self._vectors[device].take()
