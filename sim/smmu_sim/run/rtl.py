"""The main job on the RTL: host code in the simulation, and what is made of its waveform."""

from dataclasses import asdict
from pathlib import Path

from smmu_sim import timeline
from smmu_sim.kept_waveform import keep_waveform
from smmu_sim.run import msi, traces
from smmu_sim.run.measured import Measured

__all__ = ["play", "play_in_simulation", "play_msi_in_simulation"]


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
    files, png = keep_waveform(run, build, out / "msi.vcd", outcome.window), out / "msi.png"
    structures = {int(addr): name for addr, name in outcome.structures.items()}
    title = "One MSI with all caches cold: gIOVA to gDB (stage 1) to hDB (stage 2)"
    timeline.draw(files["waveform"], png, structures, title)
    return files | {"picture": png}
