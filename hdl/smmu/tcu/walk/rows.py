from amaranth import *
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from smmu.params import Params
from smmu.payloads import ConfigRow, LookupConfig, Stage1Config, Stage2Config
from smmu.tcu.walk.records import ContextPart, StreamPart

__all__ = ["ConfigRows", "split_row0"]


def split_row0(config):
    """Pairs (part, field) of `LookupConfig`: which part of it holds each field."""
    stream = StreamPart.as_shape().members
    return [("stream" if name in stream else "context", name)
            for name in config.as_shape().members]


class ConfigRows(wiring.Component):
    """The decoded configuration of each walk, in RAM.

    Timing
        Latency 1 cycle. A write is read from the next cycle on. `loaded` wins over the decoder,
        which must not write in the same cycle.

    Members
    -------
    loaded : :py:`In(ConfigRow)` with `loaded_valid`
        From the configuration cache.
    walk, write_stream, write_context, stream, context, stage1, stage2 :
        From the decoder: `write_stream` keeps `stream` and `stage2`, `write_context` the others.
    read_walk : :py:`In(5)`
    config0, config1, config2 : :py:`Out(LookupConfig)` and so on
        Of the `read_walk` of the last cycle.
    """

    def __init__(self, params: Params):
        self.params = params
        super().__init__({
            "loaded": In(ConfigRow),
            "loaded_valid": In(1),
            "walk": In(5),
            "write_stream": In(1),
            "write_context": In(1),
            "stream": In(StreamPart),
            "context": In(ContextPart),
            "stage1": In(Stage1Config),
            "stage2": In(Stage2Config),
            "read_walk": In(5),
            "config0": Out(LookupConfig),
            "config1": Out(Stage1Config),
            "config2": Out(Stage2Config),
        })

    def elaborate(self, platform):
        m = Module()
        row = self.loaded.row
        row0 = LookupConfig(self.loaded.bits[:LookupConfig.as_shape().size])
        parts = {"stream": Signal(StreamPart), "context": Signal(ContextPart)}
        shapes = {"stream": StreamPart, "context": ContextPart, "stage1": Stage1Config,
                  "stage2": Stage2Config}
        for part, name in split_row0(LookupConfig):
            m.d.comb += getattr(parts[part], name).eq(getattr(row0, name))
        numbers = {"stream": 0, "context": 0, "stage1": 1, "stage2": 2}
        strobes = {"stream": self.write_stream, "context": self.write_context,
                   "stage1": self.write_context, "stage2": self.write_stream}
        out = {}
        for name, shape in shapes.items():
            m.submodules[name] = storage = memory.Memory(
                shape=shape, depth=max(2, self.params.walks), init=[],
                attrs={"ram_style": self.params.record_ram_style})
            write, read = storage.write_port(), storage.read_port()
            size = shape.as_shape().size
            here = Signal(name=f"load_{name}")
            data = parts[name].as_value() if name in parts else self.loaded.bits[:size]
            m.d.comb += [
                here.eq(self.loaded_valid & self.loaded.hit & (row == numbers[name])),
                write.en.eq(here | strobes[name]),
                write.addr.eq(Mux(self.loaded_valid, self.loaded.walk, self.walk)),
                write.data.eq(Mux(self.loaded_valid, data, getattr(self, name).as_value())),
                read.addr.eq(self.read_walk),
            ]
            out[name] = read.data
        for part, name in split_row0(LookupConfig):
            m.d.comb += getattr(self.config0, name).eq(getattr(out[part], name))
        m.d.comb += [
            self.config1.eq(out["stage1"]),
            self.config2.eq(out["stage2"]),
        ]
        return m
