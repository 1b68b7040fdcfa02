"""Runs one command that must not reach the machine's identity: `python -m node.seal SPEC`, SPEC being JSON.

SPEC is {"command", "folder", "writable", "status"}. The command runs in namespaces of its own: no network but its own
loopback (so no metadata service, no identity endpoint, no storage), no sight of other processes, no capability, and a
file system that is read-only but for the folder `writable`. Where the kernel does not allow namespaces (an ordinary
container), what is left is the scrubbed environment, no capabilities, and the agent's own memory closed to it.

To the descriptor `status` it writes one line of JSON: {"sealed", "code"}; code as in subprocess. All that the command
started ends with it.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import json
import os
import pwd
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from node.lifeline import adopt_orphans, die_with_parent

# linux/sched.h, linux/mount.h, linux/prctl.h, linux/sockios.h
_NEW_USER, _NEW_PID, _NEW_NET, _NEW_IPC, _NEW_MOUNTS = (
    0x10000000,
    0x20000000,
    0x40000000,
    0x08000000,
    0x00020000,
)
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 0x1, 0x2, 0x4, 0x8, 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY = 442, -100, 0x8000, 0x1
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _LAST_CAPABILITY = 24, 38, 63
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 0x1
_FILE_MAX_BYTES = 16 * 1024**3

_DEVICES = ("null", "zero", "full", "random", "urandom", "nvidia*")

# Sockets of daemons that would do root's work, and what a person or the machine keeps to sign in with.
_HIDDEN = ("/run", "/var/lib/waagent", "~/.azure", "~/.ssh", "~/.aws", "~/.kube", "~/.docker", "~/.config")


class _Libc:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __call__(self, name: str, *arguments: object) -> None:
        """Call a function that says 0. Raises OSError."""
        if getattr(self._libc, name)(*arguments) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{name}: {os.strerror(number)}")


def main(spec: dict[str, object]) -> int:
    folder, writable, status = str(spec["folder"]), str(spec["writable"]), int(str(spec["status"]))
    command = [str(word) for word in spec["command"]]  # type: ignore[attr-defined]
    os.set_inheritable(status, False)
    die_with_parent()
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("800")  # inherited: to go first when memory runs out
    sealed = _enter_namespaces(writable)
    adopt_orphans()  # without a namespace they stay ours, and are told from those of other children
    init = os.fork()
    if init == 0:
        _be_init(command, folder, status, sealed)
    _, ended = os.waitpid(init, 0)
    return 0 if os.waitstatus_to_exitcode(ended) == 0 else 1


def _enter_namespaces(writable: str) -> bool:
    """False if the kernel does not allow it; then nothing has changed."""
    if sys.platform != "linux":
        return False
    libc, user, group = _Libc(), os.getuid(), os.getgid()
    home = pwd.getpwuid(os.getuid()).pw_dir
    try:
        libc("unshare", _NEW_USER | _NEW_PID | _NEW_NET | _NEW_IPC | _NEW_MOUNTS)
    except OSError as error:
        sys.stderr.write(
            f"muster: this kernel allows no namespaces ({error}): the environment alone is closed\n"
        )
        return False
    with suppress(PermissionError):  # already denied where an outer namespace denied it
        Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    die_with_parent()  # asked again: the kernel forgets it when credentials change
    _close_files(libc, writable, home)
    _raise_loopback()
    return True


def _close_files(libc: _Libc, writable: str, home: str) -> None:
    libc("mount", b"none", b"/", None, _REC | _PRIVATE, None)
    libc("mount", os.fsencode(writable), os.fsencode(writable), None, _BIND, None)
    _set_read_only(libc, "/", True, _AT_RECURSIVE)
    _set_read_only(libc, writable, False, 0)
    _keep_harmless_devices(libc)
    keeps = (writable, sys.prefix, sys.base_prefix, os.getcwd())
    for path in (hidden.replace("~", home, 1) for hidden in _HIDDEN):
        if os.path.isdir(path) and not any(kept.startswith(os.path.realpath(path) + "/") for kept in keeps):
            _mount_empty(libc, path)


def _keep_harmless_devices(libc: _Libc) -> None:
    """Root may open the disk itself, read-only file system or not: /dev is left with what a program may need."""
    kept = [path for pattern in _DEVICES for path in glob.glob(f"/dev/{pattern}") if not os.path.isdir(path)]
    opened = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in kept}
    _mount_empty(libc, "/dev")
    for path, number in opened.items():
        Path(path).touch()
        libc("mount", f"/proc/self/fd/{number}".encode(), os.fsencode(path), None, _BIND, None)
        os.close(number)
    os.mkdir("/dev/shm")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")


def _mount_empty(libc: _Libc, path: str) -> None:
    libc("mount", b"none", os.fsencode(path), b"tmpfs", _NOSUID | _NODEV, b"size=1g")


def _set_read_only(libc: _Libc, path: str, yes: bool, flags: int) -> None:
    attributes = struct.pack("QQQQ", _ATTR_RDONLY if yes else 0, 0 if yes else _ATTR_RDONLY, 0, 0)
    libc("syscall", _MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), flags, attributes, len(attributes))


def _raise_loopback() -> None:
    """Libraries that talk to themselves over localhost go on working."""
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _be_init(command: list[str], folder: str, status: int, sealed: bool) -> None:
    """First process of its namespace: the kernel ends all others when it goes, however far they detached themselves."""
    die_with_parent()
    if sealed:
        # Read-only as the old one is by now: whoever is uid 0 may write /proc/sys, and it takes no capability.
        with suppress(
            OSError
        ):  # a container may keep its /proc partly covered, and then no other can be mounted
            _Libc()("mount", b"proc", b"/proc", b"proc", _RDONLY | _NOSUID | _NODEV | _NOEXEC, None)
    child = os.fork()
    if child == 0:
        _become(command, folder)
    while True:
        ended, code = os.wait()
        if ended == child:
            break
    os.write(status, json.dumps({"sealed": sealed, "code": os.waitstatus_to_exitcode(code)}).encode())
    os._exit(0)


def _become(command: list[str], folder: str) -> None:
    try:
        die_with_parent()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_MAX_BYTES, _FILE_MAX_BYTES))
        _give_up_capabilities()
        for number in (
            signal.SIGPIPE,
            signal.SIGXFSZ,
        ):  # Python ignores them, and what is ignored is inherited
            signal.signal(number, signal.SIG_DFL)
        os.execv(command[0], command)
    except BaseException as error:  # noqa: BLE001 - a forked child must not return into its parent's code
        os.write(2, f"muster: {command[0]} cannot be started: {error}\n".encode())
        os._exit(127)


def _give_up_capabilities() -> None:
    """For good: neither root's own nor those of a set-uid program come back with the next exec."""
    if sys.platform != "linux":
        return
    libc = _Libc()
    for capability in range(_LAST_CAPABILITY + 1):
        with suppress(OSError):  # numbers this kernel does not know, or a container that may not
            libc("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    libc("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
