from amaranth import *
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.formats.registers import (
    REMAP_DOORBELL, REMAP_IPA, REMAP_STREAMID, write_mask)
from smmu.params import Params
from smmu.payloads import RemapAccess
from smmu.queues.remap import RemapEntry

__all__ = ["RemapRegisters"]

HALF = 32
HALVES = 8  # of the 32 bytes of an entry
NAMES = ("REMAP_STREAMID", "REMAP_IPA", "REMAP_DOORBELL")


class RemapRegisters(wiring.Component):
    """Hold the registers of the remap entries; a write of REMAP_STREAMID commits its entry.

    Timing
        About 4 cycles for an access, 14 for a commit. A commit unbinds the entry at its beginning
        and binds it at its end. After reset, the first access waits for 8 cycles per entry.

    Members
    -------
    accesses : :py:`In(stream.Signature(RemapAccess))`
        ``entry`` is one of the build's; ``word`` is not 3.
    answers : :py:`Out(stream.Signature(64))`
        After each access, also after a write.
    do_write : :py:`Out(1)`
    write : :py:`Out(RemapEntry)`
        To the remap.
    changed : :py:`Out(1)`
        Strobe: a commit is complete.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "accesses": In(stream.Signature(RemapAccess)),
            "answers": Out(stream.Signature(64)),
            "do_write": Out(1),
            "write": Out(RemapEntry),
            "changed": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=HALF, depth=HALVES * self.params.remap_entries, init=[])
        self.read, self.store = storage.read_port(), storage.write_port()
        self.access = Signal(RemapAccess)
        self.masked = Signal(64)
        self.step = Signal(range(HALVES + 2))
        self.got = Signal(HALVES * HALF)  # the halves of the entry that were read
        self.clearing = Signal(range(HALVES * self.params.remap_entries))

        with m.Switch(self.access.word):
            for word, name in enumerate(NAMES):
                with m.Case(word):
                    m.d.comb += self.masked.eq(
                        self.access.data & write_mask(name, self.params))
        self._read_out(m)
        self._sequence(m)
        return m

    def _read_out(self, m):
        """Step n reads half n of the entry, and catches half n - 1; `step` says when."""
        m.d.comb += self.read.addr.eq(Cat(self.step[:3], self.access.entry))
        for half in range(HALVES):
            with m.If(self.step == half + 1):
                m.d.sync += self.got.word_select(half, HALF).eq(self.read.data)

        streamid = REMAP_STREAMID(self.got[:64])
        m.d.comb += [
            self.write.entry.eq(self.access.entry),
            self.write.sid.eq(streamid.StreamID),
            self.write.ipa.eq(REMAP_IPA(self.got[64:128]).IPA),
            self.write.doorbell.eq(REMAP_DOORBELL(self.got[128:192]).ADDR),
            self.answers.payload.eq(self.got.word_select(self.access.word, 64)),
        ]

    def _sequence(self, m):
        access, store, step = self.access, self.store, self.step
        streamid = REMAP_STREAMID(self.got[:64])
        with m.FSM():
            with m.State("Clear"):
                m.d.comb += [store.en.eq(1), store.addr.eq(self.clearing)]
                m.d.sync += self.clearing.eq(self.clearing + 1)
                with m.If(self.clearing == HALVES * self.params.remap_entries - 1):
                    m.next = "Idle"
            with m.State("Idle"):
                m.d.comb += self.accesses.ready.eq(1)
                m.d.sync += [access.eq(self.accesses.payload), step.eq(0)]
                with m.If(self.accesses.valid):
                    m.next = "Write the low half"
            with m.State("Write the low half"):
                m.d.comb += [
                    store.en.eq(access.write & access.halves[0]),
                    store.addr.eq(Cat(C(0, 1), access.word, access.entry)),
                    store.data.eq(self.masked[:HALF]),
                ]
                m.next = "Write the high half"
            with m.State("Write the high half"):
                m.d.comb += [
                    store.en.eq(access.write & access.halves[1]),
                    store.addr.eq(Cat(C(1, 1), access.word, access.entry)),
                    store.data.eq(self.masked[HALF:]),
                ]
                m.next = "Read the entry"
            with m.State("Read the entry"):
                m.d.comb += self.do_write.eq(self._commits() & (step == 0))  # unbinds
                m.d.sync += step.eq(step + 1)
                with m.If(step == HALVES):
                    m.next = "Bind"
            with m.State("Bind"):
                m.d.comb += [
                    self.do_write.eq(self._commits()),
                    self.write.valid.eq(streamid.V),
                    self.changed.eq(self._commits()),
                ]
                m.next = "Answer"
            with m.State("Answer"):
                m.d.comb += self.answers.valid.eq(1)
                with m.If(self.answers.ready):
                    m.next = "Idle"

    def _commits(self):
        return self.access.write & self.access.halves.any() & (self.access.word == 0)
