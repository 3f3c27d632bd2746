"""What the host has counted during a boot against what the kernel was told to do."""

from smmu_sim.live.verdict import Check, same

__all__ = ["judge"]

_BY_ADDRESS = "CMD_TLBI_NH_VA"
_DISK_READS = 6   # the guest's checks read the whole device more often than this


def judge(report, expected):
    """Return the :class:`Check` of each figure.

    ``report`` is the :class:`GuestReport`, ``expected.statistics`` what the session counted.
    """
    statistics = expected.statistics
    devices = statistics["devices"]
    problems = [f"{kind}: {device['problem']}" for kind, device in devices.items()
                if device.get("problem")]
    return [
        same("disk_contents", "disk's MD5 as the host sees it",
             devices["blk"]["md5_last"], report.value("disk_after_writes")),
        _at_least("disk_traffic", "bytes read by the disk's driver", devices["blk"]["read"],
                  _DISK_READS * expected.disk_bytes),
        _at_least("echoes", "pings seen by the host", devices["net"]["echoes"], 10),
        _at_least("random_bytes", "random bytes delivered", devices["rng"]["bytes"], 128),
        Check("devices", "devices without problems", not problems, "; ".join(problems) or "none"),
        _at_least("syncs", "CMD_SYNCs", statistics["syncs"], 1),
        _aborted(expected),
        _invalidations(expected),
    ]


def _at_least(name, title, found, least):
    return Check(name, title, found >= least, f"{found:,}", f"{least:,} or more")


def _aborted(expected):
    """No transaction of a device was refused but the stray ones."""
    refused = sum(access.refused_in(expected.variant) for access in expected.stray_accesses)
    return same("aborted", "transactions refused", str(expected.statistics["aborted"]),
                str(refused))


def _invalidations(expected):
    """Each request of a device is unmapped: at once, later all together, or never was mapped.

    A request has two or three mappings. In every variant the block device is read once in a strict
    domain, for a quarter of the requests or so.
    """
    chains = sum(device.get("chains", 0) for device in expected.statistics["devices"].values())
    found = expected.statistics["commands"].get(_BY_ADDRESS, 0)
    text = f"{found:,} for {chains:,} requests"
    variant = expected.variant
    if variant.lazy is False:
        return Check("invalidations", f"{_BY_ADDRESS}, strict", found >= chains > 0, text,
                     f"{chains:,} or more")
    if variant.lazy or not variant.translates:
        return Check("invalidations", f"{_BY_ADDRESS}, {variant.name}", found < chains, text,
                     f"less than {chains:,}")
    return Check("invalidations", _BY_ADDRESS, found > 0, text, "some")
