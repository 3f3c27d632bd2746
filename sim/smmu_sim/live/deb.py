"""Files out of a Debian package, without dpkg."""

import io
import shutil
import subprocess
import tarfile

from smmu_sim.live.errors import LiveError

__all__ = ["ar_members", "files_of_deb", "zstd"]

_MAGIC = b"!<arch>\n"
_HEADER = 60  # name 16, date 12, owner 6, group 6, mode 8, size 10, end mark 2
_END_MARK = b"`\n"


def ar_members(archive):
    """Yield ``(name, bytes)`` of an open ar archive; LiveError if it is none."""
    if archive.read(len(_MAGIC)) != _MAGIC:
        raise LiveError(f"{archive.name} is no Debian package (no ar archive)")
    while header := archive.read(_HEADER):
        size = header[48:58].strip()
        if len(header) != _HEADER or header[58:] != _END_MARK or not size.isdigit():
            raise LiveError(f"{archive.name} is damaged: bad ar header at "
                            f"{archive.tell() - len(header)}")
        data = archive.read(int(size))
        if len(data) != int(size):
            raise LiveError(f"{archive.name} is cut off after {archive.tell()} bytes")
        archive.read(len(data) % 2)  # members start at even offsets
        yield header[:16].decode("latin-1").strip().rstrip("/"), data


def files_of_deb(path, wanted):
    """Yield ``(name, bytes)`` of the regular files whose name ``wanted(name)`` accepts.

    Names are relative to the root, without a dot before them. LiveError if the file cannot be read
    or is no package.
    """
    try:
        with open(path, "rb") as archive:
            for name, data in ar_members(archive):
                if name.startswith("data.tar"):
                    yield from _files_of_tar(name, data, wanted)
                    return
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise LiveError(f"cannot unpack {path}: {error}") from None
    raise LiveError(f"{path} is no Debian package (no data.tar in it)")


def _files_of_tar(name, data, wanted):
    if name.endswith(".zst"):
        data = zstd(data, name)
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|*") as tar:
        for member in tar:
            inside = member.name.removeprefix("./")
            if member.isfile() and wanted(inside):
                yield inside, tar.extractfile(member).read()


def zstd(data, what):
    """Return ``data`` decompressed; Python 3.11 has no module for zstd."""
    program = shutil.which("zstd")
    if not program:
        raise LiveError(f"{what} is compressed with zstd; install the Debian package zstd")
    done = subprocess.run([program, "-dcq"], input=data, capture_output=True)
    if done.returncode:
        raise LiveError(f"{what}: zstd: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
