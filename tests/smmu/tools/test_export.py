"""Verilog export: flat names, no trace of the place, names of states, one-line errors."""

import re
from pathlib import Path

import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from smmu.bus.axil import AXI4Lite
from smmu.tools import export as tool
from smmu.tools.export import export, flat_ports


class Part(wiring.Component):
    """A small component with nested interfaces, an FSM and a port without width."""

    def __init__(self):
        super().__init__({
            "s_axil": In(AXI4Lite(addr_width=20)),
            "m_axil": Out(AXI4Lite(addr_width=20)),
            "go": In(1),
            "none": Out(0),
            "busy": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        connect(m, flipped(self.s_axil), flipped(self.m_axil))
        with m.FSM():
            with m.State("Wait for go"):
                with m.If(self.go):
                    m.next = "Fetch descriptor"
            with m.State("Fetch descriptor"):
                m.d.comb += self.busy.eq(1)
                m.next = "Wait for go"
        return m


def ports_of(text, module):
    """Return ``{port: (direction, width)}`` of a module."""
    body = re.search(rf"^module {module}\(.*?^endmodule", text, re.M | re.S).group()
    return {name: (direction, int(high or 0) + 1) for direction, high, name in re.findall(
        r"^  (input|output) (?:\[(\d+):0\] )?(\w+);", body, re.M)}


def test_flat_ports():
    part = Part()
    text = export(part, "smmu", flat_ports(part))
    ports = ports_of(text, "smmu")
    assert ports["s_axil_awaddr"] == ("input", 20)
    assert ports["s_axil_rdata"] == ("output", 64)
    assert ports["m_axil_awaddr"] == ("output", 20)
    assert ports["clk"] == ports["rst"] == ("input", 1)
    assert "none" not in text and "[-1:0]" not in text
    assert not [name for name in ports if "__" in name]


def test_nested_names_without_a_port_map():
    ports = ports_of(export(Part(), "part"), "part")
    assert {"s_axil__awaddr", "m_axil__wstrb", "go", "busy"} <= set(ports)


def test_text_tells_nothing_of_its_place():
    text = export(Part(), "part")
    assert "src =" not in text and ".py" not in text and str(Path.cwd()) not in text
    assert text == export(Part(), "part")


def test_names_of_states_survive():
    text = export(Part(), "part")
    assert '"Wait for go"' in text and '"Fetch descriptor"' in text


def test_no_systemverilog():
    text = export(Part(), "part")
    assert not re.search(r"\b(always_comb|always_ff|logic|assert)\b", text)


def test_two_ports_of_one_name_are_refused():
    class Clash(wiring.Component):
        a_awaddr: In(20)
        a: Out(AXI4Lite(addr_width=20))

        def elaborate(self, platform):
            return Module()

    with pytest.raises(ValueError, match="a_awaddr"):
        flat_ports(Clash())


@pytest.mark.parametrize("arguments, message", [
    (["--set", "oas=52"], "oas = 52: expected 32, 36"),
    (["--config", "huge"], "CONFIG = huge"),
    (["--set", "st_level=0"], "SIDSIZE >= 7"),
])
def test_bad_parameters_end_with_one_line(arguments, message, tmp_path, capsys):
    assert tool.main([*arguments, "--out", str(tmp_path / "smmu.v")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "smmu.v").exists()
