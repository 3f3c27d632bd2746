"""A virtual SMMU by hand: its registers, its queues, and an owner of stage 1 that takes notes."""

import pytest
from smmu.formats.core import fields, pack, plain
from smmu.formats.events import pack_event
from smmu.formats.registers import (
    BY_NAME, CMDQ_BASE, CR0, CR2, EVENTQ_BASE, IDR0, STRTAB_BASE_CFG)
from smmu.formats.stream_table import STE, STEConfig
from smmu.params import Params
from smmu_sim.backend import ModelBackend
from smmu_sim.driver import PageAllocator, SMMUv3Driver
from smmu_sim.linux_error import LinuxError
from smmu_sim.memory import Memory
from smmu_sim.vmm import GuestMemory, HardwareInfo, Kind, VirtualFeatures, VirtualSMMU
from smmu_sim.vmm.twins import Twins

VSID, OTHER = 0x10, 0x11
RAM, HPA, SIZE = 0x4000_0000, 0x8_8000_0000, 64 << 20
VITS = 0x0808_0000
STREAM_TABLE, CMDQ, EVENTQ, CDS = RAM, RAM + 0x10_0000, RAM + 0x20_0000, RAM + 0x30_0000
MSI_DEVICE_ID = 0xFFFF


class RecordingOwner:
    """Notes what it is told; ``refuse`` and ``accepted`` say what it refuses."""

    def __init__(self):
        self.configured, self.batches, self.resumed, self.terminated = [], [], [], []
        self.pending, self.refuse, self.accepted = [], None, None

    def configure(self, vsid, vste):
        if self.refuse and vste.kind is Kind.TRANSLATE:
            raise LinuxError(self.refuse, "as the test wants")
        self.configured.append((vsid, vste))

    def invalidate(self, batch):
        self.batches.append(batch)
        if self.accepted is None:
            return len(batch)
        done, self.accepted = min(self.accepted, len(batch)), None
        return done

    def events(self):
        taken, self.pending = self.pending, []
        return taken

    def resume(self, vsid, stag, retry):
        self.resumed.append((vsid, stag, retry))

    def terminate_stalls(self, vsid):
        self.terminated.append(vsid)

    def kinds(self, vsid=VSID):
        return [vste.kind for each, vste in self.configured if each == vsid]


class Bench:
    """A virtual SMMU with a guest's memory, driven by hand or by the driver."""

    def __init__(self, **features):
        host = ModelBackend(Params(), Memory())
        self.host_memory = host.memory
        self.memory = GuestMemory(host.memory, RAM, HPA, SIZE, [(VITS, 0x2_0000)])
        self.owner = RecordingOwner()
        info = HardwareInfo.from_registers(host.read32)
        if features.pop("stalls", False):
            idr0 = info.idr[0] & ~fields(IDR0)["STALL_MODEL"].mask
            info = info._replace(idr=(idr0, *info.idr[1:]))
        self.features = VirtualFeatures.from_hardware(info, **features)
        self.smmu = VirtualSMMU(self.features, self.memory, self.owner, (VSID, OTHER),
                                msi_device_id=MSI_DEVICE_ID)
        self.smmu.reset()
        self.produced = 0

    def write(self, name, value):
        register = BY_NAME[name]
        write = self.smmu.write64 if register.width == 64 else self.smmu.write32
        write(register.offset, value)

    def read(self, name):
        register = BY_NAME[name]
        read = self.smmu.read64 if register.width == 64 else self.smmu.read32
        return read(register.offset)

    def field(self, register, name):
        return getattr(plain(BY_NAME[register].struct), name)(self.read(register))

    def start(self, **cr0):
        """A linear stream table of 64 STEs, queues of 128 entries, SMMUEN."""
        self.write("STRTAB_BASE", STREAM_TABLE)
        self.write("STRTAB_BASE_CFG", pack(STRTAB_BASE_CFG, {"LOG2SIZE": 6}))
        self.write("CMDQ_BASE", CMDQ | pack(CMDQ_BASE, {"LOG2SIZE": 7}))
        self.write("EVENTQ_BASE", EVENTQ | pack(EVENTQ_BASE, {"LOG2SIZE": 2}))
        self.write("CR2", pack(CR2, {"RECINVSID": 1}))
        self.write("CR0", pack(CR0, {"SMMUEN": 1, "EVENTQEN": 1, "CMDQEN": 1, **cr0}))

    def ste(self, vsid=VSID, **values):
        values = {"V": 1, "Config": STEConfig.S1_TRANS, "S1ContextPtr": CDS >> 6, **values}
        self.memory.write(STREAM_TABLE + 64 * vsid, pack(STE, values).to_bytes(64, "little"))

    def command(self, *raws):
        for raw in raws:
            self.memory.write(CMDQ + 16 * (self.produced & 127), raw.to_bytes(16, "little"))
            self.produced = self.produced + 1 & 255
        self.write("CMDQ_PROD", self.produced)

    def event(self, event, **values):
        self.owner.pending.append(pack_event(event, {"StreamID": VSID, **values}))
        self.smmu.idle()

    def record(self, index=0):
        return int.from_bytes(self.memory.read(EVENTQ + 32 * index, 32), "little")

    def driver(self, **options):
        return SMMUv3Driver(self.smmu, PageAllocator(self.memory, RAM, 32 << 20), **options)


@pytest.fixture
def new_bench():
    """Return the class :class:`Bench`."""
    return Bench


@pytest.fixture
def new_twins():
    """Return a function that makes :class:`Twins` on the reference model.

    ``stall`` lets the model stall transactions.
    """
    def make(*, stall=False, **options):
        backend = ModelBackend(Params(), Memory(), stall=stall)
        backend.reset()
        return Twins(backend, **options)

    return make
