#!/usr/bin/python3
"""A real HTTP server for tests and the bench, on a free port of the loopback (or --port).

It prints "port N" when it listens, and ends with SIGTERM or SIGINT. What it answers is in the path:
  /status/N         the status N, and a small text
  /retry/N/AFTER    the status N with Retry-After: AFTER (percent-encoded)
  /echo             200, and as JSON what it got: method, path, headers, body
  /slow/MS          200 after so many ms
  /bytes/N          200 with a body of N bytes
  /json             200, a JSON text with blanks and numbers that do not survive a double
  /binary           200, bytes that are not UTF-8
  /drip             200, and then a byte a second
  /stall            reads the request and says nothing
  /broken           breaks the connection after half of the body
  /close            breaks it before any answer
  /early/N          the status N without having read the body, and a reset of the connection behind it
  /once/URL         302 to URL, and a reset when the next request comes over the same connection
  /headers          200 with a megabyte of headers
  /to/N/URL         the status N with Location: URL (percent-encoded)
  /flaky/N/KEY      503 the first N times for this KEY, then 200
Each request is a line of JSON in the file --log; "connections" counts them.
"""

import argparse
import asyncio
import json
import signal
import socket
import ssl
import struct
import sys
import urllib.parse


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--log", help="where requests are written down")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    return parser.parse_args()


class Server:
    def __init__(self, options):
        self.log = open(options.log, "a", buffering=1) if options.log else None
        self.connections = 0
        self.flaky = {}
        self.spent = set()  # connections whose next request is not answered

    async def connection(self, reader, writer):
        self.connections += 1
        try:
            while await self.request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def request(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = [line.split(": ", 1) for line in lines[1:] if ": " in line]
        if path.startswith("/early/"):
            await self.answer(writer, path[len("/early/"):], b"too much")
            return self.reset(writer)
        if writer in self.spent:
            self.spent.remove(writer)
            return self.reset(writer)
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        body = await reader.readexactly(length)
        got = {"method": method, "path": path, "headers": dict(headers), "body": body.decode("latin-1"),
               "connections": self.connections}
        if self.log:
            self.log.write(json.dumps(got) + "\n")
        parts = [urllib.parse.unquote(part) for part in path.split("?")[0].split("/")[1:]]
        return await getattr(self, "do_" + parts[0], self.do_unknown)(writer, got, *parts[1:])

    async def answer(self, writer, status, body=b"", headers=(), method="GET"):
        lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (b"" if method == "HEAD" else body))
        await writer.drain()
        return True

    def reset(self, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        return False

    async def do_unknown(self, writer, got, *_):
        return await self.answer(writer, 404, b"no such path", method=got["method"])

    async def do_status(self, writer, got, status):
        body = b"" if status in ("204", "304") else f"this is {status}".encode()
        return await self.answer(writer, status, body, [("Content-Type", "text/plain")], got["method"])

    async def do_retry(self, writer, got, status, after):
        return await self.answer(writer, status, b"later", [("Retry-After", after)])

    async def do_echo(self, writer, got, *_):
        body = json.dumps(got).encode()
        return await self.answer(writer, 200, body, [("Content-Type", "application/json"), ("ETag", '"1"')], got["method"])

    async def do_slow(self, writer, got, ms):
        await asyncio.sleep(int(ms) / 1000)
        return await self.answer(writer, 200, b"late")

    async def do_bytes(self, writer, got, count):
        return await self.answer(writer, 200, b"x" * int(count))

    async def do_json(self, writer, got):
        body = b'{ "a" : [0.1, 12345678901234567890123, " b\\" " ],\n "c": {} }\n'
        return await self.answer(writer, 200, body, [("Content-Type", "application/problem+json")])

    async def do_binary(self, writer, got):
        return await self.answer(writer, 200, b"a\x00\xff\xc3\xa4\n", [("Content-Type", "application/json")])

    async def do_drip(self, writer, got):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(1)
        return False

    async def do_stall(self, writer, got):
        await asyncio.sleep(3600)
        return False

    async def do_broken(self, writer, got):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf of it")
        await writer.drain()
        return False

    async def do_close(self, writer, got):
        return False

    async def do_garbage(self, writer, got):
        writer.write(b"220 this is another service\r\n")
        await writer.drain()
        return False

    async def do_headers(self, writer, got):
        return await self.answer(writer, 200, b"", [(f"X-{i}", "x" * 1000) for i in range(1000)])

    async def do_to(self, writer, got, status, url):
        return await self.answer(writer, status, b"elsewhere", [("Location", url)], got["method"])

    async def do_once(self, writer, got, url):
        self.spent.add(writer)
        return await self.answer(writer, 302, b"elsewhere", [("Location", url)], got["method"])

    async def do_flaky(self, writer, got, times, key):
        self.flaky[key] = self.flaky.get(key, 0) + 1
        return await self.answer(writer, 503 if self.flaky[key] <= int(times) else 200, b"flaky")


async def serve(options):
    server = Server(options)
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*options.tls)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    listener = await asyncio.start_server(server.connection, options.host, options.port, ssl=context, backlog=4096)
    print("port", listener.sockets[0].getsockname()[1], flush=True)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
    sys.exit(0)
