"""QEMU's device tree with our nodes."""

import pytest

from smmu_sim.live.device_tree import extended
from smmu_sim.live.errors import LiveError
from smmu_sim.live.layout import Layout

QEMU = """/dts-v1/;

/ {
\tinterrupt-parent = <0x8002>;

\tvirtio_mmio@a000000 {
\t\treg = <0x00 0xa000000 0x00 0x200>;
\t};

\tvirtio_mmio@a000200 {
\t\treg = <0x00 0xa000200 0x00 0x200>;
\t};

\tintc@8000000 {
\t\tphandle = <0x8002>;

\t\tv2m@8020000 {
\t\t\tphandle = <0x8003>;
\t\t\treg = <0x00 0x8020000 0x00 0x1000>;
\t\t};
\t};
};
"""


def test_the_smmu_is_in_a_hole_that_the_kernel_leaves_alone():
    layout = Layout(512)
    text = extended(QEMU, layout, msi=False)
    assert f"iommu@{layout.smmu:x}" in text and 'compatible = "arm,smmu-v3"' in text
    assert f"reg = <0 {layout.hole:#x} 0 {layout.hole_bytes:#x}>; no-map;" in text
    assert 'interrupt-names = "eventq", "gerror", "cmdq-sync"' in text


def test_only_our_devices_are_left_and_each_has_its_streamid():
    layout = Layout(512)
    text = extended(QEMU, layout, msi=False)
    assert "a000000" not in text and "a000200" not in text and "intc@8000000" in text
    for device in layout.devices.values():
        node = text[text.index(f"virtio_mmio@{device.base:x}"):]
        assert f"iommus = <&smmu {device.sid:#x}>" in node[:node.index("};")]


def test_msi_parent_is_the_gicv2m():
    assert "msi-parent = <0x8003>;" in extended(QEMU, Layout(512), msi=True)
    assert "msi-parent" not in extended(QEMU, Layout(512), msi=False)


def test_msis_without_a_gicv2m_are_refused():
    with pytest.raises(LiveError, match="no GICv2m"):
        extended(QEMU.replace("v2m@", "its@"), Layout(512), msi=True)
