"""The guest's root file system, read back by an independent reader of the format."""

import gzip
import shutil
import stat
import subprocess
from importlib.resources import files

import pytest

from smmu_sim.live.initramfs import build_initramfs, newc

GUEST = files("smmu_sim.live") / "guest"


def entries_of(archive):
    """``{name: (mode, content)}`` of a newc archive, up to its trailer."""
    found, at = {}, 0
    while True:
        assert archive[at:at + 6] == b"070701" and at % 4 == 0
        fields = [int(archive[at + 6 + 8 * n:at + 14 + 8 * n], 16) for n in range(13)]
        _, mode, uid, gid, _, _, size, *_, name_size, _ = fields
        assert uid == gid == 0
        name = archive[at + 110:at + 110 + name_size]
        assert name.endswith(b"\0")
        start = at + 110 + name_size + -(at + 110 + name_size) % 4
        if name == b"TRAILER!!!\0":
            return found
        found[name[:-1].decode()] = (mode, archive[start:start + size])
        at = start + size + -(start + size) % 4


def build(tmp_path, modules):
    paths = []
    for name, data in modules.items():
        (tmp_path / name).write_bytes(data)
        paths.append(tmp_path / name)
    return build_initramfs(b"\x7fELF busybox", paths)


@pytest.mark.parametrize("size", range(5))
@pytest.mark.parametrize("name", ["a", "ab", "abc", "abcd"])
def test_an_archive_of_any_lengths_reads_back(name, size):
    content = bytes(range(size))
    entries = [(name, stat.S_IFREG | 0o644, content), ("link", stat.S_IFLNK | 0o777, b"to")]
    assert entries_of(newc(entries)) == {name: entries[0][1:], "link": entries[1][1:]}


def test_modules_are_loaded_in_the_order_given(tmp_path):
    modules = {"virtio_net.ko": b"1", "failover.ko": b"2", "aaa.ko": b"3"}
    found = entries_of(gzip.decompress(build(tmp_path, modules)))
    in_guest = sorted(name for name in found if name.startswith("modules/"))  # as its shell sorts
    assert [found[name][1] for name in in_guest] == list(modules.values())


def test_everything_that_the_guest_starts_is_executable(tmp_path):
    found = entries_of(gzip.decompress(build(tmp_path, {})))
    for name in ("init", "checks.sh", "report.sh"):
        assert found[name] == (stat.S_IFREG | 0o755, (GUEST / name).read_bytes())
    assert found["bin/busybox"] == (stat.S_IFREG | 0o755, b"\x7fELF busybox")
    interpreter = found["init"][1].splitlines()[0].removeprefix(b"#!").split()[0].decode()
    assert interpreter.lstrip("/") in found
    for folder in ("dev", "proc", "sys", "tmp"):
        assert found[folder] == (stat.S_IFDIR | 0o755, b"")


def test_folders_come_before_what_is_in_them(tmp_path):
    names = list(entries_of(gzip.decompress(build(tmp_path, {"a.ko": b""}))))
    for name in names:
        folder = name.rpartition("/")[0]
        assert not folder or names.index(folder) < names.index(name)


def test_the_same_input_gives_the_same_bytes(tmp_path):
    assert build(tmp_path, {"a.ko": b"1"}) == build(tmp_path, {"a.ko": b"1"})


@pytest.mark.skipif(not shutil.which("cpio"), reason="the program cpio is not installed")
def test_cpio_reads_it(tmp_path):
    archive = gzip.decompress(build(tmp_path, {"a.ko": b"1"}))
    done = subprocess.run(["cpio", "-t", "--quiet"], input=archive, capture_output=True, check=True)
    assert done.stdout.decode().split() == list(entries_of(archive))


@pytest.mark.parametrize("script", ["init", "checks.sh", "report.sh"])
def test_the_guest_scripts_are_well_formed(script):
    done = subprocess.run(["sh", "-n"], input=(GUEST / script).read_bytes(), capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
