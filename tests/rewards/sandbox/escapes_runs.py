"""Attempts on other processes, and on what a run may spend."""

from __future__ import annotations

from dataclasses import replace

from munro.rewards.sandbox import Outcome
from tests.rewards.sandbox.escapes import QUICK, Attempt, Host

MIB = 1 << 20


def _alive(outcome: Outcome, host: Host) -> object:
    """Processes of the host that carry the attempts' mark."""
    return host["_alive"]()


PROCESSES = [
    Attempt(
        name="kill the host's", tries="signal a process of the host", bites="anyone",
        program="""
        os.kill(HOST["victim"], 0)
        return "signalled"
        """,
    ),
    Attempt(
        name="kill the parent", tries="kill who reports how it ended", bites="anyone",
        breaks=True,
        program="""
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for pid in (os.getppid(), 1):
                if pid != 1 or not os.path.exists(HOST["secret"]):
                    any_of([lambda: os.kill(pid, number)])
        time.sleep(0.1)
        """,
    ),
    Attempt(
        name="stop the parent", tries="freeze who watches the clock", bites="anyone",
        breaks=True,
        limits=replace(QUICK, wall_s=2),
        program="""
        for number in (signal.SIGSTOP, signal.SIGTSTP):
            any_of([lambda: os.kill(os.getppid(), number)])
        time.sleep(0.1)
        """,
    ),
    Attempt(
        name="signal everybody", tries="end all that it may signal",
        program="""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if not os.path.exists(HOST["secret"]):  # only in a sandbox
            os.kill(-1, signal.SIGTERM)
            os.kill(-1, signal.SIGKILL)
            time.sleep(0.1)
        """,
    ),
    Attempt(
        name="limit the parent", tries="set limits for another process", bites="anyone",
        program="""
        import resource
        def limit(pid):
            now = resource.prlimit(pid, resource.RLIMIT_CPU)
            resource.prlimit(pid, resource.RLIMIT_CPU, now)
            return pid
        return any_of([lambda p=p: limit(p) for p in [os.getppid(), 1] + others()])
        """,
    ),
    Attempt(
        name="priorities of others", tries="make another process slow", bites="anyone",
        program="""
        def slow(pid):
            os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid))
            return pid
        return any_of([lambda p=p: slow(p) for p in [os.getppid(), 1] + others()])
        """,
    ),
    Attempt(
        name="trace", tries="trace another process", bites="anyone",
        program="""
        seize = lambda pid: in_child(lambda: system(101, 0x4206, pid, 0, 0) == 0 and pid)
        return any_of([lambda p=p: seize(p) for p in [os.getppid(), 1] + others()])
        """,
    ),
    Attempt(
        name="read memory by call", tries="read another process's memory", bites="anyone",
        program="""
        def peek(pid):
            word = ctypes.create_string_buffer(8)
            mine = struct.pack("QQ", ctypes.addressof(word), 8)
            theirs = struct.pack("QQ", ctypes.addressof(word), 8)
            try:
                return (pid, system(310, pid, mine, 1, theirs, 1, 0))
            except OSError as failure:
                return failure.errno == errno.EFAULT and (pid, "may")
        return any_of([lambda p=p: peek(p) for p in [os.getppid(), 1] + others()])
        """,
    ),
    Attempt(
        name="take a descriptor", tries="take a descriptor out of another process",
        bites="anyone",
        program="""
        take = lambda pid, fd: (pid, fd, system(438, system(434, pid, 0), fd, 0))
        return any_of([lambda p=p, f=f: take(p, f)
                       for p in [os.getppid(), 1] + others() for f in range(8)])
        """,
    ),
    Attempt(
        name="stay behind", tries="leave a process that outlives the run", bites="anyone",
        program="""
        if not os.fork():
            os.setsid()
            if not os.fork():
                for number in (1, 2, 13, 15):
                    signal.signal(number, signal.SIG_IGN)
                os.closerange(0, 64)
                os.execv(sys.executable or "/usr/bin/python3", ["python3", "-S", "-c",
                         "import time; time.sleep(60)", HOST["mark"]])
            os._exit(0)
        time.sleep(0.2)
        """,
        shows=_alive,
    ),
    Attempt(
        name="hold the output open", tries="have the host wait for a child that keeps stdout",
        limits=replace(QUICK, wall_s=4),
        program="""
        if not os.fork():
            os.setsid()
            time.sleep(60)
        """,
        shows=lambda outcome, host: outcome.usage.wall_s > 30,
    ),
]  # fmt: skip

BOMBS = [
    Attempt(
        name="fork bomb", tries="have more processes than it may", bites="anyone",
        program="""
        for count in range(64):
            if not os.fork():
                time.sleep(5)
                os._exit(0)
        return "64 children"
        """,
    ),
    Attempt(
        name="fork bomb without end", tries="fork for ever, from every child",
        limits=replace(QUICK, wall_s=1, cpu_s=1),
        program="""
        while not os.path.exists(HOST["secret"]):
            try:
                os.fork()
            except OSError:
                pass
        """,
        shows=_alive,
    ),
    Attempt(
        name="thread bomb", tries="have more threads than it may", bites="anyone",
        program="""
        import threading
        try:
            for count in range(64):
                threading.Thread(target=time.sleep, args=(5,), daemon=True).start()
        except RuntimeError:
            return None
        return "64 threads"
        """,
    ),
    Attempt(
        name="memory", tries="take more memory than it may", bites="anyone",
        program="return len(bytearray(b'x') * (256 << 20))",
    ),
    Attempt(
        name="memory of many", tries="take it in many processes, each within the limit",
        bites="anyone",
        program="""
        ours, theirs = os.pipe()
        for _ in range(6):
            if not os.fork():
                held = bytearray(b"x") * (60 << 20)
                os.write(theirs, b"x")
                time.sleep(4)
                os._exit(0)
        deadline, held = time.time() + 3, 0
        os.set_blocking(ours, False)
        while held < 6 and time.time() < deadline:
            time.sleep(0.05)
            held += len(any_of([lambda: os.read(ours, 9)]) or "b''") - 3
        return held >= 6 and "360 MiB at once"
        """,
    ),
    *(
        Attempt(
            name=f"memory in {where}", tries="take it where no process owns it", bites="anyone",
            program=f"""
            block = b"x" * (1 << 20)
            {opening}
            for _ in range(256):
                {writing}
            return "256 MiB"
            """,
        )
        for where, opening, writing in (
            ("a nameless file", "f = os.memfd_create('x')", "os.write(f, block)"),
            ("a shared mapping", "import mmap; m = mmap.mmap(-1, 256 << 20)", "m.write(block)"),
            ("/dev/shm", "f = os.open('/dev/shm/' + HOST['mark'], os.O_CREAT | os.O_RDWR); "
             "os.unlink('/dev/shm/' + HOST['mark'])", "os.write(f, block)"),
        )
    ),
    Attempt(
        name="memory in System V segments", tries="take it in segments that outlive it",
        bites="anyone",
        program="""
        held = []
        libc.shmat.restype = ctypes.c_void_p
        try:
            for _ in range(16):
                held.append(call(libc.shmget(0, 16 << 20, 0o1600)))
                ctypes.memset(libc.shmat(held[-1], None, 0), 1, 16 << 20)
            return "256 MiB"
        finally:
            for one in held:
                libc.shmctl(one, 0, None)
        """,
    ),
    *(
        Attempt(
            name=f"disk in {where}", tries="fill a disk", bites="anyone",
            program=f"""
            try:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                for number in range(32):
                    with open({place} % number, "wb") as file:
                        file.write(b"x" * (2 << 20))
                return "64 MiB"
            finally:
                for number in range(32):
                    any_of([lambda: os.unlink({place} % number)])
            """,
        )
        for where, place in (
            ("the working directory", "'big%d'"),
            ("/tmp", "'/tmp/' + HOST['mark'] + '%d'"),
            ("/var/tmp", "'/var/tmp/' + HOST['mark'] + '%d'"),
        )
    ),
    Attempt(
        name="inodes", tries="make more files than a disk can count", bites="anyone",
        program="""
        for number in range(40000):
            os.mknod("f%d" % number)
        return "40000 files"
        """,
    ),
    Attempt(
        name="deep folders", tries="make folders too deep to remove",
        program="""
        try:
            for _ in range(3000):
                os.mkdir("d" * 200)
                os.chdir("d" * 200)
                os.chmod("..", 0)
        except OSError:
            pass
        """,
    ),
    Attempt(
        name="output", tries="drown the host in output", bites="anyone",
        program="""
        for _ in range(64):
            os.write(1, b"x" * (1 << 16))
        """,
        shows=lambda outcome, host: len(outcome.stdout) > QUICK.output_bytes,
    ),
    Attempt(
        name="errors", tries="drown it in error messages", bites="anyone",
        program="""
        for _ in range(64):
            os.write(2, b"x" * (1 << 16))
        """,
        shows=lambda outcome, host: len(outcome.stderr) > QUICK.output_bytes,
    ),
    Attempt(
        name="descriptors", tries="open more files than it may", bites="anyone",
        program="return len([os.dup(1) for _ in range(200)])",
    ),
    Attempt(
        name="processor", tries="use more of the processor than it may", bites="anyone",
        limits=replace(QUICK, cpu_s=0.3),
        program="""
        signal.signal(signal.SIGXCPU, signal.SIG_IGN)
        while time.process_time() < 1.2:
            pass
        return time.process_time()
        """,
    ),
    Attempt(
        name="processor of many", tries="use it in children that are never waited for",
        bites="anyone", limits=replace(QUICK, cpu_s=0.3),
        program="""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for _ in range(6):
            if not os.fork():
                while time.process_time() < 0.3:
                    pass
                os._exit(0)
        while any_of([lambda: os.waitpid(-1, 0)]):
            pass
        return "1.8 s"
        """,
    ),
    Attempt(
        name="processor of the forgotten",
        tries="use it in one short child after another, none of them waited for",
        bites="anyone", limits=replace(QUICK, cpu_s=0.3, wall_s=4),
        program="""
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for _ in range(20):
            if not os.fork():
                while time.process_time() < 0.12:
                    pass
                os._exit(0)
            any_of([lambda: os.waitpid(-1, 0)])
        return "2.4 s"
        """,
    ),
    Attempt(
        name="sleep", tries="sleep past the end, deaf to signals", bites="anyone",
        limits=replace(QUICK, wall_s=0.6),
        program="""
        for number in set(range(1, 32)) - {9, 17, 19}:
            signal.signal(number, signal.SIG_IGN)
        time.sleep(1.6)
        return "awake"
        """,
    ),
]  # fmt: skip
