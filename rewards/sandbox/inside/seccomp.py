"""Which system calls a run may make, as a seccomp filter assembled by hand.

Everything is allowed but what is named here: what changes namespaces, mounts or the machine, what
reaches into other processes, and the parts of the kernel that hostile programs like best. Calls
that are newer than this table do not exist inside (ENOSYS).

Numbers: `asm/unistd_64.h` for x86_64, `asm-generic/unistd.h` for aarch64.
"""

from __future__ import annotations

import errno
import struct

AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
NEWEST = 462  # mseal: past it nobody has judged

# not there on that machine: -1
DENIED: dict[str, tuple[int, int]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, -1),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, -1),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "ioprio_set": (251, 30),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "listmount": (458, 458),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, -1),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "statmount": (457, 457),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, -1),
    "_sysctl": (156, -1),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, -1),
    "userfaultfd": (323, 282),
    "ustat": (136, -1),
    "vhangup": (153, 58),
}
UNCOUNTED: dict[str, tuple[int, int]] = {
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
}
"""Memory that belongs to no process: refused where no cgroup counts it."""
MISSING: dict[str, tuple[int, int]] = {"clone3": (435, 435)}
"""Its flags lie in memory, where a filter cannot see them; C libraries fall back to clone."""
OWN_ONLY: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setattr": (314, 274),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
}
"""Of the caller (0) alone: the keeper has the same user, and could be starved by its own rules."""
SETPRIORITY = (141, 140)
SOCKETS: dict[str, tuple[int, int]] = {"socket": (41, 198), "socketpair": (53, 199)}
CLONE = (56, 220)
IOCTL = (16, 29)
PERSONALITY = (135, 92)
AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
TYPES = (1, 2)
TYPE_BITS = 0xF
PROTOCOLS = (0, 6, 17)
"""Streams and datagrams, by TCP, UDP, or what the kernel takes if nobody says."""
NAMESPACE_FLAGS = 0x7E02_0000  # CLONE_NEW*, all but the one of time, which clone does not take
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
X32_BIT = 0x4000_0000

LOAD, EQUAL, ABOVE, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
ALLOW, ERRNO, KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000
NUMBER_AT, ARCH_AT, ARGUMENT_AT = 0, 4, 16


def program(machine: str, *, is_counted: bool, has_loopback: bool = False) -> bytes:
    """The filter, as the kernel takes it: eight bytes an instruction.

    Args:
        machine: "x86_64" or "aarch64".
        is_counted: a cgroup counts the memory of the run.
        has_loopback: TCP and UDP sockets may be made too.
    """
    column = tuple(AUDIT_ARCH).index(machine)
    rules = [
        _step(LOAD, ARCH_AT),
        _step(EQUAL, AUDIT_ARCH[machine], 1, 0),
        _step(RETURN, KILL),
        _step(LOAD, NUMBER_AT),
        *_if(ABOVE, X32_BIT - 1, errno.ENOSYS),
        *_if(ABOVE, NEWEST, errno.ENOSYS),
    ]
    for number in _column(MISSING, column):
        rules += _if(EQUAL, number, errno.ENOSYS)
    for number in _column(DENIED if is_counted else {**DENIED, **UNCOUNTED}, column):
        rules += _if(EQUAL, number, errno.EPERM)
    if has_loopback:
        rules += _on_socket(SOCKETS["socket"][column])
    for number in _column(SOCKETS, column):
        rules += _on_argument(number, 0, _unless((AF_UNIX,), errno.EAFNOSUPPORT))
    for number in _column(OWN_ONLY, column):
        rules += _on_argument(number, 0, _unless((0,), errno.EPERM))
    only_me = _unless((0,), errno.EPERM)  # which: a process; who: the caller
    rules += _on_argument(SETPRIORITY[column], 0, [*only_me, _load_argument(1), *only_me])
    rules += _on_argument(CLONE[column], 0, _if(ANY_BIT, NAMESPACE_FLAGS, errno.EPERM))
    rules += _on_argument(
        IOCTL[column],
        1,
        _if(EQUAL, TIOCSTI, errno.EPERM) + _if(EQUAL, TIOCLINUX, errno.EPERM),
    )
    # ask for the present one (all bits set), or set the plain one: no other
    rules += _on_argument(PERSONALITY[column], 0, _unless((0, 0xFFFF_FFFF), errno.EPERM))
    return b"".join([*rules, _step(RETURN, ALLOW)])


def _on_socket(number: int) -> list[bytes]:
    """Allow one of the network's families where type and protocol say TCP or UDP; else go on."""
    kind = [_load_argument(1), _step(AND, TYPE_BITS), *_unless(TYPES, errno.EPROTONOSUPPORT)]
    protocol = [_load_argument(2), *_unless(PROTOCOLS, errno.EPROTONOSUPPORT)]
    body = [*kind, *protocol, _step(RETURN, ALLOW)]
    family = [
        _load_argument(0),
        _step(EQUAL, AF_INET, 1, 0),
        _step(EQUAL, AF_INET6, 0, len(body)),
        *body,
        _step(LOAD, NUMBER_AT),
    ]
    return [_step(EQUAL, number, 0, len(family)), *family]


def _column(table: dict[str, tuple[int, int]], column: int) -> list[int]:
    return sorted(numbers[column] for numbers in table.values() if numbers[column] >= 0)


def _step(code: int, value: int, jump_if: int = 0, jump_else: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_if, jump_else, value)


def _if(test: int, value: int, failure: int) -> list[bytes]:
    """Where the test holds, the call fails with that errno."""
    return [_step(test, value, 0, 1), _step(RETURN, ERRNO | failure)]


def _unless(allowed: tuple[int, ...], failure: int) -> list[bytes]:
    """The call fails with that errno where its argument is none of those allowed."""
    tests = [_step(EQUAL, value, len(allowed) - i, 0) for i, value in enumerate(allowed)]
    return [*tests, _step(RETURN, ERRNO | failure)]


def _load_argument(index: int) -> bytes:
    return _step(LOAD, ARGUMENT_AT + 8 * index)


def _on_argument(number: int, index: int, tests: list[bytes]) -> list[bytes]:
    """For one call: run `tests` on the low half of an argument, then allow."""
    # the kernel takes these arguments as 32-bit numbers too, so the high half says nothing
    body = [_load_argument(index), *tests, _step(RETURN, ALLOW)]
    return [_step(EQUAL, number, 0, len(body)), *body]
