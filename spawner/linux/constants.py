"""Numbers of the kernel's interface, each with the header that defines it."""

# linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# linux/mount.h
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REC = 16384
MS_PRIVATE = 1 << 18

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

# bits/socket.h, bits/socket_type.h
AF_INET = 2
SOCK_DGRAM = 2

# linux/sockios.h
SIOCSIFFLAGS = 0x8914

# linux/if.h
IFF_UP = 1
IFNAMSIZ = 16

IFREQ_SIZE = 40
"""Bytes in a struct ifreq, linux/if.h: the name and a union of at most 24 bytes."""

SIGSET_SIZE = 128
"""Bytes in a sigset_t of glibc and of musl, bits/types/__sigset_t.h."""

SIGINFO_SIZE = 128
"""Bytes in a struct signalfd_siginfo, linux/signalfd.h."""

# linux/signal.h, asm-generic/siginfo.h: si_code of what a process sent, not the kernel.
SI_USER = 0
SI_QUEUE = -1
SI_TKILL = -6

NAMESPACE_FLAGS = {
    "cgroup": "CLONE_NEWCGROUP",
    "ipc": "CLONE_NEWIPC",
    "mount": "CLONE_NEWNS",
    "net": "CLONE_NEWNET",
    "pid": "CLONE_NEWPID",
    "time": "CLONE_NEWTIME",
    "user": "CLONE_NEWUSER",
    "uts": "CLONE_NEWUTS",
}
"""The flag, by its name above, of each kind of namespace, namespaces(7)."""
