"""What a GICv2m frame and a distributor's message registers have in common: writes raise SPIs."""

from collections import Counter, deque

from smmu_sim.irq.its import Arrival

__all__ = ["SPIDoorbell"]

_HISTORY = 4096


class SPIDoorbell:
    """A 32-bit register that takes the number of an SPI and makes it pending.

    It looks at no DeviceID: any device that reaches the register raises any of the SPIs.

    Attributes
    ----------
    setspi
        Physical address of the register.
    counts, arrivals
        What became of writes, as for an ITS; ``lpi`` of an arrival is the SPI.
    """

    def __init__(self, memory, setspi, spi_base, spi_count):
        if not (32 <= spi_base and spi_count > 0 and spi_base + spi_count <= 1020):
            raise ValueError(f"{spi_base} + {spi_count}: SPIs are 32 to 1019")
        self.memory, self.setspi = memory, setspi
        self.spi_base, self.spi_count = spi_base, spi_count
        self._pending, self._listeners = {}, []
        self.counts, self.arrivals = Counter(), deque(maxlen=_HISTORY)
        memory.observe(range(setspi, setspi + 4), self._message)

    @property
    def pending(self):
        """Pending SPIs, in the order in which they became so."""
        return list(self._pending)

    def take_pending(self, spis=None):
        """Acknowledge pending SPIs, all or those in ``spis``, and return them in order."""
        taken = [spi for spi in self._pending if spis is None or spi in spis]
        for spi in taken:
            del self._pending[spi]
        return taken

    def listen(self, call):
        """Call ``call(arrival)`` for every write to the doorbell. It must not use the backend."""
        self._listeners.append(call)

    def owns(self, spi):
        """Whether an SPI is one of those that messages can raise."""
        return self.spi_base <= spi < self.spi_base + self.spi_count

    def _message(self, addr, data, device_id):
        number = int.from_bytes(data, "little")
        self._reflect()
        why, spi = "delivered", None
        if addr != self.setspi or len(data) != 4:
            why = "not 32 bits"
        elif not self.owns(number):
            why = "unknown SPI"
        else:
            spi = number
            self._pending.setdefault(spi, True)
        self.counts[why] += 1
        self.arrivals.append(Arrival(device_id, number, spi, why))
        for listener in self._listeners:
            listener(self.arrivals[-1])

    def _reflect(self):
        """Let the register, which is write-only, read as zero."""
        self.memory.poke(self.setspi, bytes(4))
