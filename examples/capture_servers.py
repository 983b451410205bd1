# SPDX-License-Identifier: MIT OR Apache-2.0
"""What the far host serves while capture.sh listens: files over HTTP on 8080, DNS over UDP and TCP on 53.

    capture_servers.py DIRECTORY
"""
import functools
import http.server
import socket
import socketserver
import struct
import sys
import threading

RECORDS = {
    1: [bytes([192, 0, 2, 80])],
    28: [socket.inet_pton(socket.AF_INET6, "2001:db8::80")],
    15: [struct.pack("!H", 10) + b"\x04mail\xc0\x10"],
    16: [bytes([len(text)]) + text for text in [b"v=spf1 mx -all", b"a line of text " * 12, b"another " * 25]],
}


def answer(query):
    """The reply to one question, names compressed to offset 12."""
    end = query.index(b"\0", 12) + 1
    (kind,) = struct.unpack_from("!H", query, end)
    records = RECORDS.get(kind, [])
    body = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 300, len(data)) + data for data in records)
    return query[:2] + struct.pack("!HHHHH", 0x8580, 1, len(records), 0, 0) + query[12 : end + 4] + body


class Udp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request[1].sendto(answer(self.request[0]), self.client_address)


class Tcp(socketserver.BaseRequestHandler):
    def handle(self):
        query = self.request.recv(4096)[2:]
        reply = answer(query)
        self.request.sendall(struct.pack("!H", len(reply)) + reply)


class UdpServer(socketserver.UDPServer):
    address_family = socket.AF_INET6


class TcpServer(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True


if __name__ == "__main__":
    files = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])
    servers = [UdpServer(("::", 53), Udp), TcpServer(("::", 53), Tcp), TcpServer(("::", 8080), files)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()
