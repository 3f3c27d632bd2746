"""Cutting, reading and showing waveforms."""

from types import SimpleNamespace

import pytest
from vcd import VCDWriter

from smmu_sim import timeline, waves
from smmu_sim.run import msi, rtl

CLOCK = 10
AW, OUT = 0xFFFF_F040, 0x2021_0040
STRUCTURES = {0x1000: "L1STD", 0x2000: "STE", 0x3000: "stage 2 level 1"}
READS = [(0x1000, 1, 12, 22), (0x2000, 1, 23, 33), (0x3000, 2, 24, 30), (0x9999, 2, 34, 44)]


def record(path, clocks=80):
    """A device's write, four reads of the SMMU, and the write at the doorbell."""
    high = {  # signal: {clock: value} of the clocks in which it is not 0
        "s0_axi_awvalid": {5: 1, 6: 1}, "s0_axi_awready": {6: 1},
        "s0_axi_awaddr": {5: AW, 6: AW},
        "s0_axi_wvalid": {7: 1}, "s0_axi_wready": {7: 1}, "s0_axi_wdata": {7: 5},
        "s0_axi_bvalid": {70: 1}, "s0_axi_bready": {70: 1},
        "m0_axi_awvalid": {50: 1, 51: 1}, "m0_axi_awready": {51: 1},
        "m0_axi_awaddr": {50: OUT, 51: OUT}, "m0_axi_awuser": {50: 0x42, 51: 0x42},
        "m0_axi_wvalid": {52: 1}, "m0_axi_wready": {52: 1},
        "m0_axi_bvalid": {66: 1}, "m0_axi_bready": {66: 1},
        **{f"m_axi_tbl_{name}": {} for name in
           ("arvalid", "arready", "araddr", "arid", "rvalid", "rready", "rid", "rlast")},
    }
    for addr, number, start, end in READS:
        for name, clock, value in (
                ("arvalid", start, 1), ("arready", start, 1), ("araddr", start, addr),
                ("arid", start, number), ("rvalid", end, 1), ("rready", end, 1),
                ("rid", end, number), ("rlast", end, 1)):
            high[f"m_axi_tbl_{name}"][clock] = value
    state = {clock: 1 + clock // 30 for clock in range(10, 60)}
    with open(path, "w") as file, VCDWriter(file, timescale="1 ns") as writer:
        clk = writer.register_var("bench.smmu", "clk", "wire", 1, init=0)
        ports = {name: writer.register_var("bench.smmu", name, "wire", 64, init=0)
                 for name in high}
        fsm = writer.register_var("bench.smmu.tcu", "fsm_state", "wire", 2, init=0)
        for clock in range(clocks):
            # What registers see at edge n was there since edge n - 1.
            now = clock * CLOCK
            for name, values in high.items():
                writer.change(ports[name], now + 1, values.get(clock, 0))
            writer.change(fsm, now + 1, state.get(clock, 0))
            writer.change(clk, now + CLOCK // 2, 0)
            writer.change(clk, now + CLOCK, 1)
    return path


def test_recording_sees_what_registers_saw(tmp_path):
    recording = waves.Recording(record(tmp_path / "a.vcd"))
    assert len(recording.edges) == 80
    (aw,) = recording.beats("s0_axi_aw", ("addr",))
    assert (aw.offered, aw.clock, aw.addr) == (5, 6, AW)
    assert len(recording.beats("m_axi_tbl_ar")) == 4
    assert recording.find("fsm_state") == "bench.smmu.tcu.fsm_state"
    assert recording.find("state") is None
    assert recording.value("fsm_state", 20) == 1 and recording.value("fsm_state", 40) == 2
    with pytest.raises(AttributeError, match="this channel has no data"):
        _ = aw.data
    with pytest.raises(waves.WaveformError, match="has no signal s7_axi_awvalid"):
        recording.beats("s7_axi_aw")


def test_spans_of_an_msi(tmp_path):
    spans = timeline.msi_spans(waves.Recording(record(tmp_path / "a.vcd")), STRUCTURES)
    assert [(span.label, span.start, span.end) for span in spans] == [
        (f"s0_axi_aw  {AW:#x}", 5, 6), ("s0_axi_w", 7, 7),
        ("L1STD  0x1000", 12, 22), ("STE  0x2000", 23, 33), ("stage 2 level 1  0x3000", 24, 30),
        ("read  0x9999", 34, 44), (f"m0_axi_aw  {OUT:#x}", 50, 51), ("m0_axi_w", 52, 52),
        ("m0_axi_b", 66, 66), ("s0_axi_b", 70, 70)]
    assert [span.kind for span in spans[2:6]] == ["configuration", "configuration", "stage 2",
                                                 "read"]


def test_cut_keeps_values_and_signals(tmp_path):
    whole, part = record(tmp_path / "a.vcd"), tmp_path / "b.vcd"
    waves.cut(whole, part, 300, 460)
    assert part.stat().st_size < whole.stat().st_size
    before, after = waves.Recording(whole), waves.Recording(part)
    assert set(before.names) == set(after.names)
    shift = before.edges.index(after.edges[0])
    assert after.edges == before.edges[shift:shift + len(after.edges)] and 14 <= len(after.edges)
    for name in before.names:
        assert [after.value(name, n) for n in range(1, len(after.edges))] \
            == [before.value(name, n + shift) for n in range(1, len(after.edges))], name

    with pytest.raises(waves.WaveformError, match="ends before 9000"):
        waves.cut(whole, part, 9000, 9100)
    (tmp_path / "no.vcd").write_text("nothing\n")
    with pytest.raises(waves.WaveformError, match="is no VCD"):
        waves.cut(tmp_path / "no.vcd", part, 0, 1)


def test_cut_leaves_out_what_tools_made_up(tmp_path):
    (tmp_path / "a.vcd").write_text("""$timescale 1ns $end
$scope module $rootio $end
$scope module inner $end
$var wire 1 ! clk $end
$upscope $end
$upscope $end
$scope module bench $end
$var wire 1 " clk $end
$var wire 1 # $12 $end
$var wire 4 $ data [3:0] $end
$upscope $end
$enddefinitions $end
#0
0!
0"
1#
b0000 $
#5
1"
0#
b0101 $
#10
0"
""")
    waves.cut(tmp_path / "a.vcd", tmp_path / "b.vcd", 5, 20)
    lines = (tmp_path / "b.vcd").read_text().splitlines()
    assert [line for line in lines if line.startswith("$var")] == [
        '$var wire 1 " clk $end', "$var wire 4 $ data [3:0] $end"]
    assert lines[lines.index("#5"):] == ["#5", '0"', "b0000 $", '1"', "b0101 $", "#10", '0"',
                                         "#20"]
    assert set(waves.Recording(tmp_path / "b.vcd").names) == {"bench.clk", "bench.data"}


def test_picture(tmp_path):
    png = tmp_path / "a.png"
    spans = timeline.draw(record(tmp_path / "a.vcd"), png, STRUCTURES, "an MSI")
    assert png.read_bytes().startswith(b"\x89PNG") and len(spans) == 10


def test_an_msi_that_never_left(tmp_path):
    cut = tmp_path / "b.vcd"
    waves.cut(record(tmp_path / "a.vcd"), cut, 0, 300)
    with pytest.raises(waves.WaveformError, match="nothing was transferred on m0_axi_aw"):
        timeline.msi_spans(waves.Recording(cut), STRUCTURES)


def test_bad_files(tmp_path):
    with pytest.raises(waves.WaveformError, match="no such file"):
        waves.Recording(tmp_path / "none.vcd")
    (tmp_path / "bad.vcd").write_text("hello")
    with pytest.raises(waves.WaveformError):
        waves.Recording(tmp_path / "bad.vcd")
    with pytest.raises(waves.WaveformError, match="no \\$timescale"):
        waves.ticks_per_ns(tmp_path / "bad.vcd")


def test_ticks(tmp_path):
    assert waves.ticks_per_ns(record(tmp_path / "a.vcd")) == 1
    (tmp_path / "ps.vcd").write_text("$timescale   1ps $end")
    assert waves.ticks_per_ns(tmp_path / "ps.vcd") == 1000


VERILOG = r"""
module \smmu.tcu (clk);
  (* enum_base_type = "fsm_state" *)
  (* enum_value_00 = "Idle" *)
  (* enum_value_01 = "Fetch descriptor" *)
  (* enum_value_10 = "Answer" *)
  reg [1:0] fsm_state = 2'h0;
  wire [1:0] other;
  (* enum_value_0 = "OFF" *)
  (* enum_value_1 = "ON" *)
  wire \entry.kind ;
endmodule
module top(clk);
  (* enum_value_1 = "YES" *)
  input clk;
endmodule
"""


def test_names_of_states_come_from_the_verilog():
    assert waves.enum_names(VERILOG) == {
        "smmu.tcu.fsm_state": {0: "Idle", 1: "Fetch descriptor", 2: "Answer"},
        "smmu.tcu.entry.kind": {0: "OFF", 1: "ON"},
        "top.clk": {1: "YES"},
    }


def test_save_file_shows_states_by_name(tmp_path):
    vcd, gtkw = record(tmp_path / "a.vcd"), tmp_path / "a.gtkw"
    waves.write_gtkw(gtkw, vcd, {"device": ["s0_axi_awvalid", "s0_axi_awaddr", "nonsense"],
                                 "states": ["smmu.tcu.fsm_state"], "nothing": ["nonsense"]},
                     waves.enum_names(VERILOG), marker=55)
    text = gtkw.read_text()
    assert "bench.smmu.s0_axi_awaddr[63:0]" in text and "nonsense" not in text
    filters = list((tmp_path / "a.names").iterdir())
    assert len(filters) == 1 and str(filters[0]) in text
    assert filters[0].read_text() == "0 Idle\n1 Fetch descriptor\n2 Answer"
    assert "-states" in text and "-nothing" not in text


def test_the_main_job_leaves_waveform_save_file_and_picture(tmp_path):
    run, core, out = tmp_path / "run", tmp_path / "core", tmp_path / "out"
    run.mkdir()
    core.mkdir()
    record(run / "dump.vcd", clocks=200)
    (core / "bench.v").write_text(VERILOG)
    structures = {str(addr): name for addr, name in STRUCTURES.items()}
    outcome = msi.Outcome(window=[130.0, 900.0], structures=structures)
    record_again = waves.Recording(run / "dump.vcd")
    assert len(record_again.edges) == 200
    files = rtl._show(run, outcome, out, SimpleNamespace(folder=core))
    assert list(files.values()) == [out / "msi.vcd", out / "msi.gtkw", out / "msi.png"]
    assert all(path.stat().st_size for path in files.values())
    assert not (run / "dump.vcd").exists(), "the whole recording is large"
    assert 80 < len(waves.Recording(out / "msi.vcd").edges) < 105
    text = (out / "msi.gtkw").read_text()
    assert "-Device's write" in text and "-States: tcu" in text and "-Start of a walk" not in text
