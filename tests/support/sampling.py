# SPDX-License-Identifier: MIT
"""Runs ksm.plugin like an agent, and parses its output strictly.

    with Plugin(build / "ksm.plugin", f"--root={tree.root}", "--consumers-interval=1") as plugin:
        sample = plugin.samples(1)[0]
"""

import fcntl
import os
import pwd
import select
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from daemons import die_with_parent
from protocol import ConsumerAgent
from world import Process, Tree

__all__ = ["Plugin", "Process", "Tree", "without_confinement"]

# Generous: a busy or paused machine may keep the plugin from running for seconds.
SAMPLE_S = 60           # limit for the next tick or sample
END_S = 30              # limit for the plugin's end after its input has ended; then it is killed
POLL_S = 0.02           # poll interval


def without_confinement(text):
    """Return the lines of a log without the one in which the plugin reports its confinement."""
    return [line for line in text.splitlines() if "INFO : confined: " not in line]


class Plugin:
    """A running ksm.plugin, with the agent's ends of its pipes.

    chunks: [(wall clock, bytes)], the output as it was read; a write smaller than the pipe's buffer is one chunk.
    Reading `agent` parses all output so far, and raises ProtocolError if it violates the protocol.
    """

    def __init__(self, program, *options, every=1, before=(), env=None, user=None, pipe_size=None, listen=True,
                 **popen):
        """Run PROGRAM every EVERY seconds with OPTIONS, started by the command BEFORE it, as USER.

        ENV is added to the environment; PIPE_SIZE is the size of the output pipe in bytes.  Output is read if LISTEN.
        """
        self.argv = [str(word) for word in (*before, program, every, *options)]
        self.popen = {"env": {**os.environ, **(env or {})}, "preexec_fn": die_with_parent(os.getpid()), **popen}
        if user:
            self.popen.update(user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[])
        self.every, self.pipe_size = every, pipe_size
        self.chunks, self.stderr_chunks = [], []
        self.came, self.listening = threading.Event(), threading.Event()
        if listen:
            self.listening.set()
        self.taken, self.rest, self.taker = 0, b"", ConsumerAgent()
        self.tick_times, self.sample_times = [], []
        self.process = self.output = self.started = None

    def __enter__(self):
        self.output, into = os.pipe()
        if self.pipe_size:
            fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, self.pipe_size)
        self.started = time.time()
        try:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=into, stderr=subprocess.PIPE,
                                            **self.popen)
        except BaseException:
            os.close(self.output)
            raise
        finally:
            os.close(into)
        self.readers = [threading.Thread(target=self.read_output), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()
        return self

    def __exit__(self, *_exception):
        self.process.stdin.close()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.finish()

    def read_output(self):
        """Collect stdout, except while reading is paused."""
        while True:
            self.listening.wait()
            select.select([self.output], [], [])
            if self.listening.is_set():
                chunk = os.read(self.output, 1 << 17)
                if not chunk:
                    break
                self.chunks.append((time.time(), chunk))
                self.came.set()
        os.close(self.output)

    def read_errors(self):
        """Collect stderr."""
        while chunk := os.read(self.process.stderr.fileno(), 1 << 16):
            self.stderr_chunks.append(chunk)
            self.came.set()

    @contextmanager
    def reading_paused(self):
        """Do not read its output within the block."""
        self.listening.clear()
        yield
        self.listening.set()

    def finish(self):
        """Wait for its exit, which the caller has caused; return (status, seconds)."""
        start = time.monotonic()
        status = self.process.wait(END_S)
        seconds = time.monotonic() - start
        self.listening.set()
        for reader in self.readers:
            reader.join()
        self.process.stdin.close()
        self.process.stderr.close()
        return status, seconds

    def end_input(self):
        """Close its stdin, as an agent does to end a plugin; return (status, seconds)."""
        self.process.stdin.close()
        return self.finish()

    # Output and log so far.

    def take(self):
        """Parse all output that has arrived."""
        while self.taken < len(self.chunks):
            when, chunk = self.chunks[self.taken]
            self.taken += 1
            *lines, self.rest = (self.rest + chunk).split(b"\n")
            for line in lines:
                self.taker.take(line.decode())
            self.sample_times += [when] * (len(self.taker.samples) - len(self.sample_times))
            self.tick_times += [when] * (len(self.taker.host.ticks) - len(self.tick_times))
        return self

    @property
    def agent(self):
        """The ConsumerAgent that has parsed all output so far."""
        return self.take().taker

    @property
    def ticks(self):
        """The arrival time of each tick of the host's metrics (wall clock)."""
        return self.take().tick_times

    @property
    def arrived(self):
        """The arrival time of each sample of the consumers (wall clock)."""
        return self.take().sample_times

    @property
    def text(self):
        """The output so far."""
        return b"".join(chunk for _when, chunk in self.chunks).decode()

    @property
    def log(self):
        """The log so far."""
        return b"".join(self.stderr_chunks).decode()

    @property
    def errors(self):
        """The log without the confinement line."""
        return "".join(f"{line}\n" for line in without_confinement(self.log))

    def wait(self, condition, seconds, what, poll_s=POLL_S):
        """Wait at most SECONDS until CONDITION() is true; return its value."""
        deadline = time.monotonic() + seconds
        over = False
        while not (value := condition()):
            if self.process.poll() is not None:
                self.finish()
                assert condition(), f"ksm.plugin has ended: {self.log}"
            assert not over, f"waited {seconds} s for {what}: {self.log}"
            over = time.monotonic() > deadline          # poll once more: this process may have been paused
            self.came.wait(poll_s)
            self.came.clear()
        return value

    def wait_ticks(self, count):
        """Wait until COUNT complete ticks have arrived, and return their times."""
        self.wait(lambda: len(self.ticks) >= count and not self.rest, SAMPLE_S + (count - 1) * self.every, f"{count} ticks")
        return self.ticks[:count]

    def more_ticks(self, count):
        """Wait for COUNT more ticks."""
        self.wait_ticks(len(self.ticks) + count)

    def wait_punctual(self, count, within, every=1, since=0):
        """Wait for COUNT consecutive ticks after SINCE that are each at most WITHIN seconds after a multiple of EVERY.

        A busy machine may delay single ticks; a plugin that ticks at other times never has such a sequence.
        """
        def row():
            ticks = [when for when in self.ticks[1:] if when > since]           # the first is immediate
            for i in range(len(ticks) - count + 1):
                some = ticks[i:i + count]
                if all(when % every < within for when in some) and round(some[-1] - some[0]) == every * (count - 1):
                    return some
            return None
        return self.wait(row, SAMPLE_S, f"{count} punctual ticks")

    def first_sample(self):
        """Return the first complete sample, which may have arrived before this call."""
        self.wait(lambda: self.agent.samples and not self.rest, SAMPLE_S, "the first sample")
        return self.agent.samples[0]

    def samples(self, count):
        """Return the next COUNT complete samples from now on."""
        first = len(self.agent.samples)
        self.wait(lambda: len(self.agent.samples) >= first + count and not self.rest, count * SAMPLE_S, "samples")
        return self.agent.samples[first:first + count]

    def descriptors(self):
        """Return its number of open descriptors."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident(self):
        """Return its resident memory in kB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])
