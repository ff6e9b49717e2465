#!/usr/bin/python3
"""A service manager's ear: listens on NAME (a path, or @ and an abstract name) and appends a line to
FILE for each datagram: seconds, the sender's pid as the kernel says, and the message, its lines joined
by spaces. Ends when killed."""
import socket
import struct
import sys
import time


def main():
    name, file = sys.argv[1:]
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    ear.bind("\0" + name[1:] if name[0] == "@" else name)
    with open(file, "a", buffering=1, encoding="ascii") as out:
        out.write("listening\n")
        while True:
            message, ancillary, _, _ = ear.recvmsg(4096, 256)
            pid = next(struct.unpack("3i", data)[0] for level, kind, data in ancillary if kind == socket.SCM_CREDENTIALS)
            out.write(f"{time.monotonic():.3f} {pid} {message.decode('ascii').replace(chr(10), ' ')}\n")


if __name__ == "__main__":
    main()
