"""What stays of a simulation's waveform: a VCD, and a GTKWave save file that shows the way.

The save file follows a transaction through the core, from the device's port to the translated one,
with the states of the state machines by name.
"""

from smmu_sim import waves

__all__ = ["keep_waveform"]

_CLOCKS_AROUND = 12  # clocks that are kept before and after a window


def keep_waveform(run, build, vcd, window=None):
    """Take the waveform out of a run's folder; return ``{what: path}``.

    Parameters
    ----------
    run, build
        The folder of the run, and the :class:`smmu_sim.bench.runner.Build` that ran there.
    vcd
        Where the waveform shall be. The save file lies beside it, named ``.gtkw``.
    window
        Its first and last ns: a few clocks around it are kept, and the save file marks the first.
        None: all is kept.
    """
    from smmu_sim.bench.runner import CLOCK_NS

    dump, gtkw, marker = run / "dump.vcd", vcd.with_suffix(".gtkw"), None
    vcd.parent.mkdir(parents=True, exist_ok=True)
    if window is None:
        dump.replace(vcd)
    else:
        (start, end), margin = (int(time) for time in window), _CLOCKS_AROUND * CLOCK_NS
        scale = waves.ticks_per_ns(dump)
        waves.cut(dump, vcd, (start - margin) * scale, (end + margin) * scale)
        dump.unlink()
        marker = start * scale
    names = waves.enum_names("".join(path.read_text() for path in build.folder.glob("*.v")))
    waves.write_gtkw(gtkw, vcd, _groups(waves.Recording(vcd), names), names, marker=marker)
    return {"waveform": vcd, "GTKWave save file": gtkw}


def _stream(name, fields):
    return [f"{name}__valid", f"{name}__ready", *(f"{name}__payload.{field}" for field in fields)]


def _channel(name, fields):
    return [name + member for member in ("valid", "ready", *fields)]


# The way of a write. What a build lacks of it is left out.
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


def _groups(recording, names):
    """Return what to show, in the order of the way of a transaction: ``{title: [signal]}``."""
    states = {}
    for name in names:
        module, _, signal = name.rpartition(".")
        if signal.endswith("state") and recording.find(name):
            states.setdefault("States: " + module.removeprefix("smmu."), []).append(name)
    return _WAY | dict(sorted(states.items()))
