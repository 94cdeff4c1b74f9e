"""Attempts at what belongs to the host: files, devices, /proc and /sys, secrets in the environment.

The form of a row: name, what it tries, who would succeed without a sandbox, the program.
"""

from __future__ import annotations

from munro.rewards.sandbox import Outcome
from tests.rewards.sandbox.escapes import Attempt, Host, leaked


def _wanted(outcome: Outcome, host: Host) -> object:
    """A file that was brought back though it is a link, or holds a secret."""
    return [
        name
        for name, content in outcome.files.items()
        if name.startswith("link") or leaked(content, host)
    ]


def _planted(outcome: Outcome, host: Host) -> object:
    """Files of the host that carry the name that attempts give to what they plant."""
    return host["_planted"]()


FILES = [
    Attempt(
        name="shadow", tries="read the password file", bites="root",
        program="return b'root:' in read('/etc/shadow') and 'users and hashes'",
    ),
    Attempt(
        name="host file", tries="read a file of the host that anyone may read", bites="anyone",
        program="return secret_in(read(HOST['secret']))",
    ),
    Attempt(
        name="climb", tries="read it by climbing out of the working directory", bites="anyone",
        program="return secret_in(read('../' * 40 + HOST['secret']))",
    ),
    Attempt(
        name="root by descriptor", tries="climb from descriptors that happen to be open",
        bites="anyone",
        program="""
        def climb(fd):
            up = os.open("/".join([".."] * 40) + HOST["secret"], os.O_RDONLY, dir_fd=fd)
            return secret_in(os.read(up, 4096))
        fds = [os.open(p, os.O_RDONLY) for p in (".", "/", "/proc/self/root", "/proc/self/cwd")]
        return any_of([lambda fd=fd: climb(fd) for fd in list(range(256)) + fds])
        """,
    ),
    Attempt(
        name="home", tries="list the home of who runs the sandbox", bites="anyone",
        program="return sorted(set(os.listdir(HOST['home'])) & set(HOST['at_home']))[:5]",
    ),
    Attempt(
        name="project", tries="read Munro's own source, or the packages beside it", bites="anyone",
        program="""
        return any_of([lambda p=p: len(read(p)) for p in HOST["project_files"]])
        """,
    ),
    Attempt(
        name="plant", tries="write a file into a folder of the host", bites="anyone",
        program="""
        with open(HOST["folder"] + "/" + HOST["mark"], "w") as file:
            file.write("planted")
        """,
        shows=_planted,
    ),
    Attempt(
        name="plant anywhere", tries="write a file into every folder that will take one",
        bites="anyone",
        program="""
        folders = {e.path for e in walk("/") if e.is_dir(follow_symlinks=False)} | {
            "/", "/etc", "/root", "/home", "/var/tmp", "/run", "/opt", "/srv", "/dev", "/mnt",
            "/usr/lib/python3", "/usr/local/lib", "/usr/bin", HOST["folder"]}
        home = os.getcwd()
        if os.path.exists(HOST["secret"]):  # no sandbox: be content with a folder of the test's
            folders = {HOST["folder"]}
        for folder in folders:
            if folder.startswith(home):
                continue
            try:
                with open(folder + "/" + HOST["mark"], "w") as file:
                    file.write("planted")
            except OSError:
                pass
        """,
        shows=_planted,
        then="""
        spots = {e.path for e in walk("/") if e.is_dir(follow_symlinks=False)}
        spots |= {"/", "/tmp", "/dev/shm", "/var/tmp", HOST["folder"]}
        return any_of([lambda p=p: read(p + "/" + HOST["mark"]) for p in spots])
        """,
    ),
    Attempt(
        name="writable system", tries="find a file of the system that may be written",
        bites="root",
        program="""
        return any_of([lambda e=e: os.access(e.path, os.W_OK) and e.path
                       for top in ("/usr", "/lib", "/bin", "/opt", "/etc") for e in deep(top, 4000)
                       if not e.is_symlink()])
        """,
    ),
    Attempt(
        name="link in want", tries="have the host follow a link to its own file",
        want=("link", "link2", "linked/secret"), bites="anyone",
        program="""
        os.symlink(HOST["secret"], "link")
        os.symlink("/etc/passwd", "link2")
        os.symlink(HOST["folder"], "linked")
        """,
        shows=_wanted,
    ),
    Attempt(
        name="link above want", tries="have the host follow a link on the way to a file",
        want=("a/b/secret", "c/passwd"), bites="anyone",
        program="""
        os.mkdir("a")
        os.symlink(HOST["folder"], "a/b")
        os.symlink("/etc", "c")
        """,
        shows=lambda outcome, host: list(outcome.files),
    ),
    Attempt(
        name="link of proc in want", tries="have the host resolve its own /proc/self/root",
        want=("link", "link2/environ"), bites="anyone",
        program="""
        os.symlink("/proc/self/root" + HOST["secret"], "link")
        os.symlink("/proc/self", "link2")
        """,
        shows=_wanted,
    ),
    Attempt(
        name="hard link", tries="link a file of the host into the working directory",
        want=("hard",), bites="anyone",
        program="os.link(HOST['secret'], 'hard')",
        shows=_wanted,
    ),
    Attempt(
        name="hard link of a set-uid program", tries="give a set-uid program another name",
        program="""
        def link(path):
            os.link(path, "mine")
            return os.stat("mine").st_mode & stat.S_ISUID and path
        return any_of([lambda p=p: link(p) for p in ("/bin/su", "/usr/bin/su", "/bin/mount")])
        """,
    ),
    Attempt(
        name="strange files in want", tries="stop the host with a pipe, a socket, an endless file",
        want=("pipe", "socket", "folder", "endless", "zero"),
        program="""
        os.mkfifo("pipe")
        socket.socket(socket.AF_UNIX).bind("socket")
        os.mkdir("folder")
        os.symlink("/dev/zero", "zero")
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        os.truncate(os.open("endless", os.O_CREAT | os.O_RDWR), 1 << 40)
        """,
        shows=lambda outcome, host: [
            name for name, content in outcome.files.items() if name != "endless" or content
        ],
    ),
    Attempt(
        name="handles", tries="open files of other mounts by their handles", bites="root",
        program="""
        def reach(path):
            handle = ctypes.create_string_buffer(136)
            struct.pack_into("I", handle, 0, 128)
            mount = ctypes.c_int()
            call(libc.name_to_handle_at(-100, path, handle, ctypes.byref(mount), 0))
            folder = os.open(path, os.O_RDONLY)
            return call(libc.open_by_handle_at(folder, handle, os.O_RDONLY))
        return any_of([lambda p=p: reach(p) for p in (b"/", b"/etc", b"/usr", b"/tmp")])
        """,
    ),
    Attempt(
        name="make a disk", tries="make the device file of a disk, and of memory", bites="root",
        program="""
        os.mknod("disk", stat.S_IFBLK | 0o600, os.makedev(7, 0))
        os.unlink("disk")
        return "a block device"
        """,
    ),
    Attempt(
        name="open devices", tries="open the devices of the machine", bites="root",
        program="""
        harmless = {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "console"}
        def try_one(path):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return path
        paths = ["/dev/" + name for name in ("mem", "kmsg", "port", "kvm", "fuse", "vda", "sda",
                 "nvme0n1", "loop0", "loop-control", "net/tun", "mapper/control", "snapshot")]
        if not os.path.exists(HOST["secret"]):  # in a sandbox: whatever there is
            paths += [e.path for e in deep("/dev") if e.name not in harmless
                      and stat.S_IFMT(e.stat(follow_symlinks=False).st_mode)
                      in (stat.S_IFCHR, stat.S_IFBLK)
                      and not e.path.startswith("/dev/pts")]
        return any_of([lambda p=p: try_one(p) for p in paths])
        """,
    ),
    Attempt(
        name="shared memory file", tries="read what the host shares in /dev/shm", bites="anyone",
        program="""
        return any_of([lambda e=e: secret_in(read(e.path)) for e in deep("/dev/shm")])
        """,
    ),
    Attempt(
        name="engine", tries="talk to a container engine of the host",
        program="""
        def reach(path):
            one = socket.socket(socket.AF_UNIX)
            one.connect(path)
            return path
        return any_of([lambda p=p: reach(p) for p in (
            "/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock",
            "/run/podman/podman.sock", HOST["docker_socket"])])
        """,
    ),
    Attempt(
        name="anything readable", tries="search every file in sight for a secret", bites="",
        program="""
        return any_of([lambda e=e: secret_in(read(e.path)) for e in walk("/")
                       if e.is_file(follow_symlinks=False)])
        """,
    ),
]  # fmt: skip

PROC = [
    Attempt(
        name="root of others", tries="read through /proc/PID/root and cwd", bites="anyone",
        program="""
        roads = ["/proc/%d/%s%s" % (pid, link, HOST["secret"])
                 for pid in [1, os.getppid()] + others() for link in ("root", "cwd/../../../..")]
        return any_of([lambda p=p: secret_in(read(p)) for p in roads])
        """,
    ),
    Attempt(
        name="environment", tries="find a secret in the environment", bites="anyone",
        program="return secret_in(repr(dict(os.environ)).encode() + read('/proc/self/environ'))",
    ),
    Attempt(
        name="environment of others", tries="find one in that of another process",
        bites="anyone",
        program="""
        pids = [1, os.getppid(), HOST["victim"]] + others()
        return any_of([lambda p=p: secret_in(read("/proc/%d/environ" % p)) for p in pids])
        """,
    ),
    Attempt(
        name="own memory", tries="find a secret in memory that a parent left", bites="warm",
        program="""
        def region(memory, line):
            first, last = (int(part, 16) for part in line.split()[0].split("-"))
            if last - first > 1 << 26 or " r" not in line:
                return None
            memory.seek(first)
            return secret_in(memory.read(last - first))
        with open("/proc/self/mem", "rb", buffering=0) as memory:
            lines = open("/proc/self/maps").read().splitlines()
            return any_of([lambda l=l: region(memory, l) for l in lines if "[v" not in l])
        """,
    ),
    Attempt(
        name="processes of the host", tries="see what the host runs", bites="anyone",
        program="""
        return any_of([lambda p=p: HOST["victim_name"].encode() in read("/proc/%d/cmdline" % p)
                       for p in others()])
        """,
    ),
    Attempt(
        name="memory of others", tries="open the memory of another process for writing",
        bites="anyone",
        program="""
        pids = [os.getppid(), 1, HOST["victim"]] + others()
        return any_of([lambda p=p: open("/proc/%d/mem" % p, "r+b", buffering=0) for p in pids])
        """,
    ),
    Attempt(
        name="descriptors of others", tries="open what another process has open", bites="anyone",
        program="""
        def steal(pid):
            fds = os.listdir("/proc/%d/fd" % pid)
            return any_of([lambda n=n: os.open("/proc/%d/fd/%s" % (pid, n), os.O_RDONLY |
                           os.O_NONBLOCK) + 1 for n in fds])
        pids = [os.getppid(), 1, HOST["victim"]] + others()
        return any_of([lambda p=p: steal(p) for p in pids])
        """,
    ),
    Attempt(
        name="sysrq", tries="open the trigger that reboots the machine",
        program="return os.open('/proc/sysrq-trigger', os.O_WRONLY) and 'open'",
    ),
    Attempt(
        name="core pattern", tries="open the program that the kernel starts after a crash",
        bites="root",
        program="return os.open('/proc/sys/kernel/core_pattern', os.O_WRONLY) and 'open'",
    ),
    Attempt(
        name="kernel settings", tries="open any setting of the kernel for writing", bites="root",
        program="""
        own = ("/proc/sys/user", "/proc/sys/net")  # a namespace's own are no harm
        return any_of([lambda e=e: os.open(e.path, os.O_WRONLY) and e.path
                       for e in deep("/proc/sys")
                       if e.is_file(follow_symlinks=False) and not e.path.startswith(own)])
        """,
    ),
    Attempt(
        name="kernel memory", tries="read the kernel's memory, symbols, messages, keys",
        bites="root",
        program="""
        def symbols():
            lines = read("/proc/kallsyms").splitlines()
            return any(int(line.split()[0], 16) for line in lines[:99]) and "kallsyms"
        def opened(path):
            os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
            return path
        return any_of([symbols] + [lambda p=p: opened(p) for p in (
            "/proc/kcore", "/proc/kmsg", "/dev/mem", "/dev/kmsg", "/sys/kernel/debug/tracing")])
        """,
    ),
    Attempt(
        name="sysfs", tries="find a switch of the hardware that may be turned", bites="root",
        program="""
        return any_of([lambda e=e: os.access(e.path, os.W_OK) and e.path for e in deep("/sys")
                       if e.is_file(follow_symlinks=False)])
        """,
    ),
    Attempt(
        name="control groups", tries="leave the control group that holds it", bites="root",
        program="""
        def leave(folder):
            if os.access(folder + "/cgroup.procs", os.W_OK):
                return folder
        folders = ["/sys/fs/cgroup"] + [e.path for e in deep("/sys/fs/cgroup", 3000)
                                        if e.is_dir(follow_symlinks=False)]
        return any_of([lambda f=f: leave(f) for f in folders])
        """,
    ),
    Attempt(
        name="spared when memory ends", tries="have the kernel kill others first",
        program="""
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("-900")
        return "spared"
        """,
    ),
    Attempt(
        name="name of the host", tries="learn the machine's name, and change it", bites="root",
        program="""
        if os.uname().nodename == HOST["node"]:
            return "known"
        socket.sethostname("mine")
        return "changed"
        """,
    ),
]  # fmt: skip
