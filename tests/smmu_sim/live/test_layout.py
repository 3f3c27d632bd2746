"""Where things are."""

import pytest

from smmu_sim.live.layout import GICV2M_SETSPI, SMMU_FRAME_BYTES, Layout


def test_all_frames_are_in_the_hole_and_on_pages_of_their_own():
    layout = Layout(512)
    frames = [layout.smmu, layout.rogue, *(device.base for device in layout.devices.values())]
    for frame in frames:
        assert layout.hole <= frame < layout.hole + layout.hole_bytes
        assert frame % 0x1_0000 == 0
    assert len(set(frames)) == 5
    assert min(frame for frame in frames if frame != layout.smmu) >= layout.smmu + SMMU_FRAME_BYTES


def test_dma_reaches_ram_and_the_doorbell_but_no_frame():
    layout = Layout(512)

    def reached(addr):
        return any(base <= addr < base + size for base, size in layout.windows)

    assert reached(layout.ram_base) and reached(layout.ram_base + layout.ram_bytes - 1)
    assert reached(GICV2M_SETSPI) and not reached(GICV2M_SETSPI + 4)
    assert not reached(layout.hole) and not reached(layout.hole + layout.hole_bytes - 1)
    assert reached(layout.hole - 1) and reached(layout.hole + layout.hole_bytes)


def test_streamids_and_interrupts_differ():
    devices = Layout(512).devices.values()
    assert len({device.sid for device in devices}) == len({device.spi for device in devices}) == 3


@pytest.mark.parametrize("ram_mib", [0, 128, 4096])
def test_too_little_and_too_much_memory_is_refused(ram_mib):
    with pytest.raises(ValueError, match=f"ram_mib is {ram_mib}"):
        Layout(ram_mib)
