"""The main job on the RTL: host code in the simulation, and what is made of its waveform."""

from dataclasses import asdict
from pathlib import Path

from smmu_sim import timeline, waves
from smmu_sim.run import msi, traces
from smmu_sim.run.measured import Measured

__all__ = ["play", "play_in_simulation", "play_msi_in_simulation"]

_CLOCKS_AROUND = 12  # clocks that the waveform shows before and after the MSI


def play_in_simulation(backend, report, parts, transactions, folder):
    """Inside the simulation: both parts."""
    measured = Measured(backend)
    step = _stepper(report)
    outcome = msi.play(measured, step, transactions) if "msi" in parts else None
    scenarios = traces.load(folder) if "traces" in parts else {}
    replayed = traces.play(measured, scenarios, step)
    return {"msi": outcome and outcome.as_dict(), "traces": [asdict(each) for each in replayed]}


def _stepper(report):
    """A step function whose calls leave the simulation."""
    return lambda text, share=None: report([text, share])


def play_msi_in_simulation(backend, report):
    """Inside the simulation: one MSI, for its waveform."""
    from cocotb.utils import get_sim_time

    return msi.play_one_msi(backend, lambda: get_sim_time("ns"), _stepper(report)).as_dict()


def play(config, settings, parts, transactions, folder, out, step):
    """Run everything; return (:class:`msi.Outcome`, [:class:`traces.TraceOutcome`], files)."""
    from smmu_sim.bench.core import build_core, run_host

    step("building the core (a minute or two, unless it is there from last time)")
    build = build_core(config, settings, waves="msi" in parts)
    common = {"config": config, "settings": settings, "on_report": lambda told: step(*told)}
    files = {}
    if "msi" in parts:
        values, run = run_host(build, play_msi_in_simulation, waves=True, name="run-msi", **common)
        step("drawing the MSI")
        files = _show(run, msi.Outcome.from_dict(values), out, build)
    arguments = {"parts": list(parts), "transactions": transactions,
                 "folder": str(Path(folder).resolve())}
    values, _ = run_host(build, play_in_simulation, arguments, name="run", **common)
    outcome = values["msi"] and msi.Outcome.from_dict(values["msi"])
    return outcome, [traces.TraceOutcome.from_dict(each) for each in values["traces"]], files


def _show(run, outcome, out, build):
    """Make waveform, save file and picture of one MSI; return ``{what: path}``."""
    from smmu_sim.bench.runner import CLOCK_NS

    out.mkdir(parents=True, exist_ok=True)
    vcd, gtkw, png = (out / f"msi.{suffix}" for suffix in ("vcd", "gtkw", "png"))
    dump = run / "dump.vcd"
    start, end = (int(time) for time in outcome.window)
    margin = _CLOCKS_AROUND * CLOCK_NS
    scale = waves.ticks_per_ns(dump)
    waves.cut(dump, vcd, (start - margin) * scale, (end + margin) * scale)
    dump.unlink()
    names = waves.enum_names("".join(path.read_text() for path in build.folder.glob("*.v")))
    structures = {int(addr): name for addr, name in outcome.structures.items()}
    title = "One MSI with all caches cold: gIOVA to gDB (stage 1) to hDB (stage 2)"
    timeline.draw(vcd, png, structures, title)
    waves.write_gtkw(gtkw, vcd, groups(waves.Recording(vcd), names), names, marker=start * scale)
    return {"waveform": vcd, "GTKWave save file": gtkw, "picture": png}


def _stream(name, fields):
    return [f"{name}__valid", f"{name}__ready", *(f"{name}__payload.{field}" for field in fields)]


def _channel(name, fields):
    return [name + member for member in ("valid", "ready", *fields)]


# The way of an MSI. What a build lacks of it is left out.
_WAY = {
    "Device's write": [
        *_channel("s0_axi_aw", ("addr", "id", "user")), *_channel("s0_axi_w", ("data", "strb")),
        *_channel("s0_axi_b", ("resp",))],
    "Miss: TBU to TCU": _stream("smmu.write_requests", ("addr", "sid", "slot", "rnw")),
    "Configuration cache": [
        *_stream("smmu.tcu.cfg_lookups", ("key.sid", "key.ssv", "key.ssid")),
        "smmu.tcu.cfg_results__valid", "smmu.tcu.cfg_results__payload.hit"],
    "Start of a walk": _stream("smmu.tcu.starts", ("walk", "request.addr", "request.sid")),
    "Walk: what it waited for, and what it does next": [
        "smmu.tcu.walk_table.checked.context.waits", "smmu.tcu.walk_table.checked.context.purpose",
        "smmu.tcu.walk_table.checked.context.level", *_stream("smmu.tcu.walk_table.actions",
                                                             ("main", "side"))],
    "Table reads": [
        *_channel("m_axi_tbl_ar", ("addr", "id", "len")),
        *_channel("m_axi_tbl_r", ("data", "id", "last"))],
    "Answer: TCU to TBU": _stream("smmu.write_responses", (
        "verdict", "slot", "translation.page", "translation.size", "translation.msi",
        "context.world", "context.vmid", "context.asid")),
    "To the doorbell": [
        *_channel("m0_axi_aw", ("addr", "user", "cache")), *_channel("m0_axi_w", ("data", "strb")),
        *_channel("m0_axi_b", ("resp",))],
}


def groups(recording, names):
    """Return what to show of an MSI, in the order of its way: ``{title: [signal]}``."""
    states = {}
    for name in names:
        module, _, signal = name.rpartition(".")
        if signal.endswith("state") and recording.find(name):
            states.setdefault("States: " + module.removeprefix("smmu."), []).append(name)
    return _WAY | dict(sorted(states.items()))
