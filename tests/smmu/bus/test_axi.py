"""The AXI signatures: complete, named as AXI names them, and connectable."""

import pytest
from amaranth.lib.wiring import In, Out

from smmu.bus.axi import AXI4
from smmu.bus.axil import AXI4Lite

AX = {"addr": 48, "len": 8, "size": 3, "burst": 2, "lock": 1, "cache": 4, "prot": 3, "qos": 4,
      "region": 4, "id": 6, "valid": 1}


def members(signature):
    """Return ``{name: (flow, width)}``."""
    return {name: (member.flow, member.shape) for name, member in signature.members.items()}


def test_axi4_has_every_signal():
    signature = AXI4(id_width=6, addr_width=48, data_width=64, awuser_width=56, aruser_width=35)
    expected = {f"{ax}{name}": (Out, width) for ax in ("aw", "ar") for name, width in AX.items()}
    expected |= {
        "awuser": (Out, 56), "aruser": (Out, 35), "awready": (In, 1), "arready": (In, 1),
        "wdata": (Out, 64), "wstrb": (Out, 8), "wlast": (Out, 1), "wvalid": (Out, 1),
        "wready": (In, 1), "bid": (In, 6), "bresp": (In, 2), "bvalid": (In, 1), "bready": (Out, 1),
        "rid": (In, 6), "rdata": (In, 64), "rresp": (In, 2), "rlast": (In, 1), "rvalid": (In, 1),
        "rready": (Out, 1)}
    assert members(signature) == expected


def test_no_user_signal_of_no_width():
    assert not {"awuser", "aruser"} & set(AXI4(id_width=4, addr_width=64).members)


def test_axi4_lite_has_every_signal():
    assert members(AXI4Lite(addr_width=20)) == {
        "awaddr": (Out, 20), "awprot": (Out, 3), "awvalid": (Out, 1), "awready": (In, 1),
        "wdata": (Out, 64), "wstrb": (Out, 8), "wvalid": (Out, 1), "wready": (In, 1),
        "bresp": (In, 2), "bvalid": (In, 1), "bready": (Out, 1), "araddr": (Out, 20),
        "arprot": (Out, 3), "arvalid": (Out, 1), "arready": (In, 1), "rdata": (In, 64),
        "rresp": (In, 2), "rvalid": (In, 1), "rready": (Out, 1)}


def test_equal_parameters_make_equal_signatures():
    assert AXI4(id_width=4, addr_width=64) == AXI4(id_width=4, addr_width=64)
    assert AXI4(id_width=4, addr_width=64) != AXI4(id_width=5, addr_width=64)
    assert AXI4Lite(addr_width=20).flip() != AXI4Lite(addr_width=20)


def test_parameters_are_attributes():
    signature = AXI4(id_width=4, addr_width=40, data_width=128, awuser_width=1, aruser_width=2)
    assert (signature.id_width, signature.addr_width, signature.data_width) == (4, 40, 128)
    assert (signature.awuser_width, signature.aruser_width) == (1, 2)
    assert repr(signature) == ("AXI4(id_width=4, addr_width=40, data_width=128, awuser_width=1, "
                               "aruser_width=2)")


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="id_width = 0: expected at least 1"):
        AXI4(id_width=0, addr_width=64)
    with pytest.raises(ValueError, match="data_width = 48"):
        AXI4(id_width=4, addr_width=64, data_width=48)
    with pytest.raises(ValueError, match="data_width = 128: expected 32 or 64"):
        AXI4Lite(addr_width=20, data_width=128)
