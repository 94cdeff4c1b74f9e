"""Attempts on the kernel and past it: networks, namespaces, mounts, capabilities, odd system calls.

System calls by their numbers on x86_64. Where success would change the machine, the attempt is
made with arguments that would only be looked at after the right to make it.
"""

from __future__ import annotations

from munro.rewards.sandbox import Outcome
from tests.rewards.sandbox.escapes import Attempt, Host


def _heard(outcome: Outcome, host: Host) -> object:
    """What reached the host's own listeners."""
    return host["_heard"]()


NETWORK = [
    Attempt(
        name="tcp", tries="connect to a server on the host's loopback", bites="anyone",
        program="return socket.create_connection(('127.0.0.1', HOST['tcp_port']), 2).fileno()",
    ),
    Attempt(
        name="tcp, other addresses", tries="connect to the host by its other addresses",
        bites="anyone",
        program="""
        return any_of([lambda a=a: socket.create_connection((a, HOST["tcp_port"]), 1).fileno()
                       for a in HOST["addresses"] + ["0.0.0.0", "127.0.0.2", "172.17.0.1"]])
        """,
    ),
    Attempt(
        name="tcp 6", tries="connect to the host by its version 6 loopback",
        program="return socket.create_connection(('::1', HOST['tcp_port']), 2).fileno()",
    ),
    Attempt(
        name="udp", tries="send a packet to the host", bites="anyone", shows=_heard,
        program="""
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.sendto(HOST["mark"].encode(), ("127.0.0.1", HOST["udp_port"]))
        """,
    ),
    Attempt(
        name="udp, everywhere", tries="send one to everybody on the network", bites="anyone",
        program="""
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        return any_of([lambda a=a: one.sendto(b"x", (a, 9))
                       for a in ["192.0.2.9"] + HOST["addresses"]])
        """,
    ),
    Attempt(
        name="raw sockets", tries="make packets by hand", bites="root",
        program="""
        kinds = [(socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET6, socket.SOCK_RAW, 58),
                 (socket.AF_PACKET, socket.SOCK_RAW, 0x300), (socket.AF_PACKET, 10, 0x300)]
        return any_of([lambda k=k: socket.socket(*k).fileno() for k in kinds])
        """,
    ),
    Attempt(
        name="interfaces", tries="see a network card", bites="anyone",
        program="return [i for i in socket.if_nameindex() if i[1] not in 'lo sit0 tunl0']",
    ),
    Attempt(
        name="change interfaces", tries="make a network card by netlink", bites="root",
        program="""
        one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
        # RTM_SETLINK of an interface that is not there: refused first by right, then by name
        one.send(struct.pack("IHHII", 32, 19, 5, 1, 0) + struct.pack("BxHiII", 0, 0, 999999, 1, 1))
        code = struct.unpack_from("i", one.recv(4096), 16)[0]
        return code not in (-errno.EPERM, -errno.EACCES) and "errno %d" % -code
        """,
    ),
    Attempt(
        name="kernel's netlink", tries="listen to the kernel's audit, events and connectors",
        bites="root",
        program="""
        def listen(kind):
            one = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, kind)
            one.bind((0, 1))
            return kind
        return any_of([lambda k=k: listen(k) for k in (9, 11, 15)])  # audit, connector, uevent
        """,
    ),
    Attempt(
        name="abstract socket", tries="connect to a socket of the host that has no file",
        bites="anyone",
        program="""
        one = socket.socket(socket.AF_UNIX)
        one.connect("\\0" + HOST["abstract"])
        return "connected"
        """,
    ),
    Attempt(
        name="socket file", tries="connect to a socket of the host by its file", bites="anyone",
        program="""
        one = socket.socket(socket.AF_UNIX)
        one.connect(HOST["unix_socket"])
        return "connected"
        """,
    ),
    Attempt(
        name="machine sockets", tries="talk to the hypervisor", bites="anyone",
        program="""
        one = socket.socket(40, socket.SOCK_STREAM)  # AF_VSOCK
        return "a socket past every network namespace"
        """,
    ),
    Attempt(
        name="strange families", tries="use a rare part of the network code",
        program="""
        # key, ALG, Bluetooth, CAN, TIPC, RDS, LLC, X25, NFC, KCM, SMC, XDP
        families = [15, 38, 31, 29, 30, 21, 26, 9, 39, 41, 43, 44]
        return any_of([lambda f=f, k=k: (f, k, socket.socket(f, k).fileno())
                       for f in families for k in (1, 2, 3, 5)])
        """,
    ),
]  # fmt: skip

NAMESPACES = [
    *(
        Attempt(
            name=f"unshare {kind}", tries=f"enter a new {kind} namespace", bites="root",
            program=f"return in_child(lambda: system(272, {flag:#x}) == 0 and 'entered')",
        )
        for kind, flag in {
            "user": 0x10000000, "mount": 0x20000, "pid": 0x20000000, "network": 0x40000000,
            "ipc": 0x8000000, "host name": 0x4000000, "control group": 0x2000000, "time": 0x80,
        }.items()
    ),
    Attempt(
        name="clone user", tries="have a child in a new user namespace", bites="anyone",
        program="""
        child = system(56, 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        return child
        """,
    ),
    Attempt(
        name="clone3 user", tries="the same by the newer call, whose flags no filter sees",
        bites="anyone",
        program="""
        words = struct.pack("8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        child = system(435, ctypes.create_string_buffer(words, 64), 64)
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        return child
        """,
    ),
    Attempt(
        name="setns", tries="enter the namespaces of another process", bites="root",
        program="""
        def enter(pid, kind):
            one = os.open("/proc/%d/ns/%s" % (pid, kind), os.O_RDONLY)
            return in_child(lambda: system(308, one, 0) == 0 and (pid, kind))
        pids = [1, os.getppid(), HOST["victim"]] + others()
        return any_of([lambda p=p, k=k: enter(p, k) for p in pids for k in ("net", "uts", "ipc")])
        """,
    ),
    Attempt(
        name="setns by process", tries="the same by a descriptor of the process", bites="root",
        program="""
        def enter(pid):
            one = system(434, pid, 0)
            return in_child(lambda: system(308, one, 0x4000000) == 0 and pid)
        return any_of([lambda p=p: enter(p) for p in [1, os.getppid()] + others()])
        """,
    ),
    Attempt(
        name="mount", tries="mount a file system", bites="root",
        program="""
        os.mkdir("here")
        call(libc.mount(b"none", b"here", b"tmpfs", 0, None))
        call(libc.umount(b"here"))
        return "mounted"
        """,
    ),
    Attempt(
        name="mount proc", tries="mount /proc anew, with what a mask hides", bites="root",
        program="""
        os.mkdir("here")
        call(libc.mount(b"none", b"here", b"proc", 0, None))
        call(libc.umount(b"here"))
        return "mounted"
        """,
    ),
    Attempt(
        name="bind mount", tries="put the root at another place, writable",
        program="""
        os.mkdir("here")
        call(libc.mount(b"/", b"here", None, 4096, None))
        return os.listdir("here")[:5]
        """,
    ),
    Attempt(
        name="remount", tries="make the root writable",
        program="""
        for flags in (32, 32 | 4096):
            if libc.mount(None, b"/", None, flags, None) == 0:
                return "remounted"
        """,
    ),
    Attempt(
        name="unmount", tries="take away the mounts that hide the host",
        program="""
        return any_of([lambda p=p: call(libc.umount2(p, 2)) == 0 and p
                       for p in (b"/proc", b"/sys", b"/dev", b"/tmp", b"/")])
        """,
    ),
    Attempt(
        name="new mount calls", tries="mount by the newer calls", bites="root",
        program="""
        def make():
            return system(430, b"tmpfs", 0)
        def copy():
            return system(428, -100, b"/", 1)
        return any_of([make, copy])
        """,
    ),
    Attempt(
        name="chroot", tries="leave a changed root by a descriptor from before it", bites="root",
        program="""
        def leave():
            os.mkdir("in")
            up = os.open(".", os.O_RDONLY)
            os.chroot("in")
            os.fchdir(up)
            return "a new root"
        return in_child(leave)
        """,
    ),
    Attempt(
        name="pivot", tries="change the root of everybody",
        program="""
        os.makedirs("new/old")
        system(155, b"new", b"new/old")
        return "pivoted"
        """,
    ),
]  # fmt: skip

RIGHTS = [
    Attempt(
        name="capabilities", tries="have any capability", bites="root",
        program="""
        rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return [n for n in ("CapEff", "CapPrm", "CapInh", "CapAmb") if int(rows[n], 16)]
        """,
    ),
    Attempt(
        name="raise capabilities", tries="give itself capabilities", bites="root",
        program="""
        head = struct.pack("Ii", 0x20080522, 0)
        body = struct.pack("6I", 1 << 21, 1 << 21, 1 << 21, 0, 0, 0)
        return in_child(lambda: system(126, head, body) == 0 and "raised")
        """,
    ),
    Attempt(
        name="become root", tries="become another user, or join groups", bites="root",
        program="""
        def become(act):
            act()
            return "became another"
        return any_of([lambda a=a: in_child(lambda: become(a)) for a in (
            lambda: os.setresuid(1, 1, 1), lambda: os.setresgid(1, 1, 1),
            lambda: os.setgroups([1]))])
        """,
    ),
    Attempt(
        name="set-uid programs", tries="start a program that runs as root", bites="nobody",
        program="""
        def start(path):
            if not os.stat(path).st_mode & stat.S_ISUID:
                return None
            ours, theirs = os.openpty() if os.path.exists("/dev/ptmx") else os.pipe()
            one = subprocess.Popen([path], stdin=theirs, stdout=theirs, stderr=theirs)
            try:
                for _ in range(50):
                    line = [l for l in open("/proc/%d/status" % one.pid) if l.startswith("Uid")][0]
                    if line.split()[2] == "0":
                        return path
                    time.sleep(0.01)
            except FileNotFoundError:
                return None
            finally:
                os.close(ours)
                one.kill()
                one.wait()
        if os.geteuid():
            return any_of([lambda p=p: start(p) for p in ("/bin/su", "/usr/bin/su",
                          "/usr/bin/sudo", "/usr/bin/newgrp", "/usr/bin/passwd")])
        """,
    ),
    Attempt(
        name="new privileges", tries="be allowed to gain rights by executing", bites="anyone",
        program="""
        rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return int(rows["NoNewPrivs"]) == 0 and "allowed"
        """,
    ),
    Attempt(
        name="real time", tries="take the processor from everybody else", bites="root",
        program="""
        def fifo():
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
            return "first in, first out"
        def nice():
            return os.nice(-5) < 0 and "nicer"
        return any_of([lambda a=a: in_child(a) for a in (fifo, nice)])
        """,
    ),
    Attempt(
        name="raise limits", tries="lift its own limits",
        program="""
        import resource
        def lift(kind):
            soft, hard = resource.getrlimit(kind)
            if hard == resource.RLIM_INFINITY:
                return None
            resource.setrlimit(kind, (hard + 1, hard + 1))
            return kind
        kinds = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU,
                 resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)
        return any_of([lambda k=k: in_child(lambda: lift(k)) for k in kinds])
        """,
    ),
    Attempt(
        name="keys", tries="use the kernel's key rings, which know no namespaces", bites="anyone",
        program="""
        return any_of([lambda: system(250, 0, -4, 1), lambda: system(250, 0, -3, 1),
                       lambda: system(248, b"user", HOST["mark"].encode(), b"x", 1, -2)])
        """,
    ),
]  # fmt: skip


def _calls(name: str, tries: str, bites: str, calls: str) -> Attempt:
    """System calls that are refused, or do not exist; EPERM and ENOSYS mean that."""
    return Attempt(
        name=name,
        tries=tries,
        bites=bites,
        program=f"""
        def there(number, *arguments):
            try:
                return "call %d: %r" % (number, system(number, *arguments))
            except OSError as failure:
                if failure.errno in (errno.EPERM, errno.EACCES, errno.ENOSYS):
                    return None
                return "call %d: %s" % (number, failure)
        buffer = ctypes.create_string_buffer(256)
        return any_of([lambda c=c: there(*c) for c in ({calls},)])
        """,
    )


CALLS = [
    _calls("io_uring", "do input and output past every filter", "anyone", "(425, 4, buffer)"),
    _calls("userfaultfd", "hold the kernel in the middle of a copy", "root", "(323, 0)"),
    _calls("bpf", "load a program into the kernel", "root", "(321, 0, buffer, 72)"),
    _calls("perf", "watch the processor at work", "root", "(298, buffer, 0, -1, -1, 0)"),
    _calls("modules", "load code into the kernel", "", "(175, buffer, 0, b''), (313, -1, b'', 0)"),
    _calls("other kernel", "start another", "", "(246, 0, 0, 0, 0), (320, -1, -1, 0, b'', 0)"),
    _calls("reboot", "stop the machine", "root", "(169, 1, 2, 3, 0)"),
    _calls("swap", "swap to a file of its own", "root", "(167, b'/none', 0), (163, b'/none')"),
    _calls("kernel log", "read the kernel's messages", "root", "(103, 3, buffer, 200)"),
    _calls("ports", "reach hardware by its ports", "", "(172, 0), (173, 0x80, 1, 1)"),
    _calls("fanotify", "watch every file of the machine", "root", "(300, 0, 0)"),
    _calls("clock", "set the clock", "root", "(227, 99, buffer), (164, 0, 0)"),
    _calls("quota", "change quotas of disks", "root", "(179, 0x80000100, b'/none', 0, buffer)"),
    _calls("personality", "turn off the randomness of addresses", "anyone", "(135, 0x0040000)"),
    _calls("x32", "call by other numbers", "", "(0x40000000 + 39,), (0x40000000 + 520, 0, 0, 0)"),
    Attempt(
        name="32-bit calls", tries="unshare by the 32-bit door, where numbers differ",
        bites="root",
        program="""
        import mmap
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        # push rbx; mov eax, 310; mov ebx, CLONE_NEWUTS; int 0x80; pop rbx; ret
        code.write(b"\\x53\\xb8" + struct.pack("<I", 310) + b"\\xbb" +
                   struct.pack("<I", 0x4000000) + b"\\xcd\\x80\\x5b\\xc3")
        address = ctypes.addressof(ctypes.c_char.from_buffer(code))
        return in_child(lambda: ctypes.CFUNCTYPE(ctypes.c_int)(address)() == 0 and "unshared")
        """,
    ),
    Attempt(
        name="terminal", tries="type into the terminal of who runs the sandbox",
        program="""
        import fcntl
        def push(fd):
            fcntl.ioctl(fd, 0x5412, b"x")
            return fd
        return any_of([lambda: push(os.open("/dev/tty", os.O_RDWR))] +
                      [lambda f=f: push(f) for f in range(64)])
        """,
    ),
]  # fmt: skip
