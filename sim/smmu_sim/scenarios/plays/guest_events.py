"""Events and stalls on their way from the SMMU to a guest (iommufd)."""

from smmu_sim.backend import Transaction
from smmu_sim.driver import entries
from smmu_sim.iommufd.constants import PGFaultFlag, PGFaultPerm
from smmu_sim.iommufd.uapi import HWPT_PAGE_RESPONSE, HWPT_PGFAULT
from smmu_sim.scenarios.host import Host
from smmu_sim.scenarios.nested_guest import NestedGuest
from smmu_sim.scenarios.registry import scenario
from smmu_sim.scenarios.vevents import parse_vevents, read_vevents

A, VSID = 0x42, 0x10
ASID, SSID, IOVA = 0x33, 3, 0x5000
_SUCCESS, _INVALID = 0, 1
_HEADER_BYTES, _RECORD_BYTES = 8, 8 + 32


@scenario("vevent-overflow", "a VEVENTQ of depth 2: what three events and a small buffer read")
def vevent_overflow(world):
    world.step("Given a guest whose CD is not valid, and a VEVENTQ of depth 2")
    host = Host(world)
    guest = NestedGuest(host, A, VSID)
    guest.tables.contexts.write(0)
    events = guest.user.veventq(guest.viommu, depth=2)
    guest.attach()
    world.step("When the device makes three accesses")
    for _ in range(3):
        world.read(A, 0x1000)
        host.events()
    world.step("Then")
    world.check("there is something to read", events.poll())
    world.expect("a buffer of 39 bytes holds no record", events.read(_RECORD_BYTES - 1), b"")
    data = events.read(4096)
    world.expect("all of it is two records and a header", len(data),
                 2 * _RECORD_BYTES + _HEADER_BYTES)
    world.expect("C_BAD_CD of vSID 0x10 with sequence 0 and 1, then LOST with sequence 2",
                 [(e.sequence, e.lost, e.event and (e.event.name, e.event.StreamID))
                  for e in parse_vevents(data)],
                 [(0, False, ("C_BAD_CD", VSID)), (1, False, ("C_BAD_CD", VSID)), (2, True, None)])
    world.check("and then there is nothing", not events.poll())
    world.read(A, 0x1000)
    host.events()
    world.expect("the next event has sequence 3 and no flag",
                 [(e.sequence, e.lost) for e in read_vevents(events)], [(3, False)])


class _Stalling:
    """A guest with PASID 3, whose faults stall, and a fault queue."""

    def __init__(self, world):
        self.world, self.host = world, Host(world)
        self.guest = NestedGuest(self.host, A, VSID, substreamid_bits=4, can_stall=True)
        tables = self.guest.tables
        self.table = tables.new_table()
        tables.contexts.write(entries.cd(self.table, asid=ASID, S=1), SSID)
        self.fault_id, self.faults = self.guest.user.fault_queue()
        self.guest.attach(fault_id=self.fault_id)

    def write(self, data):
        """Let the device write eight bytes with PASID 3; return (its pending object, the fault)."""
        pending = self.world.backend.submit(Transaction(
            sid=A, ssid=SSID, addr=IOVA, write=True, data=data))
        self.host.events()
        read = self.faults.read(HWPT_PGFAULT.size)
        return pending, HWPT_PGFAULT.unpack(read) if read else None

    def answer(self, cookie, code):
        """write() a response."""
        return self.faults.write(HWPT_PAGE_RESPONSE.pack(cookie=cookie, code=code))

    def resumes(self):
        """Return (StreamID, STAG, Ac, Ab) of the CMD_RESUMEs since the last call."""
        return [(c.StreamID, c.STAG, c.Ac, c.Ab) for c in self.world.commands("CMD_RESUME")]


@scenario("stall-round-trip", "an access stalls, the guest maps the page, and it completes",
          stall=True, needs={"ssidsize": 4})
def stall_round_trip(world):
    world.step("Given a guest whose CD 3 lets faults stall, and a nested HWPT with a fault queue")
    stalling = _Stalling(world)
    world.step("When the device writes with PASID 3 to 0x5000, which is not mapped")
    pending, fault = stalling.write(b"stalled!")
    world.step("Then")
    world.check("the access waits", not pending.done)
    world.check("there is a page fault to read", fault)
    world.expect("flags PASID_VALID and LAST_PAGE, PASID 3, WRITE, the address, cookie 1",
                 (fault.flags, fault.pasid, fault.perm, fault.addr, fault.cookie),
                 (PGFaultFlag.PASID_VALID | PGFaultFlag.LAST_PAGE, SSID, PGFaultPerm.WRITE, IOVA,
                  1))
    world.refused("a response with cookie 9", "EINVAL", stalling.answer, 9, _SUCCESS)

    world.step("When the guest maps the page and answers SUCCESS")
    ipa = stalling.guest.tables.buffer()
    stalling.table.map(IOVA, ipa, 0x1000)
    world.commands()
    stalling.answer(fault.cookie, _SUCCESS)
    world.backend.idle()
    world.step("Then")
    world.expect("CMD_RESUME tries again: StreamID 0x42, the STAG of the fault",
                 stalling.resumes(), [(A, fault.grpid, 1, 0)])
    place = stalling.guest.tables.physical(ipa)
    world.expect("the access completes", (pending.done and pending.result.ok,
                                          pending.done and pending.result.pa), (True, place))
    world.expect("and its data are there", world.memory.peek(place, 8), b"stalled!")
    world.refused("the same cookie once more", "EINVAL", stalling.answer, fault.cookie, _SUCCESS)

    world.step("When it happens again, and the guest answers INVALID")
    stalling.table.unmap(IOVA, 0x1000)
    pending, fault = stalling.write(b"refused!")
    world.commands()
    stalling.answer(fault.cookie, _INVALID)
    world.backend.idle()
    world.step("Then")
    world.expect("CMD_RESUME aborts", stalling.resumes(), [(A, fault.grpid, 0, 1)])
    world.check("and the access is aborted", pending.done and not pending.result.ok)

    world.step("When it happens again, and the device is detached")
    pending, fault = stalling.write(b"nobody!!")
    world.commands()
    stalling.guest.user.detach(stalling.guest.device)
    world.backend.idle()
    world.step("Then")
    world.expect("CMD_RESUME aborts", stalling.resumes(), [(A, fault.grpid, 0, 1)])
    world.check("and the access is aborted", pending.done and not pending.result.ok)
    world.expect("its memory is as it was", world.memory.peek(place, 8), b"stalled!")
