#!/usr/bin/python3
"""A real SMTP server (Debian's python3-aiosmtpd) for tests, on a free port of the loopback.

It prints "port N" when it listens, and ends with SIGTERM or SIGINT. Each message that it takes is
kept in the directory as N.eml, the bytes as they arrived, and N.json, its envelope:
{"mail_from", "rcpt_to": [...], "tls": bool, "user": name or null}. N counts from 000001; N.eml
appears last and whole, so whoever sees it may read both.
What the server itself has to say goes to sink.log there; each connection is a line of "connections".
"""

import argparse
import asyncio
import json
import logging
import pathlib
import signal
import ssl
import sys
import time

from aiosmtpd.smtp import SMTP, AuthResult


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=pathlib.Path, required=True, help="where messages are kept")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--starttls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="offer STARTTLS (PEM files)")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="speak TLS from the first byte")
    parser.add_argument("--auth", metavar="USER:PASSWORD", help="require authentication")
    parser.add_argument("--reject", action="append", default=[], metavar="ADDRESS=REPLY",
                        help='answer RCPT for this recipient so, e.g. "a@b.org=550 5.1.1 no such user"')
    parser.add_argument("--data-reply", metavar="REPLY", help="refuse every message so, after it has arrived")
    parser.add_argument("--fail-first", type=int, default=0, metavar="N",
                        help="answer the first N messages with 451, keep none of them")
    where = ("ehlo", "mail", "rcpt", "data", "kept", "quit")
    parser.add_argument("--stall", choices=where, help="stop answering there; \"kept\": after the message is kept")
    parser.add_argument("--drop", choices=where, help="break the connection there")
    parser.add_argument("--drop-first", type=int, default=None, metavar="N", help="--drop only the first N times")
    parser.add_argument("--drop-after", type=int, metavar="N", help="break a connection at its message N + 1")
    parser.add_argument("--enough-after", type=int, metavar="N", help="answer it with 421 instead")
    return parser.parse_args()


class Sink:
    """aiosmtpd's handler: what happens at each command."""

    def __init__(self, options):
        self.options = options
        self.kept = 0
        self.messages = 0
        self.drops = 0
        self.rejected = dict(each.split("=", 1) for each in options.reject)
        if options.auth:
            self.user, self.password = options.auth.split(":", 1)

    async def disturb(self, server, where):
        if self.options.stall == where:
            await asyncio.sleep(3600)
        if self.options.drop == where and (self.options.drop_first is None or self.drops < self.options.drop_first):
            self.drops += 1
            server.transport.abort()
            raise ConnectionAbortedError

    def authenticate(self, server, session, envelope, mechanism, credentials):
        login = credentials.login.decode(errors="replace")
        password = credentials.password.decode(errors="replace")
        return AuthResult(success=(login, password) == (self.user, self.password), handled=False, auth_data=login)

    def connected(self):
        with (self.options.dir / "connections").open("a") as lines:
            lines.write(f"{time.time():.3f}\n")

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        session.mails = 0
        await self.disturb(server, "ehlo")
        return responses

    async def handle_MAIL(self, server, session, envelope, address, options):
        await self.disturb(server, "mail")
        session.mails += 1
        if self.options.drop_after is not None and session.mails > self.options.drop_after:
            server.transport.abort()
            raise ConnectionAbortedError
        if self.options.enough_after is not None and session.mails > self.options.enough_after:
            return "421 4.7.0 enough for one connection"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        await self.disturb(server, "rcpt")
        if address in self.rejected:
            return self.rejected[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        await self.disturb(server, "data")
        self.messages += 1
        if self.messages <= self.options.fail_first:
            return "451 4.3.0 try again later"
        if self.options.data_reply:
            return self.options.data_reply
        self.keep(session, envelope)
        await self.disturb(server, "kept")
        return f"250 2.0.0 kept as {self.kept:06}"

    async def handle_QUIT(self, server, session, envelope):
        await self.disturb(server, "quit")
        return "221 2.0.0 bye"

    async def handle_exception(self, error):
        return "421 4.3.0 dropped" if isinstance(error, ConnectionAbortedError) else "500 5.3.0 the sink is broken"

    def keep(self, session, envelope):
        self.kept += 1
        name = f"{self.kept:06}"
        described = {
            "mail_from": envelope.mail_from,
            "rcpt_to": envelope.rcpt_tos,
            "tls": session.ssl is not None or self.options.tls is not None,
            "user": session.auth_data,
        }
        (self.options.dir / f"{name}.json").write_text(json.dumps(described) + "\n")
        unfinished = self.options.dir / f"{name}.tmp"
        unfinished.write_bytes(envelope.content)
        unfinished.rename(self.options.dir / f"{name}.eml")


def tls_context(files):
    if files is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


async def serve(options):
    options.dir.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(filename=options.dir / "sink.log")
    logging.captureWarnings(True)
    sink = Sink(options)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    (options.dir / "connections").touch()

    def connection():
        sink.connected()
        return SMTP(
            sink,
            hostname="sink.test",
            loop=loop,
            tls_context=tls_context(options.starttls),
            require_starttls=options.starttls is not None,
            auth_required=options.auth is not None,
            auth_require_tls=False,
            authenticator=sink.authenticate if options.auth else None,
        )

    server = await loop.create_server(connection, options.host, options.port, ssl=tls_context(options.tls))
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(arguments()))
    sys.exit(0)
