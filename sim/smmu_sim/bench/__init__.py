"""The cocotb side: building and running, stream and AXI agents, the RTL as a backend.

A test of one component::

    from smmu_sim.bench.runner import run_cocotb
    from smmu_sim.bench.stream import StreamSink, StreamSource, clocks, reset

    @cocotb.test(timeout_time=1, timeout_unit="ms")
    async def answers_in_order(dut):
        await reset(dut, split=8)                      # clock, all inputs (0 if not named), rst
        source = StreamSource(dut, "i", STEQuery, pause_rate=0.3)
        sink = StreamSink(dut, "o", STELocation, pause_rate=0.3)
        source.start([{"l1std.Span": 3, "streamid": n} for n in range(10)])
        for n in range(10):
            assert (await sink.recv()).addr == 64 * n

    def test_ste_locator():
        run_cocotb(STELocator(), __name__, seed=1)

Ports are set and read as ``dut.name.value``; after a rising edge one reads what a register would
have sampled at it. ``run_cocotb(..., waves=True)`` leaves ``dump.vcd`` in the folder that it
returns; one clock is 10 ns.

A component with whole AXI ports, or the core: ``run_cocotb(..., axi=True)`` or `core.run_core`.
`wrapper` then stands around it, and agents share one :class:`bus.Bus`::

    bus = Bus(dut)
    memory = Memory()
    tables = AxiMemory(bus, "m_axi_tbl", memory, latency=(5, 50), out_of_order=True)
    behind = AxiMemory(bus, "m0_axi", memory, device_ids=True)
    device = AxiMaster(bus, "s0_axi", downstream=behind)
    registers = AxiLiteMaster(bus, "s_axil")
    await bus.reset()
    transfer = await device.read(0x1000, 64, user=user)   # .resp, .data, .downstream, .latency

AXI rules are checked all the time; a broken one fails the test.

Synchronous host code, such as the driver, runs on `backend.RTLBackend`, in a test
(``await cocotb.task.bridge(function)(backend)``) or by itself through `core.run_on_core`.
"""
