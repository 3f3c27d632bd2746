"""Whether a boot went as it must: what the guest reports against what the host knows."""

from itertools import zip_longest

from smmu_sim.live import host_checks
from smmu_sim.live.guest_report import GuestReport
from smmu_sim.live.kernel_log import events_in, expected_features, features_in
from smmu_sim.live.verdict import Check, same

__all__ = ["judge"]

# What the guest judges by itself; every one of them has to be in its report.
_BY_THE_GUEST = {
    "probe": "SMMU driver probes",
    "device.blk": "virtio-blk",
    "device.rng": "virtio-rng",
    "device.net": "virtio-net",
    "disk_read": "block device read",
    "disk_write": "written, read back",
    "random": "random device",
    "ping": "pings answered",
    "rebind_virtio_blk": "virtio_blk unbound and bound: disk read",
    "rebind_virtio_mmio": "all virtio-mmio unbound and bound: disk read",
    "rebind_random": "  random device",
    "rebind_ping": "  pings answered",
    "after_fault": "after stray accesses: disk read",
    "kernel_log": "kernel's log",
}
_DOMAINS = ("identity", "DMA", "DMA-FQ")


def judge(console, expected, ending):
    """Return the :class:`Check` of everything that a boot must show.

    ``console`` is the whole text, ``ending`` is ``(ok, reason)`` of the session. What the guest did
    not come to is a failed check.
    """
    report = GuestReport.from_console(console)
    ok, reason = ending
    checks = [Check("boot", "boot to the end", ok and report.done,
                    reason if report.done else f"{reason}; guest was at: {report.stage or 'boot'}")]
    checks += _system(report, expected)
    checks += [_by_the_guest(report, name, title) for name, title in _BY_THE_GUEST.items()]
    # A module that does not load, for example.
    checks += [Check(name, name, False, reported.detail)
               for name, reported in report.checks.items()
               if not reported.ok and name not in _BY_THE_GUEST and "domain_" not in name]
    checks += _devices(report, expected)
    checks += _domains(report, expected)
    checks += _faults(report, expected)
    checks += _interrupts(report, expected)
    return checks + host_checks.judge(report, expected)


def _by_the_guest(report, name, title):
    reported = report.checks.get(name)
    if reported is None:
        return Check(name, title, False, "not reached")
    return Check(name, title, reported.ok, reported.detail)


def _system(report, expected):
    checks = [same("cpus", "processors", report.value("cpus"), str(expected.cpus))]
    if expected.release:
        checks.append(same("kernel", "kernel", report.value("kernel"), expected.release))
    if expected.page_size:
        checks.append(same("page_size", "page size, KB", report.value("page_size"),
                           str(expected.page_size // 1024)))
    printed = features_in(report.checks["probe"].detail) if "probe" in report.checks else None
    checks.append(same("features", "features that the driver finds", _feature_text(printed),
                       _feature_text(expected_features(expected.params))))
    return checks


def _feature_text(features):
    return f"OAS {features[0]}, {' '.join(features[1])}" if features else ""


def _devices(report, expected):
    checks, types = [], expected.variant.group_types
    for kind, sid in expected.sids.items():
        checks.append(same(f"sid.{kind}", f"StreamID of virtio-{kind}",
                           report.value(f"sid.{kind}"), f"{sid:#x}"))
        found = report.value(f"group.{kind}")
        checks.append(Check(f"group.{kind}", f"domain of virtio-{kind}", found in types,
                            found or "nothing", " or ".join(types)))
    return checks


def _domains(report, expected):
    """The block device was given every kind of domain but the one that it had, then this again."""
    first = report.value("group.blk")
    tour = [text.split() for text in report.values.get("domain_is", [])]
    wanted = [type_ for type_ in _DOMAINS if type_ != first or type_ != _DOMAINS[0]]
    if wanted[-1] != first:
        wanted.append(first)
    checks = [same("domains", "domain of virtio-blk changed to",
                   " ".join(got for _, got in tour), " ".join(wanted))]
    return checks + [_by_the_guest(report, f"domain_{type_}", f"  {type_}: disk read")
                     for type_ in dict.fromkeys(wanted)]


def _faults(report, expected):
    """The kernel tells exactly the stray accesses; none, where nothing is translated."""
    wanted = [("F_TRANSLATION", access.sid, access.addr) for access in expected.stray_accesses
              if expected.variant.translates]
    found = [(event.name, event.sid, event.addr) for event in events_in(report.log)]
    checks = [same("faults", "events that the kernel prints", _event_text(found),
                   _event_text(wanted))]
    answers = report.values.get("stray", [])[:len(expected.stray_accesses)]
    for access, text in zip_longest(expected.stray_accesses, answers):
        found = _response_text(text)
        must = "refused" if access.refused_in(expected.variant) else "went through"
        kind = "write" if access.write else "read"
        checks.append(same("stray", f"stray {kind} by {access.sid:#x}", found, must))
    return checks


def _event_text(events):
    return ", ".join(f"{name} {sid:#x} {addr:#x}" for name, sid, addr in events) or "none"


def _response_text(text):
    """Say in a word what a line ``access AXI-response`` of the guest means."""
    if text is None:
        return "not reached"
    response = int(text.split()[-1], 16)
    return "refused" if response else "went through"


def _interrupts(report, expected):
    """The event queue has an interrupt of the right kind, and it came if there were events."""
    lines = [line.split() for line in report.values.get("interrupt", []) if "evtq" in line]
    count = sum(int(word) for words in lines for word in words[1:1 + expected.cpus])
    least = 1 if expected.variant.translates and expected.stray_accesses else 0
    kinds = " ".join(word for words in lines for word in words[1 + expected.cpus:])
    checks = [Check("interrupts", "event queue interrupts", bool(lines) and count >= least,
                    f"{count}, {kinds}" if lines else "no such interrupt", f"{least} or more")]
    if expected.msi:
        checks.append(Check("msi", "event queue interrupt is an MSI", "MSI" in kinds, kinds, "MSI"))
    return checks
