"""The machine's device tree: QEMU's own, with the SMMU and its devices added."""

import re
import subprocess

from smmu_sim.live.errors import LiveError
from smmu_sim.live.layout import (
    SMMU_FRAME_BYTES, SPI_CMDQ_SYNC, SPI_EVENTQ, SPI_GERROR, VIRTIO_FRAME_BYTES,
)
from smmu_sim.live.tools import find_tool

__all__ = ["compile_tree", "extended"]

_OWN_VIRTIO = re.compile(r"\n\tvirtio_mmio@[0-9a-f]+ \{.*?\n\t\};", re.DOTALL)
_V2M_PHANDLE = re.compile(r"\bv2m@[0-9a-f]+ \{[^}]*?\bphandle = <(0x[0-9a-f]+)>", re.DOTALL)
_EDGE = 1  # edge-triggered, rising: what the SMMU's wires are (IHI 0070, 3.18)


def extended(source, layout, *, msi):
    """Return the text of a device tree with our nodes in it.

    ``source`` is the text of QEMU's tree. Its own virtio frames, which no SMMU is in front of, are
    left out. With ``msi`` the SMMU's ``msi-parent`` is the GICv2m.
    """
    msi_parent = ""
    if msi:
        v2m = _V2M_PHANDLE.search(source)
        if v2m is None:
            raise LiveError("QEMU's device tree has no GICv2m (a node v2m@...), which MSIs need")
        msi_parent = f"msi-parent = <{v2m[1]}>;"
    nodes = [f"""
\treserved-memory {{
\t\t#address-cells = <2>; #size-cells = <2>; ranges;
\t\tframes@{layout.hole:x} {{ reg = <0 {layout.hole:#x} 0 {layout.hole_bytes:#x}>; no-map; }};
\t}};
\tsmmu: iommu@{layout.smmu:x} {{
\t\tcompatible = "arm,smmu-v3"; reg = <0 {layout.smmu:#x} 0 {SMMU_FRAME_BYTES:#x}>;
\t\t#iommu-cells = <1>; dma-coherent; {msi_parent}
\t\tinterrupts = <0 {SPI_EVENTQ} {_EDGE}>, <0 {SPI_GERROR} {_EDGE}>, <0 {SPI_CMDQ_SYNC} {_EDGE}>;
\t\tinterrupt-names = "eventq", "gerror", "cmdq-sync";
\t}};
"""]
    for device in layout.devices.values():
        nodes.append(f"""
\tvirtio_mmio@{device.base:x} {{
\t\tcompatible = "virtio,mmio"; reg = <0 {device.base:#x} 0 {VIRTIO_FRAME_BYTES:#x}>;
\t\tinterrupts = <0 {device.spi} {_EDGE}>; iommus = <&smmu {device.sid:#x}>; dma-coherent;
\t}};
""")
    text = _OWN_VIRTIO.sub("", source)
    end = text.rindex("};")
    return text[:end] + "".join(nodes) + text[end:]


def decompile(blob):
    """Return the text of a compiled tree, a path."""
    return _dtc("-I", "dtb", "-O", "dts", str(blob))


def compile_tree(blob, layout, target, *, msi):
    """Extend QEMU's compiled tree ``blob``; write ``target`` (``.dtb``) and its text beside it."""
    text = extended(decompile(blob), layout, msi=msi)
    source = target.with_suffix(".dts")
    source.write_text(text)
    _dtc("-I", "dts", "-O", "dtb", "-o", str(target), str(source))


def _dtc(*arguments):
    done = subprocess.run([find_tool("dtc"), "-q", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise LiveError(f"dtc {' '.join(arguments)} failed: {done.stderr.strip()}")
    return done.stdout
