#!/usr/bin/python3
"""Holds a listening socket and starts programs that inherit it as descriptor 0, as FastCGI's process
managers do: inherit.py PATH COUNT COMMAND...

SIGUSR2: stops them with SIGTERM and starts new ones when all have ended. SIGTERM: stops them and ends."""
import os
import signal
import socket
import subprocess
import sys

path, count, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
signals = {signal.SIGUSR2, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
listener.bind(path)
os.chmod(path, 0o666)
listener.listen(511)
while True:
    children = [subprocess.Popen(command, stdin=listener, restore_signals=True,
                                 preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, signals))
                for _ in range(count)]
    print("started", flush=True)
    received = signal.sigwait(signals)
    for child in children:
        child.terminate()
    statuses = [child.wait() for child in children]
    print("ended", statuses, flush=True)
    if received == signal.SIGTERM:
        sys.exit(any(statuses))
