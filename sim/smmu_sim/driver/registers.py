"""Registers by name, and waiting for them."""

from smmu.formats.core import pack, plain, unpack, update
from smmu.formats.registers import BY_NAME

from smmu_sim.driver.errors import TimedOut

__all__ = ["Registers"]

_LONGEST_PAUSE = 64  # clocks between two looks at a register


class Registers:
    """The register slave of a backend.

    Parameters
    ----------
    backend
        Has ``read32``, ``write32``, ``read64``, ``write64``, ``wait(clocks)``.
    timeout
        Clocks after which :meth:`poll` gives up.
    """

    def __init__(self, backend, timeout=200_000):
        self._backend, self.timeout = backend, timeout

    def read(self, name, index=0):
        """Return the value of a register; ``index`` counts the registers of an array."""
        register = BY_NAME[name]
        read = self._backend.read64 if register.width == 64 else self._backend.read32
        return read(register.at(index))

    def fields(self, name, index=0):
        """Return ``{field: value}`` of a register."""
        return unpack(BY_NAME[name].struct, self.read(name, index))

    def field(self, name, field, index=0):
        """Return one field of a register."""
        return getattr(plain(BY_NAME[name].struct), field)(self.read(name, index))

    def write(self, name, value=0, index=0, **fields):
        """Write a register: a whole value, or the fields named (over ``value``)."""
        register = BY_NAME[name]
        value = update(register.struct, value, fields)
        write = self._backend.write64 if register.width == 64 else self._backend.write32
        write(register.at(index), value)

    def write_acknowledged(self, name, **fields):
        """Write CR0 or IRQ_CTRL and wait until its ACK register says the same."""
        value = pack(BY_NAME[name].struct, fields)
        self.write(name, value)
        self.poll(f"{name}ACK", lambda ack: ack == value, f"become {value:#x}")

    def poll(self, name, done, what, index=0):
        """Read a register until ``done(value)``; return the value. Raises :exc:`TimedOut`."""
        value = None

        def look():
            nonlocal value
            value = self.read(name, index)
            return done(value)

        self.wait_until(look, lambda: f"{name} to {what}; it is {value:#x}")
        return value

    def wait_until(self, done, what):
        """Let clocks pass until ``done()``. ``what()`` completes "timed out waiting for ..."."""
        waited, pause = 0, 1
        while not done():
            if waited >= self.timeout:
                raise TimedOut(f"timed out after {waited} clocks waiting for {what()}")
            self._backend.wait(pause)
            waited, pause = waited + pause, min(2 * pause, _LONGEST_PAUSE)
