# SPDX-License-Identifier: MIT
"""A large process that merges little for one reason: python3 large.py NAME KIND

It sets its name to NAME, maps SIZE bytes of memory of that KIND, prints "ready", and exits at the end of stdin.
Exits with NOT_HERE and a message if such memory is not available.

    ordinary    not mergeable; no two pages are equal, here and below except where stated
    mergeable   by madvise()
    huge        mergeable, in huge pages
    merging     mergeable, all pages are equal
    changing    mergeable, rewritten all the time
    hugetlb     reserved huge pages
    memfd       shmem
    ring        the ring of a packet socket, which belongs to a driver
    pinned      as merging, and registered with io_uring
    restored    mergeable, a private mapping of a file, of which a third was written to since
    sparse      mergeable, few pages are equal
"""

import ctypes
import mmap
import os
import select
import socket
import struct
import sys
import tempfile
from itertools import count

SIZE = 80 << 20
PAGE = mmap.PAGESIZE
EQUAL = 100         # pages; so many save less than the overhead of all
NOT_HERE = 77
MAP_HUGETLB = 0x40000
PR_SET_NAME = 15
MADV_POPULATE_READ = 22
IO_URING_SETUP, IO_URING_REGISTER = 425, 427
SOL_PACKET, PACKET_RX_RING, BLOCK, FRAME = 263, 5, 1 << 20, 2048
libc = ctypes.CDLL(None, use_errno=True)


def fill(memory, generation=0):
    """Give every page of MEMORY a different content."""
    for page in range(SIZE // PAGE):
        struct.pack_into("QQ", memory, page * PAGE, page + 1, generation)


def private(*advice, flags=0):
    """Return filled private memory, after madvise() with each ADVICE."""
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | flags)
    for value in advice:
        memory.madvise(value)
    fill(memory)
    return memory


def memfd():
    """Return filled shared memory."""
    file = os.memfd_create("guest")
    os.truncate(file, SIZE)
    memory = mmap.mmap(file, SIZE)
    fill(memory)
    return memory


def ring():
    """Return a packet socket and its ring, all of it resident."""
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(SOL_PACKET, PACKET_RX_RING,
                       struct.pack("IIII", BLOCK, SIZE // BLOCK, FRAME, SIZE // FRAME))
    return packets, mmap.mmap(packets.fileno(), SIZE)


def merging():
    """Return memory whose pages merge."""
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_MERGEABLE)
    memory.write(b"p" * SIZE)
    return memory


def pinned():
    """Return memory that would merge if it were not pinned."""
    memory = merging()
    file = libc.syscall(IO_URING_SETUP, 4, ctypes.create_string_buffer(120))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if file < 0 or libc.syscall(IO_URING_REGISTER, file, 0, struct.pack("QQ", start, SIZE), 1) < 0:
        raise OSError(ctypes.get_errno(), "io_uring")
    return memory


def restored():
    """Return mergeable memory that is mostly the page cache of a file."""
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        file.truncate(3 * SIZE)
        memory = mmap.mmap(file.fileno(), 3 * SIZE, flags=mmap.MAP_PRIVATE)
    memory.madvise(mmap.MADV_MERGEABLE)
    memory.madvise(MADV_POPULATE_READ)
    fill(memory)
    return memory


def sparse():
    """Return memory of which some pages merge."""
    memory = private(mmap.MADV_NOHUGEPAGE, mmap.MADV_MERGEABLE)
    memory[:EQUAL * PAGE] = b"p" * (EQUAL * PAGE)
    return memory


KINDS = {
    "ordinary": lambda: private(mmap.MADV_NOHUGEPAGE),
    "mergeable": lambda: private(mmap.MADV_NOHUGEPAGE, mmap.MADV_MERGEABLE),
    "huge": lambda: private(mmap.MADV_HUGEPAGE, mmap.MADV_MERGEABLE),
    "changing": lambda: private(mmap.MADV_NOHUGEPAGE, mmap.MADV_MERGEABLE),
    "hugetlb": lambda: private(flags=MAP_HUGETLB),
    "memfd": memfd,
    "ring": ring,
    "merging": merging,
    "pinned": pinned,
    "restored": restored,
    "sparse": sparse,
}


def main(name, kind):
    """Run as such a process until the end of stdin."""
    libc.prctl(PR_SET_NAME, os.fsencode(name), 0, 0, 0)
    try:
        memory = KINDS[kind]()
    except OSError as error:
        print(f"{kind}: {error}", file=sys.stderr)
        return NOT_HERE
    print("ready", flush=True)
    for generation in count(1):
        if select.select([sys.stdin], [], [], 0 if kind == "changing" else None)[0]:
            return 0
        fill(memory, generation)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
