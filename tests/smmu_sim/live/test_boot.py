"""An unmodified kernel boots with the core as its SMMU: it probes, and reads a block device.

`make linux` does more of it. Here the guest is done after the first read, and what was recorded is
replayed on the reference model. Needs QEMU, dtc, and Debian's archive, or what was loaded from it
before.
"""

import hashlib
import random
import re

import pytest
from click.testing import CliRunner

from smmu.params import Params
from smmu_sim.bench.runner import build_folder
from smmu_sim.live.debian_archive import DebianArchive
from smmu_sim.live.errors import LiveError
from smmu_sim.live.guest_report import GuestReport
from smmu_sim.live.initramfs import build_initramfs
from smmu_sim.live.kernel_log import expected_features, features_in
from smmu_sim.live.packages import get_busybox, get_kernel
from smmu_sim.live.session import Session
from smmu_sim.replay import main as replay
from tests.smmu_sim.live.needs import NEEDS_QEMU

MIRROR = "http://deb.debian.org/debian"
DISK = random.Random(1).randbytes(64 << 10)
PARTS = "kernel,devices,disk"


@pytest.fixture
def guest(tmp_path):
    """A kernel and an initramfs from Debian."""
    packages = build_folder() / "live" / "packages"
    archive = DebianArchive(packages, MIRROR)
    try:
        kernel = get_kernel("6.1", archive, packages)
        busybox = get_busybox(archive)
    except LiveError as error:
        pytest.skip(f"no kernel to boot: {error}")
    initramfs = tmp_path / "initramfs.gz"
    initramfs.write_bytes(build_initramfs(busybox, kernel.modules))
    return kernel.image, initramfs


@NEEDS_QEMU
def test_a_kernel_probes_the_core_and_reads_a_disk_through_it(guest, tmp_path):
    session = Session(
        *guest, backend="rtl", cpus=1, disk_bytes=DISK, out_folder=tmp_path, record=True,
        append=f"iommu.strict=1 smmu_check.parts={PARTS} "
               f"smmu_check.disk={hashlib.md5(DISK).hexdigest()}")
    result = session.run(400)
    report = GuestReport.from_console(result.console)
    assert result.ok and report.done, f"{result.reason}; guest was at: {report.stage}"
    assert features_in(report.checks["probe"].detail) == expected_features(Params())
    assert report.checks["disk_read"].ok, report.checks["disk_read"].detail
    assert report.value("group.blk") == "DMA"

    figures = result.statistics
    assert figures["bytes_written"] >= len(DISK)      # by the device, into the guest's memory
    assert figures["commands"]["CMD_SYNC"] and figures["commands"]["CMD_TLBI_NH_VA"]
    assert figures["counters"]["cfg_miss"] and figures["counters"]["table_reads"]
    assert not figures["aborted"]

    replayed = CliRunner().invoke(replay, ["--backend", "model", result.files["trace"]])
    assert re.search(r"replayed: \d{3,} expectations, 0 mismatches", replayed.output)
