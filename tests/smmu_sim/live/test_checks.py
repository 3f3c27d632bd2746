"""The verdicts over a boot: a console and counts as a good boot leaves them, then with flaws."""

import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from smmu.params import Params
from smmu_sim.live import results
from smmu_sim.live.checks import judge
from smmu_sim.live.guest_report import GuestReport, Reported
from smmu_sim.live.kernel_log import LoggedEvent, events_in, expected_features, features_in
from smmu_sim.live.variants import VARIANTS
from smmu_sim.live.verdict import Expected, StrayAccess

# The default configuration: what a Linux 6.1 printed with it.
FEATURES = "5c000000.iommu: ias 48-bit, oas 48-bit (features 0x00089787)"
PREFIX = "[   14.123456] arm-smmu-v3 5c000000.iommu: "
STRAY = (StrayAccess(0x120, 0x4012_3458, False, True),
         StrayAccess(0x20, 0xD_EADB_EEF0, True, False))
EVENTS_6_1 = [
    "event 0x10 received:", "\t0x0000012000000010", "\t0x0000020800000000",
    "\t0x0000000040123458", "\t0x0000000000000000",
    "event 0x10 received:", "\t0x0000002000000010", "\t0x0000020000000000",
    "\t0x0000000deadbeef0", "\t0x0000000000000000"]
EVENTS_7 = [  # the same words, and what they mean
    *EVENTS_6_1[:5],
    "event: F_TRANSLATION client: 5c110000.virtio_mmio sid: 0x120 ssid: 0x0 "
    "iova: 0x40123458 ipa: 0x0",
    'unpriv data read s1 "Input address caused fault" stag: 0x0',
    *EVENTS_6_1[5:],
    "event: F_TRANSLATION client: 5c100000.virtio_mmio sid: 0x20 ssid: 0x0 "
    "iova: 0xdeadbeef0 ipa: 0x0",
    'unpriv data write s1 "Input address caused fault" stag: 0x0']


CONSOLE = f"""\
[    0.000000] Booting Linux on physical CPU 0x0000000000 [0x411fd070]
VALUE kernel 6.1.0-50-arm64
STAGE kernel and SMMU driver
VALUE cpus 2
VALUE page_size 4
CHECK probe ok {FEATURES}
CHECK device.blk ok 5c110000.virtio_mmio
VALUE sid.blk 0x120
VALUE group.blk DMA
CHECK device.rng ok 5c100000.virtio_mmio
VALUE sid.rng 0x20
VALUE group.rng DMA
CHECK device.net ok 5c120000.virtio_mmio
VALUE sid.net 0x210
VALUE group.net DMA
CHECK disk_read ok MD5 11
CHECK disk_write ok 64 blocks, MD5 22
VALUE disk_after_writes 33
CHECK random ok 128 bytes, 95 values, different
CHECK ping ok 5 packets transmitted, 5 packets received, 0% packet loss
CHECK rebind_virtio_blk ok MD5 33
CHECK rebind_virtio_mmio ok MD5 33
CHECK rebind_random ok 128 bytes, 95 values, different
CHECK rebind_ping ok 5 packets transmitted, 5 packets received, 0% packet loss
VALUE domain_is identity identity
CHECK domain_identity ok MD5 33
VALUE domain_is DMA DMA
CHECK domain_DMA ok MD5 33
VALUE domain_is DMA-FQ DMA-FQ
CHECK domain_DMA-FQ ok MD5 33
VALUE domain_is DMA DMA
CHECK domain_DMA ok MD5 33
STAGE accesses to unmapped addresses
VALUE stray 0x120:0x40123458:1 0x00000002
VALUE stray 0x20:0xdeadbeef0:2 0x00000002
CHECK after_fault ok MD5 33
VALUE interrupt 24: 1 1 GICv2 232 Edge arm-smmu-v3-evtq
VALUE interrupt 25: 0 0 GICv2 233 Edge arm-smmu-v3-gerror
""" + "".join(f"LOG {PREFIX}{line}\n" for line in EVENTS_6_1) + """\
CHECK kernel_log ok nothing bad in it
CHECKS DONE
"""

STATISTICS = {
    "syncs": 600, "aborted": 2, "commands": {"CMD_SYNC": 600, "CMD_TLBI_NH_VA": 500},
    "devices": {
        "blk": {"chains": 300, "problem": None, "read": 9 << 20, "md5_last": "33"},
        "rng": {"chains": 20, "problem": None, "bytes": 1280},
        "net": {"chains": 40, "problem": None, "echoes": 10},
        "rogue": {"accesses": []}},
}


def boot(console=CONSOLE, ending=(True, "the guest powered off"), variant="default", **changes):
    """``{name: Check}`` of a boot."""
    expected = Expected(
        variant=VARIANTS[variant], params=Params(), sids={"blk": 0x120, "rng": 0x20, "net": 0x210},
        cpus=2, page_size=4096, release="6.1.0-50-arm64", msi=False, stray_accesses=STRAY,
        disk_bytes=1 << 20, statistics=STATISTICS)
    checks = judge(console, replace(expected, **changes), ending)
    return {f"{check.name} {count}" if count else check.name: check
            for check, count in zip(checks, _repeats(checks))}


def _repeats(checks):
    return [[other.name for other in checks[:place]].count(check.name)
            for place, check in enumerate(checks)]


def wrong(*arguments, **options):
    """Names of the checks that fail."""
    return [name for name, check in boot(*arguments, **options).items() if not check.ok]


def without(pattern, replacement=""):
    """The good console with each line that matches taken out, or replaced."""
    console, count = re.subn(f"(?m)^{pattern}$\n", replacement, CONSOLE)
    assert count
    return console


def counted(**changes):
    return STATISTICS | changes


def device(kind, **changes):
    return counted(devices=STATISTICS["devices"] | {
        kind: STATISTICS["devices"][kind] | changes})


def test_a_good_boot_passes():
    assert wrong() == []
    assert len(boot()) > 35


CHECKED = [line.split()[1] for line in CONSOLE.splitlines() if line.startswith("CHECK ")]


@pytest.mark.parametrize("name", sorted(set(CHECKED)))
def test_what_the_guest_finds_wrong_is_wrong(name):
    assert name in wrong(without(f"CHECK {name} ok.*", f"CHECK {name} failed it is\n"))


@pytest.mark.parametrize("name", sorted(set(CHECKED)))
def test_what_the_guest_did_not_come_to_is_wrong(name):
    assert name in wrong(without(f"CHECK {name} ok.*"))
    assert boot(without(f"CHECK {name} ok.*"))[name].found == "not reached"


def test_a_failure_that_is_reported_again_as_good_stays_a_failure():
    assert wrong(without("CHECK ping ok.*", "CHECK ping failed a\nCHECK ping ok b\n")) == ["ping"]


def test_what_only_fails_is_a_check_too():
    assert wrong("CHECK module failed insmod x.ko\n" + CONSOLE) == ["module"]


def test_a_boot_that_does_not_end_well_is_wrong():
    assert wrong(ending=(False, "it hung")) == ["boot"]
    cut = CONSOLE.partition("VALUE stray")[0]
    assert boot(cut, (False, "it hung"))["boot"].found \
        == "it hung; guest was at: accesses to unmapped addresses"
    assert "boot" in wrong(without("CHECKS DONE"))
    assert boot("", (False, "it hung"))["boot"].found == "it hung; guest was at: boot"


def test_an_empty_console_fails_everything_that_the_guest_has_to_show():
    passing = [name for name, check in boot("", (False, "no boot")).items() if check.ok]
    assert set(passing) <= {"disk_traffic", "echoes", "random_bytes", "devices", "syncs",
                            "aborted", "invalidations"}


@pytest.mark.parametrize("line, other, failing", [
    ("VALUE cpus 2", "VALUE cpus 1\n", "cpus"),
    ("VALUE kernel .*", "VALUE kernel 6.1.0-49-arm64\n", "kernel"),
    ("VALUE page_size 4", "VALUE page_size 16\n", "page_size"),
    ("VALUE sid.rng 0x20", "VALUE sid.rng 0x120\n", "sid.rng"),
    ("VALUE group.net DMA", "VALUE group.net identity\n", "group.net"),
    ("VALUE domain_is identity identity", "VALUE domain_is identity DMA\n", "domains"),
    ("VALUE domain_is DMA-FQ DMA-FQ", "", "domains"),
    ("VALUE disk_after_writes 33", "VALUE disk_after_writes 44\n", "disk_contents"),
    ("VALUE stray 0x120.*", "VALUE stray 0x120:0x40123458:1 0x00000000\n", "stray"),
    ("VALUE stray 0x20.*", "", "stray 1"),
    ("VALUE interrupt.*evtq", "VALUE interrupt 24: 0 0 GICv2 232 Edge arm-smmu-v3-evtq\n",
     "interrupts"),
    ("VALUE interrupt.*", "", "interrupts"),
])
def test_what_differs_from_what_the_host_knows_is_wrong(line, other, failing):
    assert wrong(without(line, other)) == [failing]


def test_features_other_than_those_of_the_build_are_wrong():
    assert wrong(params=Params.from_settings("default", "oas=44")) == ["features"]
    fewer = without("CHECK probe.*", f"CHECK probe ok {FEATURES.replace('9787', '9785')}\n")
    assert wrong(fewer) == ["features"]
    assert boot(fewer)["features"].found == boot()["features"].found.replace("2_LVL_CDTAB ", "")


@pytest.mark.parametrize("line, other", [
    (f"LOG {re.escape(PREFIX)}\t0x0000012000000010", f"LOG {PREFIX}\t0x0000012100000010\n"),
    (f"LOG {re.escape(PREFIX)}\t0x0000000deadbeef0", f"LOG {PREFIX}\t0x0000000deadbeee0\n"),
    (f"LOG {re.escape(PREFIX)}\t0x0000002000000010", f"LOG {PREFIX}\t0x0000002000000013\n"),
])
def test_an_event_with_another_streamid_address_or_type_is_wrong(line, other):
    assert wrong(without(line, other)) == ["faults"]


def test_events_that_the_kernel_does_not_print_are_wrong():
    assert wrong(without(f"LOG {re.escape(PREFIX)}.*")) == ["faults"]


def test_an_event_too_many_is_wrong():
    more = "".join(f"LOG {PREFIX}{line}\n" for line in EVENTS_6_1[:5])
    assert wrong(more + CONSOLE) == ["faults"]


def test_both_forms_of_logged_events_are_understood():
    events = [LoggedEvent("F_TRANSLATION", access.sid, access.addr) for access in STRAY]
    assert events_in(PREFIX + line for line in EVENTS_6_1) == events
    assert events_in(PREFIX + line for line in EVENTS_7) == events
    assert events_in(PREFIX + line for line in EVENTS_6_1 + EVENTS_7) == 2 * events
    decoded = [line for line in EVENTS_7 if line.startswith("event: ")]
    assert events_in(PREFIX + line for line in decoded) == events


@pytest.mark.parametrize("statistics, failing", [
    (counted(syncs=0), "syncs"),
    (counted(aborted=3), "aborted"),
    (counted(aborted=1), "aborted"),
    (counted(commands={}), "invalidations"),
    (device("blk", md5_last="34"), "disk_contents"),
    (device("blk", read=1 << 20), "disk_traffic"),
    (device("net", echoes=9), "echoes"),
    (device("rng", bytes=64), "random_bytes"),
    (device("net", problem="a ring without end"), "devices"),
])
def test_what_the_host_counted_wrong_is_wrong(statistics, failing):
    assert wrong(statistics=statistics) == [failing]


def commands(by_address):
    return counted(commands={"CMD_SYNC": 600, "CMD_TLBI_NH_VA": by_address})


def test_strict_invalidates_with_every_unmap():
    assert wrong(variant="strict", statistics=commands(360)) == []
    assert wrong(variant="strict", statistics=commands(359)) == ["invalidations"]


def in_variant(type_, tour):
    console = re.sub("(?m)^VALUE group.(...) .*$", rf"VALUE group.\1 {type_}", CONSOLE)
    console = re.sub("(?m)^VALUE domain_is.*\n", "", console)
    return "".join(f"VALUE domain_is {each} {each}\n" for each in tour) + console


def test_lazy_invalidates_rarely_and_shows_in_the_group_types():
    console = in_variant("DMA-FQ", ["identity", "DMA", "DMA-FQ"])
    assert wrong(console, variant="lazy", statistics=commands(359)) == []
    assert wrong(console, variant="lazy", statistics=commands(360)) == ["invalidations"]
    assert wrong(console, variant="strict") == ["group.blk", "group.rng", "group.net"]


def test_passthrough_has_no_events_and_lets_the_access_to_memory_through():
    console = in_variant("identity", ["DMA", "DMA-FQ", "identity"])
    console = re.sub(r"(?m)^LOG .*\n", "", console)
    console = console.replace(":1 0x00000002", ":1 0x00000000")
    statistics = commands(20) | {"aborted": 1}
    assert wrong(console, variant="passthrough", statistics=statistics) == []
    logged = console + "".join(f"LOG {PREFIX}{line}\n" for line in EVENTS_7[:6])
    assert wrong(logged, variant="passthrough", statistics=statistics) == ["faults"]
    refused = console.replace(":1 0x00000000", ":1 0x00000002")
    assert wrong(refused, variant="passthrough", statistics=statistics) == ["stray"]


def test_with_msi_the_interrupt_must_be_one():
    assert wrong(msi=True) == ["msi"]
    console = CONSOLE.replace("GICv2 232 Edge arm", "GICv2m 64 Edge platform-MSI arm") \
                     .replace("GICv2m 64 Edge", "MSI 64 Edge")
    assert wrong(console, msi=True) == []


def test_lines_of_others_are_passed_over():
    report = GuestReport.from_console("xCHECK a ok b\nCHECK a ok b c\r\nVALUE n\nVALUE n 1 2\n")
    assert report.checks == {"a": Reported(True, "b c")}
    assert (report.values, report.value("n"), report.value("m", "-")) == ({"n": ["", "1 2"]},
                                                                         "1 2", "-")


def test_features_of_a_line():
    oas, names = features_in(f"arm-smmu-v3 {FEATURES}")
    assert (oas, names) == expected_features(Params())
    assert "RANGE_INV" in names and "STALLS" not in names
    assert features_in("arm-smmu-v3: no features") is None


def test_the_table_shows_found_and_expected_of_a_failure_only():
    console = Console(record=True, width=120)
    checks = judge(without("VALUE cpus 2", "VALUE cpus 1\n"),
                   _expected(), (True, "the guest powered off"))
    console.print(results.checks_table(checks, "A boot"),
                  results.statistics_table({"syncs": 1234, "commands": {"CMD_SYNC": 1}}))
    text = console.export_text()
    assert text.count("WRONG") == 1 and text.count("expected 2") == 1
    assert text.count("expected") == 1 and "1,234" in text


def _expected():
    return Expected(VARIANTS["default"], Params(), {"blk": 0x120, "rng": 0x20, "net": 0x210}, 2,
                    4096, "6.1.0-50-arm64", False, STRAY, 1 << 20, STATISTICS)


def test_the_json_has_checks_and_statistics(tmp_path):
    checks = judge(CONSOLE, _expected(), (True, "off"))
    results.write_json(tmp_path / "result.json", {"backend": "model"}, checks, STATISTICS)
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["ok"] and found["run"] == {"backend": "model"}
    assert found["statistics"] == STATISTICS
    assert {"name", "title", "ok", "found", "expected"} == set(found["checks"][0])
    assert len(found["checks"]) == len(checks)
