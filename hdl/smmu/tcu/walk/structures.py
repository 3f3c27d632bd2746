from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import Stage1Config, Stage2Config, TableData, World
from smmu.tcu.walk.cd_decode import CDDecode
from smmu.tcu.walk.queue import Queue
from smmu.tcu.walk.records import ContextPart, StreamPart, WalkEvent
from smmu.tcu.walk.ste_decode import STEDecode

__all__ = ["Structures", "BEATS"]

BEATS = 4   # qwords of an STE or CD that are read: the others hold nothing for this version
DECODE_CYCLES = 3


class _Fetched(data.Struct):
    walk: 5
    error: 1


class _Kind(data.Struct):
    """What is known of a walk's structure before it arrives."""

    cd: 1       # a CD, else an STE
    ssv: 1


class Structures(wiring.Component):
    """Collect the beats of STEs and CDs, decode them, one after the other.

    Beats of several walks may interleave. A decoded structure is written to the configuration rows,
    then its event is raised.

    Timing
        About 12 cycles from the last beat to the event.

    Members
    -------
    beats : :py:`In(stream.Signature(TableData, always_ready=True))`
        Beats of reads of 4.
    ssv_write, cd_write : strobes with `write_walk`
        Tell about a walk: it starts, with or without a SubstreamID; its next structure is a CD.
    stream, context, stage1, stage2 :
        Decoded parts; `write_stream` (the first and last of them) or `write_context` says which to
        keep for `walk`. They last until `stall` is 0.
    events : :py:`Out(stream.Signature(WalkEvent))`
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "beats": In(stream.Signature(TableData, always_ready=True)),
            "kind_write": In(1),
            "kind_walk": In(5),
            "kind_cd": In(1),
            "kind_ssv": In(1),
            "e2h": In(1),
            "stall": In(1),
            "walk": Out(5),
            "write_stream": Out(1),
            "write_context": Out(1),
            "stream": Out(StreamPart),
            "context": Out(ContextPart),
            "stage1": Out(Stage1Config),
            "stage2": Out(Stage2Config),
            "events": Out(stream.Signature(WalkEvent)),
        })

    def elaborate(self, platform):
        m = Module()
        walks = self.params.walks
        bits = range(walks).stop.bit_length() - 1
        m.submodules.qwords = qwords = memory.Memory(
            shape=64, depth=walks * BEATS, init=[],
            attrs={"ram_style": self.params.record_ram_style})
        m.submodules.kinds = kinds = memory.Memory(
            shape=_Kind, depth=max(2, walks), init=[], attrs={"ram_style": "distributed"})
        m.submodules.worlds = worlds = memory.Memory(
            shape=World, depth=max(2, walks), init=[], attrs={"ram_style": "distributed"})
        m.submodules.queue = queue = Queue(_Fetched, walks)
        m.submodules.ste = ste = STEDecode(self.params)
        m.submodules.cd = cd = CDDecode(self.params)

        # Collect.
        beat, errors = self.beats.payload, Signal(walks)
        write, error = qwords.write_port(), Signal()
        m.d.comb += [
            write.en.eq(self.beats.valid),
            write.addr.eq(Cat(beat.beat, beat.id[:bits])),
            write.data.eq(beat.data),
            error.eq(beat.error | ~beat.first & errors.bit_select(beat.id[:bits], 1)
                     if walks > 1 else beat.error | ~beat.first & errors[0]),
            queue.i.valid.eq(self.beats.valid & beat.last),
            queue.i.payload.walk.eq(beat.id),
            queue.i.payload.error.eq(error),
        ]
        with m.If(self.beats.valid):
            for walk in range(walks):
                with m.If(beat.id == walk):
                    m.d.sync += errors[walk].eq(error)
        kind_write, kind = kinds.write_port(), kinds.read_port(domain="comb")
        m.d.comb += [
            kind_write.en.eq(self.kind_write),
            kind_write.addr.eq(self.kind_walk),
            kind_write.data.cd.eq(self.kind_cd),
            kind_write.data.ssv.eq(self.kind_ssv),
        ]

        # Decode.
        current, current_kind, current_world = Signal(_Fetched), Signal(_Kind), Signal(World)
        world_write, world = worlds.write_port(), worlds.read_port(domain="comb")
        read = qwords.read_port()
        count, reading, passing = Signal(range(BEATS + 1)), Signal(BEATS), Signal(BEATS)
        qword = Signal(64)
        m.d.comb += [
            kind.addr.eq(queue.o.payload.walk),
            world.addr.eq(queue.o.payload.walk),
            world_write.addr.eq(current.walk),
            world_write.data.eq(ste.stream.world),
            read.addr.eq(Cat(count[:2], current.walk[:bits])),
            ste.e2h.eq(self.e2h),
            ste.ssv.eq(current_kind.ssv),
            cd.world.eq(current_world),
            ste.qword.eq(qword),
            cd.qword.eq(qword),
            ste.strobe.eq(passing & (~current_kind.cd).replicate(BEATS)),
            cd.strobe.eq(passing & current_kind.cd.replicate(BEATS)),
        ]
        m.d.sync += [
            qword.eq(read.data),
            passing.eq(reading),
            reading.eq(0),
        ]

        wait = Signal(range(DECODE_CYCLES + 2))
        event = self.events.payload
        m.d.comb += [
            self.walk.eq(current.walk),
            self.stream.eq(ste.stream),
            self.stage2.eq(ste.stage2),
            self.stage1.eq(cd.stage1),
            event.walk.eq(current.walk),
            event.error.eq(current.error),
            event.bad.eq(Mux(current_kind.cd, cd.bad, ste.bad)),
            event.silent.eq(~current_kind.cd & ste.silent),
            event.S1DSS.eq(ste.S1DSS),
            event.cd_walk.eq(ste.cd_walk),
            event.data.eq(ste.first),
        ]
        with m.If(current_kind.cd):
            m.d.comb += self.context.eq(cd.context)
        with m.FSM():
            with m.State("Wait for a structure"):
                m.d.comb += queue.o.ready.eq(1)
                m.d.sync += [
                    current.eq(queue.o.payload),
                    current_kind.eq(kind.data),
                    current_world.eq(world.data),
                    count.eq(0),
                    wait.eq(0),
                ]
                with m.If(queue.o.valid):
                    m.next = "Read qwords"
            with m.State("Read qwords"):
                with m.If(count != BEATS):
                    m.d.comb += read.en.eq(1)
                    m.d.sync += [
                        count.eq(count + 1),
                        reading.eq(1 << count[:2]),
                    ]
                with m.Else():
                    m.d.sync += wait.eq(wait + 1)
                    with m.If(wait == DECODE_CYCLES + 1):
                        m.next = "Write rows"
            with m.State("Write rows"):
                with m.If(~self.stall):
                    m.d.comb += [
                        self.write_stream.eq(~current_kind.cd),
                        self.write_context.eq(1),   # an STE clears what a CD will write
                        world_write.en.eq(~current_kind.cd),
                    ]
                    m.next = "Raise event"
            with m.State("Raise event"):
                m.d.comb += self.events.valid.eq(1)
                with m.If(self.events.ready):
                    m.next = "Wait for a structure"
        return m
