"""Bringing the SMMU into service, errors of the command queue, and changing live entries."""

from smmu.formats.commands import Opcode
from smmu.formats.core import pack, plain, update
from smmu.formats.registers import CMDQ_CONS, CR0, GERROR
from smmu.formats.stream_table import S1DSS, STE

from smmu_sim.driver import CommandError, PageAllocator, SMMUv3Driver, commands, entries
from smmu_sim.scenarios.registry import scenario

RAM = (0x4000_0000, 1 << 24)
DEVICE = 0x42


def _driver(world):
    return SMMUv3Driver(world.backend, PageAllocator(world.memory, *RAM))


@scenario("smmu-reset", "the register writes and commands that bring an SMMU into service",
          needs={"hyp": 1})
def smmu_reset(world):
    _reset(world, ["CMD_CFGI_STE_RANGE", "CMD_SYNC", "CMD_TLBI_EL2_ALL", "CMD_SYNC",
                   "CMD_TLBI_NSNH_ALL", "CMD_SYNC"])


@scenario("smmu-reset-without-el2", "the same without EL2: two CMD_SYNCs instead of three",
          settings="s2p=0 hyp=0 xnx=0 fwb=0", needs={"s2p": 0})
def smmu_reset_without_el2(world):
    _reset(world, ["CMD_CFGI_STE_RANGE", "CMD_SYNC", "CMD_TLBI_NSNH_ALL", "CMD_SYNC"])


def _reset(world, before_eventq):
    driver = _driver(world)
    world.step("Given an SMMU out of reset, whose ID registers the driver has read")
    driver.probe()
    world.step("When the driver resets it")
    world.writes(), world.commands()
    seen = {}
    driver.reset()
    writes = world.writes()
    issued = [command.name for command in world.commands(syncs=True)]
    world.step("Then")
    world.expect("CR0 gets 0, CMDQEN, EVENTQEN on top, SMMUEN on top (PRIQEN and ATSCHK not, as "
                 "there is no PRI and no ATS)",
                 [value for name, value in writes if name == "CR0"],
                 [0, pack(CR0, {"CMDQEN": 1}), pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1}),
                  pack(CR0, {"CMDQEN": 1, "EVENTQEN": 1, "SMMUEN": 1})])
    for name, _ in writes:
        seen.setdefault(name, len(seen))
    order = ["CR0", "CR1", "CR2", "STRTAB_BASE", "STRTAB_BASE_CFG", "CMDQ_BASE", "CMDQ_PROD",
             "CMDQ_CONS", "EVENTQ_BASE", "EVENTQ_PROD", "EVENTQ_CONS", "IRQ_CTRL"]
    world.expect("registers are first written in Linux's order",
                 [name for name in seen if name in order], order)
    world.expect("CR1 makes all accesses write-back and inner shareable",
                 dict(writes)["CR1"], 0xD75)
    world.expect("CR2 is PTM and RECINVSID", dict(writes)["CR2"], 0x6)
    world.expect("IRQ_CTRL goes off before the interrupts are set up, and then on for events and "
                 "global errors", [value for name, value in writes if name == "IRQ_CTRL"], [0, 5])
    world.expect("before the event queue is on, so many CMD_SYNCs and no more: each invalidation "
                 "of everything has its own", issued, before_eventq)
    world.expect("CR0ACK says that all of it is in effect",
                 driver.registers.read("CR0ACK"), [v for n, v in writes if n == "CR0"][-1])


@scenario("command-error", "an illegal command stops the queue; the driver puts a CMD_SYNC there")
def command_error(world):
    driver = _driver(world)
    world.step("Given an SMMU in service, whose driver lets the queue stand on an error")
    driver.reset()
    queue, registers = driver.command_queue, driver.registers
    handle, queue_error = driver.errors.handle, plain(GERROR).CMDQ_ERR
    start = queue.queue.index(queue.queue.prod)

    world.step("When a batch of five has opcode 0xff at its fourth place")
    batch = [commands.cfgi_ste(sid) for sid in range(3)] + [0xFF, commands.cfgi_ste(9)]
    driver.errors.handle = lambda: []
    driver.issue(batch, sync=False)
    world.backend.idle()
    cons = registers.read("CMDQ_CONS")
    stopped = queue.queue.index(plain(CMDQ_CONS).RD(cons))
    world.step("Then")
    world.expect("CMDQ_CONS stands at the illegal command", stopped, start + 3)
    world.expect("CMDQ_CONS.ERR is CERROR_ILL", plain(CMDQ_CONS).ERR(cons), 1)
    world.check("GERROR.CMDQ_ERR is active",
                queue_error(registers.read("GERROR") ^ registers.read("GERRORN")))

    world.step("When the driver handles the error")
    driver.errors.handle = handle
    driver.errors.handle()
    world.backend.idle()
    world.step("Then")
    world.expect("a CMD_SYNC stands where the illegal command was",
                 queue.decode(start + 3)[0], Opcode.CMD_SYNC)
    world.check("GERRORN acknowledges it: CMDQ_ERR is not active",
                not queue_error(registers.read("GERROR") ^ registers.read("GERRORN")))
    world.expect("the queue went on to its end",
                 plain(CMDQ_CONS).RD(registers.read("CMDQ_CONS")), queue.queue.prod)
    try:
        driver.sync()
        refused = None
    except CommandError as error:
        refused = error
    world.check("the next CMD_SYNC completes, and its caller learns which command was refused",
                refused and refused.command == 0xFF and refused.index == start + 3, refused)
    driver.sync()
    world.check("a later CMD_SYNC completes without an error", True)


class _Intruder:
    """A device that accesses memory whenever software tells the SMMU to look again.

    That is the moment at which a wrong state of an STE would be seen.
    """

    def __init__(self, world, addr, ssid):
        self._world, self._addr, self.ssid = world, addr, ssid
        self.results = []
        world.backend.on_command.append(self._look)

    def _look(self, command):
        if command.name in ("CMD_CFGI_STE", "CMD_CFGI_CD"):
            self.results.append(self._world.read(DEVICE, self._addr, ssid=self.ssid))

    def take(self):
        taken, self.results = self.results, []
        return taken


def _valid_states(world, driver):
    """Let each STE that the SMMU is told to look at be noted; return the list of their V."""
    states = []
    world.backend.on_command.append(lambda command: command.name == "CMD_CFGI_STE" and
                                    states.append(plain(STE).V(driver.stream_table.read(DEVICE))))
    return states


@scenario("hitless", "an STE changes while its device works: hitless where the words allow it",
          needs={"ssidsize": 4})
def hitless(world):
    driver = _driver(world)
    driver.reset()
    world.step("Given a device with SubstreamIDs, stage 1, S1DSS SSID0")
    table = driver.page_table()
    table.map(0x10_0000, 0x8000_0000, 0x1000)
    contexts, others = driver.context_table(4), driver.context_table(4)
    for each in (contexts, others):
        for ssid in (0, 3):
            driver.set_cd(each, entries.cd(table, asid=0x21), ssid)
    ste = entries.stage1_ste(contexts, vmid=0)
    driver.set_ste(DEVICE, ste)
    intruder, states = _Intruder(world, 0x10_0000, 3), _valid_states(world, driver)

    world.step("When S1DSS alone changes, with the device at work between all steps")
    world.commands()
    driver.set_ste(DEVICE, update(STE, ste, {"S1DSS": S1DSS.BYPASS}))
    results = intruder.take()
    world.step("Then")
    world.expect("one CMD_CFGI_STE", len(world.commands("CMD_CFGI_STE")), 1)
    world.check("no access with a SubstreamID was ever aborted", results and all(
        result.ok and result.pa == 0x8000_0000 for result in results), results)

    world.step("When it goes from bypass to the CD table")
    driver.set_ste(DEVICE, entries.bypass_ste())
    intruder.ssid = None
    world.commands(), intruder.take(), states.clear()
    driver.set_ste(DEVICE, ste)
    results = intruder.take()
    world.step("Then")
    world.expect("three CMD_CFGI_STEs", len(world.commands("CMD_CFGI_STE")), 3)
    world.expect("and the STE was valid at each of them", states, [1, 1, 1])
    world.check("accesses without SubstreamID were never aborted: first bypassed, then translated",
                {result.pa for result in results} <= {0x10_0000, 0x8000_0000}, results)

    world.step("When it goes to another CD table, and the cacheability of its fetches changes")
    intruder.ssid = 3
    driver.service(), intruder.take(), states.clear()
    driver.set_ste(DEVICE, entries.stage1_ste(others, S1CIR=0))
    results, issued = intruder.take(), world.commands("CMD_CFGI_STE")
    world.backend.idle()
    events = driver.service()
    world.step("Then")
    world.expect("three CMD_CFGI_STEs, V is 0 at the first two", (len(issued), states),
                 (3, [0, 0, 1]))
    world.check("accesses inside are aborted", not any(result.ok for result in results[1:2]),
                results)
    world.check("with C_BAD_STE", events and {event.name for event in events} == {"C_BAD_STE"},
                events)
    world.check("and translated again afterwards",
                world.read(DEVICE, 0x10_0000, ssid=3).pa == 0x8000_0000)
