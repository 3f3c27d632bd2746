"""The guest's root file system: busybox, modules and our scripts, as a newc archive in gzip."""

import gzip
import importlib.resources
import stat

__all__ = ["build_initramfs", "newc"]

_FOLDERS = ("bin", "dev", "etc", "modules", "proc", "root", "sys", "tmp")
_SCRIPTS = ("init", "checks.sh", "report.sh")


def build_initramfs(busybox, modules):
    """Return the initramfs as bytes, the same for the same input.

    ``busybox`` are the bytes of a static arm64 busybox, ``modules`` paths of .ko files in the order
    in which the guest loads them. ``/init`` is ``guest/init``, which makes the applets' links.
    """
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in _FOLDERS]
    entries.append(("bin/busybox", stat.S_IFREG | 0o755, busybox))
    entries.append(("bin/sh", stat.S_IFLNK | 0o777, b"busybox"))
    entries += [(f"modules/{number:02}-{path.name}", stat.S_IFREG | 0o644, path.read_bytes())
                for number, path in enumerate(modules)]
    guest = importlib.resources.files("smmu_sim.live") / "guest"
    entries += [(name, stat.S_IFREG | 0o755, (guest / name).read_bytes()) for name in _SCRIPTS]
    return gzip.compress(newc(entries), compresslevel=6, mtime=0)


def newc(entries):
    """Return a cpio archive in the format that Linux unpacks (buffer-format.rst, "newc").

    ``entries`` are ``(name, mode, content)``; the content of a link is its target.
    """
    archive = bytearray()
    for inode, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], start=1):
        raw_name = name.encode() + b"\0"
        # ino, mode, uid, gid, nlink, mtime, filesize, device, device it is for, namesize, check
        fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw_name), 0)
        for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name, content):
            archive += part
            archive += bytes(-len(archive) % 4)
    return bytes(archive)
