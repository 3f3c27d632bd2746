"""Memories that behave as badly as synthesis without read/write checks allows."""

from types import SimpleNamespace

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.memory import Memory, ReadPort
from amaranth.lib.wiring import Component

__all__ = ["HostileMemory", "hostile"]


class HostileMemory(Component):
    """A memory whose synchronous read is nonsense if the same address is written in that cycle.

    The nonsense is the worst there is: the data of the write, ``valid`` if there is such a field,
    or any mixture of it with what was there before. Asynchronous reads are as usual.
    """

    def __init__(self, *, shape, depth, init, attrs=None):
        self.inner = Memory(shape=shape, depth=depth, init=init, attrs=attrs)
        self.read, self.shape, self.address_width = None, shape, (depth - 1).bit_length()
        super().__init__({})

    def read_port(self, domain="sync"):
        if domain == "comb":
            return self.inner.read_port(domain="comb")
        self.read = self.inner.read_port()
        self.outer = ReadPort.Signature(
            addr_width=self.address_width, shape=self.shape).create()
        return self.outer

    def write_port(self):
        self.write = self.inner.write_port()
        return self.write

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self.inner
        if self.read is None:
            return m
        before, outer = Value.cast(self.read.data), Value.cast(self.outer.data)
        width = len(before)
        collided, written = Signal(), Signal(width)
        noise = Signal(width, init=0x123456789ABCDEF0123456789ABCDEF % (1 << width))
        valid = 0
        if isinstance(self.shape, data.Layout) and "valid" in dict(self.shape):
            valid = 1 << self.shape["valid"].offset
        m.d.comb += [
            self.read.addr.eq(self.outer.addr),
            outer.eq(Mux(collided, Mux(noise[3], written | valid,
                                       (noise & written) | (~noise & before)), before)),
        ]
        m.d.sync += [
            collided.eq(self.write.en.any() & (self.write.addr == self.read.addr)),
            written.eq(self.write.data),
            noise.eq(noise.rotate_left(7) ^ noise[:3]),
        ]
        return m


#: Stands in for the module `amaranth.lib.memory` inside a module under test.
hostile = SimpleNamespace(Memory=HostileMemory)
