"""The ports of the exported core: exactly those that integrators are promised."""

import pytest

from smmu.bus.axi import AXI4
from smmu.bus.axil import AXI4Lite
from smmu.params import Params
from smmu.tools.export import flat_ports
from smmu.top import SMMU


@pytest.mark.parametrize("settings", ["", "ports=2 oas=40 id_width=8"])
def test_names_widths_and_directions(settings):
    params = Params.from_settings("default", settings)
    found = {name: (direction.value, len(value))
             for name, (value, direction) in flat_ports(SMMU(params)).items()}

    table_id = found["m_axi_tbl_arid"][1]
    groups = {"s_axil": (AXI4Lite(addr_width=20), False),
              "m_axi_tbl": (AXI4(id_width=table_id, addr_width=params.oas, awuser_width=2,
                                 aruser_width=2), True)}
    for n in range(params.ports):
        device = {"id_width": params.id_width, "data_width": params.data_width}
        groups[f"s{n}_axi"] = (AXI4(addr_width=64, awuser_width=56, aruser_width=56, **device),
                               False)
        groups[f"m{n}_axi"] = (AXI4(addr_width=params.oas, awuser_width=35, aruser_width=35,
                                    **device), True)
    expected = {f"irq_{name}": ("output", 1)
                for name in ("eventq", "gerror", "cmdq_sync", "priq")}
    for prefix, (signature, is_manager) in groups.items():
        for name, member in signature.members.items():
            outward = (member.flow.value == "Out") == is_manager
            expected[f"{prefix}_{name}"] = ("output" if outward else "input", member.shape)
    assert found == expected
