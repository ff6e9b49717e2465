#!/usr/bin/python3
"""Many listeners to server-sent events in one process.

usage: events.py HOST PORT COUNT PATH

Opens COUNT streams of PATH and says "listening" when each has got its first bytes. Then does what the
lines of its standard input say, and answers each with one line:
  ask N       N requests of /healthz, one after the other: "asked p50_ms p99_ms most_ms"
  await N     until each listener has heard N events: "heard least most delay_p50_ms delay_p99_ms"
  end         until all streams have ended: "ended in_order broken"
"""
import asyncio
import re
import sys
import time
from datetime import datetime

AT = re.compile(rb'"at":"([^"]*)"')
streams = []


class Stream(asyncio.Protocol):
    def __init__(self, begun):
        self.begun, self.events, self.in_order, self.ended = begun, 0, False, asyncio.Event()
        self.raw, self.text, self.delays = b"", b"", []

    def unchunk(self):
        """Whole chunks (RFC 9112, section 7.1) leave raw; what is in them becomes text."""
        if self.raw.startswith(b"HTTP/1.1 200"):
            head, mark, rest = self.raw.partition(b"\r\n\r\n")
            self.raw = rest if mark else self.raw
        while not self.raw.startswith(b"HTTP") and (end := self.raw.find(b"\r\n")) > 0:
            size = int(self.raw[:end], 16)
            if len(self.raw) < end + 4 + size:
                break
            self.text += self.raw[end + 2 : end + 2 + size]
            self.raw = self.raw[end + 4 + size :]
            self.in_order |= size == 0

    def data_received(self, data):
        now = time.time()
        self.raw += data
        self.unchunk()
        events, mark, self.text = self.text.rpartition(b"\n\n")
        self.events += (events + mark).count(b"event: state\n")
        if self is streams[0]:
            for at in AT.findall(events):
                self.delays.append(now - datetime.fromisoformat(at.decode().replace("Z", "+00:00")).timestamp())
        if not self.begun.done() and b"retry: " in events:
            self.begun.set_result(None)
        if self.in_order:
            self.ended.set()

    def connection_lost(self, error):
        self.ended.set()
        if not self.begun.done():
            self.begun.set_exception(error or EOFError())


async def open_stream(loop, host, port, path):
    begun = loop.create_future()
    transport, stream = await loop.create_connection(lambda: Stream(begun), host, port)
    transport.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    streams.append(stream)
    await asyncio.wait_for(begun, 30)


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] * 1000 if values else -1


async def ask(host, port, count):
    reader, writer = await asyncio.open_connection(host, port)
    took = []
    for _ in range(count):
        began = time.perf_counter()
        writer.write(f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        if not head.startswith(b"HTTP/1.1 200"):
            return f"wrong {head[:40]}"
        took.append(time.perf_counter() - began)
    writer.close()
    return f"asked {percentile(took, 0.5):.2f} {percentile(took, 0.99):.2f} {max(took) * 1000:.2f}"


async def hear(count):
    deadline = time.monotonic() + 60
    while min(each.events for each in streams) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    heard, delays = [each.events for each in streams], streams[0].delays
    return f"heard {min(heard)} {max(heard)} {percentile(delays, 0.5):.0f} {percentile(delays, 0.99):.0f}"


async def end():
    await asyncio.wait_for(asyncio.gather(*(each.ended.wait() for each in streams)), 30)
    in_order = sum(each.in_order for each in streams)
    return f"ended {in_order} {len(streams) - in_order}"


async def main(host, port, count, path):
    loop = asyncio.get_running_loop()
    for first in range(0, count, 100):
        await asyncio.gather(*(open_stream(loop, host, port, path) for _ in range(min(100, count - first))))
    print("listening", flush=True)
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).split():
        if line[0] == "ask":
            print(await ask(host, port, int(line[1])), flush=True)
        elif line[0] == "await":
            print(await hear(int(line[1])), flush=True)
        elif line[0] == "end":
            print(await end(), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
