from amaranth import *
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params

__all__ = ["ConfigTags", "ConfigGeometry"]

WAYS = 2


class ConfigGeometry:
    """The sizes of the configuration cache, and the layouts that its parts share."""

    def __init__(self, params: Params):
        sets = params.cfg_entries // WAYS
        if params.cfg_entries != sets * WAYS or sets < 2 or sets & (sets - 1):
            raise ValueError(f"cfg_entries must be a power of two from 4, not "
                             f"{params.cfg_entries!r}")
        self.ways = WAYS
        self.sets = sets
        self.set_bits = (sets - 1).bit_length()
        self.sid_bits = params.sidsize
        self.ssid_bits = params.ssidsize
        #: A key without the bits that no legal one has; without SubstreamID, ``ssid`` is 0.
        self.key = data.StructLayout({
            "sid": self.sid_bits, "ssv": 1, "ssid": self.ssid_bits})
        #: One step of the pipeline.
        self.operation = data.StructLayout({
            "lookup": 1,      # one row, for a lookup
            "load": 1,        # one row of three, for a walk
            "victim": 1,      # choose a way for the key, and empty it
            "publish": 1,     # make ``way`` valid for the key
            "remove": 1,      # empty what the pending CFGI names
            "set": self.set_bits,
            "key": self.key,
            "possible": 1,    # the key's other bits are 0
            "number": 6,      # of a lookup or walk
            "row": 2,
            "way": 1,
        })

    def trimmed(self, key):
        """A `ConfigKey` as a `key`, and whether no bit is lost."""
        ssid = Mux(key.ssv, key.ssid, 0)
        trimmed = Cat(key.sid[:self.sid_bits], key.ssv, ssid[:self.ssid_bits])
        return trimmed, ~(key.sid[self.sid_bits:].any() | ssid[self.ssid_bits:].any())

    def set_of(self, sid, ssid):
        """The set of a trimmed key: with and without SubstreamID 0 the same."""
        return (sid[:self.set_bits] ^ sid[self.set_bits:2 * self.set_bits]
                ^ ssid[:self.set_bits])[:self.set_bits]


class ConfigTags(wiring.Component):
    """Compare a key with the tags of its set, and change these tags.

    Timing
        `operation` counts in cycle 0; `done`, `way` and `hit` are there in cycle 2 (`hit` and `way`
        one gate behind registers), and the tags are written in cycle 3. One operation per cycle.

    Members
    -------
    operation : :py:`In`
        A register.
    pending : :py:`In(1)`
        There is a CFGI: `sid`, `sid_ignore`, `match_ssid`, `ssid`. Lookups and loads that it
        concerns miss, and `remove` removes what it names.
    done : :py:`Out`
        The operation in cycle 2.
    hit, way : :py:`Out(1)`
        Where the key was found, or for `victim` the way that was emptied.
    """

    def __init__(self, geometry: ConfigGeometry):
        self._geometry = geometry
        super().__init__({
            "operation": In(geometry.operation),
            "pending": In(1),
            "sid": In(geometry.sid_bits),
            "sid_ignore": In(geometry.sid_bits),
            "match_ssid": In(1),
            "ssid": In(geometry.ssid_bits),
            "done": Out(geometry.operation),
            "hit": Out(1),
            "way": Out(1),
        })

    @property
    def geometry(self):
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        tag = data.StructLayout({"valid": 1, "key": geometry.key})

        # Cycle 0: read.
        tags, writes = [], []
        for n in range(geometry.ways):
            m.submodules[f"tags_{n}"] = ram = memory.Memory(
                shape=tag, depth=geometry.sets, init=[], attrs={"ram_style": "distributed"})
            read, found = ram.read_port(domain="comb"), Signal(tag, name=f"found_{n}")
            m.d.comb += read.addr.eq(self.operation.set)
            m.d.sync += found.eq(read.data)
            tags.append(found)
            writes.append(ram.write_port())
        compared = Signal(geometry.operation)  # cycle 1
        m.d.sync += [compared.eq(self.operation), self.done.eq(compared)]

        # Cycle 1: compare, with the operation's key or with what the CFGI names.
        def named(key):
            return (((key.sid ^ self.sid) & ~self.sid_ignore) == 0) & (
                ~self.match_ssid | (key.ssid == self.ssid))
        matched, valid = Signal(geometry.ways), Signal(geometry.ways)
        for n, found in enumerate(tags):
            m.d.sync += [
                matched[n].eq(found.valid & Mux(
                    compared.remove, named(found.key),
                    found.key.as_value() == compared.key.as_value())),
                valid[n].eq(found.valid),
            ]
        hidden = Signal()
        m.d.sync += hidden.eq(~compared.possible | (self.pending & named(compared.key)))

        # Cycle 2: decide.
        random = Signal()
        m.d.sync += random.eq(~random)
        m.d.comb += self.hit.eq(matched.any() & ~hidden)
        with m.If(matched.any() | ~self.done.victim):
            m.d.comb += self.way.eq(matched[1])
        with m.Elif(~valid.all()):
            m.d.comb += self.way.eq(valid[0])
        with m.Else():
            m.d.comb += self.way.eq(random)

        write, written, address = Signal(geometry.ways), Signal(tag), Signal(geometry.set_bits)
        m.d.sync += [
            write.eq(0),
            address.eq(self.done.set),
            written.valid.eq(self.done.publish),
            written.key.eq(self.done.key),
        ]
        with m.If(self.done.remove):
            m.d.sync += write.eq(matched)
        with m.If(self.done.victim):
            m.d.sync += write.eq(Cat(~self.way, self.way))
        with m.If(self.done.publish):
            m.d.sync += write.eq(Cat(~self.done.way, self.done.way))

        # Cycle 3: write.
        for n, port in enumerate(writes):
            m.d.comb += [
                port.addr.eq(address),
                port.data.eq(written),
                port.en.eq(write[n]),
            ]

        return m
