#!/usr/bin/python3
"""An HTTP/2 receiver over TLS that obeys the protocol, or breaks it as told.

    http2.py CERT KEY LOG NAME:KIND...

Each NAME is a listener of its own on 127.0.0.1. KIND is normal; streams=N or
window=N, what its SETTINGS say; garbage or silent, what it says instead of
SETTINGS; hang, without TLS's handshake; or old, which speaks HTTP/1.1 alone.
Prints "listening on PORT PORT..."
and ends with its standard input. LOG gets a line of JSON for each connection,
each request, and each answer that was 200.

The first word of a path says what a request gets, and the second how many
requests of that path get it (default: all); those after them are answered with
200. See the functions below. A client that does not offer HTTP/2 gets 200.
"""

import collections
import json
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE = 0, 1, 3, 4, 5
PING, GOAWAY, CONTINUATION = 6, 7, 9
END_STREAM, END_HEADERS = 1, 4
REFUSED_STREAM = 7
OK = b"\x88"                    # HPACK: ":status: 200", from its static table
TICK_S = 0.02                   # between looks at what others do

lock = threading.Lock()
n_connections = 0
n_requests = collections.Counter()      # by listener and path


def frame(kind, flags, stream, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def literal(name, value, indexed=False):
    """A header, without Huffman codes; into the dynamic table if indexed."""
    def text(s):
        n = len(s)
        if n < 127:
            return bytes([n]) + s
        n -= 127
        out = b"\x7f"
        while n >= 128:
            out += bytes([n % 128 + 128])
            n //= 128
        return out + bytes([n]) + s
    return (b"\x40" if indexed else b"\x00") + text(name) + text(value)


def log(name, what, **more):
    with lock:
        print(json.dumps({"name": name, "what": what, **more}), file=log_file, flush=True)


class Closed(Exception):
    """The connection is over."""


class Connection:
    def __init__(self, tls, name, kind):
        global n_connections
        self.tls = tls
        self.name = name
        self.requests = {}          # stream: headers and body, until answered
        self.n_given_up = 0         # streams that the client ended
        self.waiting = []           # functions that return True when done
        with lock:
            n_connections += 1
            self.number = n_connections
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.h2 = h2.connection.H2Connection(config)
        what, _, value = kind.partition("=")
        self.max_streams = int(value) if what == "streams" else None
        self.has_window = what != "window"
        self.h2.initiate_connection()
        # told behind the library's back, and judged here: the client may
        # have begun a request before it got to know
        setting = {"streams": 3, "window": 4}.get(what)
        self.send(frame(SETTINGS, 0, 0, struct.pack("!HI", setting, int(value)))
                  if setting else b"")
        self.log("connection", alpn=tls.selected_alpn_protocol())

    def log(self, what, **more):
        log(self.name, what, connection=self.number, **more)

    def send(self, data=b""):
        """What the library has to say, then what it would not."""
        self.tls.settimeout(60)
        self.tls.sendall(self.h2.data_to_send() + data)

    def receive(self):
        if not self.tls.pending() and not select.select([self.tls], [], [], TICK_S)[0]:
            return
        data = self.tls.recv(65536)
        if not data:
            raise Closed
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.requests[event.stream_id] = (dict(event.headers), bytearray())
            elif isinstance(event, h2.events.DataReceived):
                self.requests[event.stream_id][1].extend(event.data)
                if self.has_window:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self.begin(event.stream_id)
            elif isinstance(event, h2.events.StreamReset):
                self.requests.pop(event.stream_id, None)
                self.n_given_up += 1
        self.send()

    def begin(self, stream):
        """A request is complete."""
        headers, body = self.requests[stream]
        path = headers[":path"]
        words = path.strip("/").split("/")
        with lock:
            n_requests[self.name, path] += 1
            n = n_requests[self.name, path]
        self.log("request", stream=stream, path=path, open=len(self.requests),
                 headers=headers, body=body.decode())
        if self.max_streams is not None and len(self.requests) > self.max_streams:
            self.send(frame(RST_STREAM, 0, stream, struct.pack("!I", REFUSED_STREAM)))
            del self.requests[stream]
        elif words[0] == "ok" or len(words) > 1 and n > int(words[1]):
            self.answer(stream)
        else:
            MISDEEDS[words[0]](self, stream, n, words)

    def answer(self, stream, status="200", headers=()):
        event_id = self.requests.pop(stream)[0].get("webhook-id")
        self.h2.send_headers(stream, [(":status", status), *headers], end_stream=True)
        self.send()
        if status == "200":
            self.log("answer", stream=stream, id=event_id)

    def serve(self):
        while True:
            self.receive()
            self.waiting = [wait for wait in self.waiting if not wait()]

    def drain(self):
        """Takes what the peer says without a look at it."""
        while self.tls.pending() or select.select([self.tls], [], [], 0)[0]:
            if not self.tls.recv(65536):
                raise Closed

    def flood(self, data, first=b""):
        self.send(first)
        while True:
            self.send(data)
            self.drain()

    def close(self):
        self.log("close")
        raise Closed


# ---- what a request can get: functions of connection, stream, how many
# requests of that path there were, and the words of the path

def together(c, stream, n, words):
    """Answers none before as many as the second word says have come."""
    path = c.requests[stream][0][":path"]

    def is_done():
        if n_requests[c.name, path] < int(words[1]):
            return False
        if stream in c.requests:
            c.answer(stream)
        return True
    c.waiting.append(is_done)


def crowd(c, stream, n, words):
    """The first gets its answer when as many as the second word says have come;
    the others get 60 kB each."""
    path = c.requests[stream][0][":path"]

    def is_done():
        if n_requests[c.name, path] < int(words[1]):
            return False
        c.answer(stream)
        return True
    if n == 1:
        c.waiting.append(is_done)
        return
    c.h2.send_headers(stream, [(":status", "200")])
    for i in range(4):
        c.h2.send_data(stream, b"x" * 15000, end_stream=i == 3)
    del c.requests[stream]


def goaway(c, stream, n, words):
    """/goaway/N/M/KIND: with N open, says that it has not processed those
    after the Mth. It answers the others (KIND answer), or closes (close)."""
    if n < int(words[1]):
        return
    streams = sorted(c.requests)
    processed = streams[:int(words[2])]
    c.log("goaway", processed=[c.requests[s][0]["webhook-id"] for s in processed],
          refused=[c.requests[s][0]["webhook-id"] for s in streams[len(processed):]])
    last = processed[-1] if processed else 0
    c.send(frame(GOAWAY, 0, 0, struct.pack("!II", last, 0)))
    if words[3] == "close":
        c.close()
    for s in streams[len(processed):]:
        del c.requests[s]
    for s in processed:
        c.answer(s)


def graceful(c, stream, n, words):
    """Says that it will be going, answers, and goes when the peer does."""
    c.send(frame(GOAWAY, 0, 0, struct.pack("!II", 2**31 - 1, 0)))
    c.answer(stream)


def reset(c, stream, n, words):
    """/reset/TIMES/CODE"""
    c.send(frame(RST_STREAM, 0, stream, struct.pack("!I", int(words[2]))))
    del c.requests[stream]


def reset_late(c, stream, n, words):
    """The same, in the middle of an answer."""
    c.send(frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, 0, stream, b"half of "))
    reset(c, stream, n, words)


def stall(c, stream, n, words):
    """/stall/2/SECONDS: refuses the first so late, and the second never gets
    an answer."""
    end = time.monotonic() + float(words[2])

    def is_done():
        if time.monotonic() < end:
            return False
        reset(c, stream, n, ["", "", REFUSED_STREAM])
        return True
    if n == 1:
        c.waiting.append(is_done)


def silence(c, stream, n, words):
    """No answer; other streams get theirs."""


def beside(c, stream, n, words):
    """Answers when the client has given up another stream."""
    def is_done():
        if c.n_given_up == 0:
            return False
        c.answer(stream)
        return True
    c.waiting.append(is_done)


def partial(c, stream, n, words):
    """An answer that does not end."""
    c.send(frame(HEADERS, END_HEADERS, stream, OK) + frame(DATA, 0, stream, b"half of "))


def dead(c, stream, n, words):
    """The connection is neither read nor written from now on."""
    time.sleep(600)


def cut(c, stream, n, words):
    """Closes in the middle of an answer."""
    partial(c, stream, n, words)
    c.tls.settimeout(TICK_S)
    try:
        c.tls.unwrap()
    except OSError:
        pass
    c.close()


def vanish(c, stream, n, words):
    """The same without TLS's farewell, and with a TCP reset."""
    partial(c, stream, n, words)
    c.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def status(c, stream, n, words):
    """/status/TIMES/STATUS/RETRY_AFTER"""
    c.answer(stream, words[2], [("retry-after", words[3])] if len(words) > 3 else [])


def endless(c, stream, n, words):
    """A body without end, as far as flow control permits."""
    c.h2.send_headers(stream, [(":status", "200")])
    c.send()

    def more():
        room = min(c.h2.local_flow_control_window(stream), 16000)
        while room > 0:
            c.h2.send_data(stream, b"x" * room)
            c.send()
            room = min(c.h2.local_flow_control_window(stream), 16000)
        return stream not in c.requests
    c.waiting.append(more)


def overrun(c, stream, n, words):
    """The same, without regard to flow control."""
    c.flood(frame(DATA, 0, stream, b"x" * 16000), frame(HEADERS, END_HEADERS, stream, OK))


def many_pieces(c, stream, n, words):
    c.flood(frame(DATA, 0, stream, b"x") * 100, frame(HEADERS, END_HEADERS, stream, OK))


def empty_data(c, stream, n, words):
    c.flood(frame(DATA, 0, stream) * 100, frame(HEADERS, END_HEADERS, stream, OK))


def pings(c, stream, n, words):
    c.flood(frame(PING, 0, 0, b"12345678") * 100)


def settings(c, stream, n, words):
    c.flood(frame(SETTINGS, 0, 0, struct.pack("!HI", 4, 65535)) * 100)


def unread_pings(c, stream, n, words):
    """Without reading what they are answered with."""
    while True:
        c.send(frame(PING, 0, 0, b"12345678") * 100)


def interim(c, stream, n, words):
    """Heads of interim answers without end."""
    c.flood(frame(HEADERS, END_HEADERS, stream, literal(b":status", b"103") + literal(b"link", b"x")))


def big_head(c, stream, n, words):
    """210 kB in seven header lines."""
    block = OK + b"".join(literal(b"x-%d" % i, b"y" * 30000) for i in range(7))
    pieces = [block[i:i + 16000] for i in range(0, len(block), 16000)]
    last = len(pieces) - 1
    c.send(b"".join(frame(CONTINUATION if i else HEADERS, END_HEADERS if i == last else 0, stream, piece)
                    for i, piece in enumerate(pieces)))


def bomb(c, stream, n, words):
    """A head of 40 MB in 10 kB: one line that is referred to again and again."""
    c.send(frame(HEADERS, END_HEADERS, stream,
                 OK + literal(b"x", b"y" * 3900, indexed=True) + b"\xbe" * 10000))


def many_lines(c, stream, n, words):
    c.send(frame(HEADERS, END_HEADERS, stream, OK + literal(b"x", b"y") * 3000))


def continuation(c, stream, n, words):
    c.flood(frame(CONTINUATION, 0, stream, literal(b"x", b"y" * 100)), frame(HEADERS, 0, stream, OK))


def push(c, stream, n, words):
    """A push that the peer has forbidden."""
    c.send(frame(PUSH_PROMISE, END_HEADERS, stream, struct.pack("!I", 2) + OK))


def nonsense(c, stream, n, words):
    """A frame that claims to be longer than any may be."""
    c.send(b"\xff" * 64)


MISDEEDS = {name: value for name, value in list(globals().items())
            if callable(value) and getattr(value, "__code__", None)
            and value.__code__.co_varnames[:4] == ("c", "stream", "n", "words")}


# ---- connections

def read_old(tls, name):
    """A request of HTTP/1.1, as far as this client writes it; returns its path."""
    data = b""
    while True:
        more = tls.recv(65536)
        if not more:
            raise Closed
        data += more
        head, end, body = data.partition(b"\r\n\r\n")
        if end and len(body) >= int(re.search(rb"\nContent-Length: (\d+)", head)[1]):
            break
    path = head.split()[1].decode()
    with lock:
        n_requests[name, path] += 1
    log(name, "HTTP/1.1", head=head.decode())
    return path


def serve_old(tls, name):
    """/keep/N answers when N have come, each on its connection, and closes it
    without an answer at the next request; /extension says more and more about
    the first chunk; others get one answer."""
    path = read_old(tls, name)
    words = path.strip("/").split("/")
    if words[0] == "keep":
        while n_requests[name, path] < int(words[1]):
            time.sleep(TICK_S)
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        read_old(tls, name)
    elif words[0] == "extension":
        tls.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        while True:
            tls.sendall(b"x" * 16384)
    else:
        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def serve(plain, name, kind):
    tls = plain
    try:
        if kind == "hang":
            time.sleep(600)
        tls = (old_context if kind == "old" else context).wrap_socket(plain, server_side=True)
        if tls.selected_alpn_protocol() != "h2":
            serve_old(tls, name)
        elif kind == "garbage":
            tls.recv(65536)
            tls.sendall(b"220 mail.example.com ESMTP\r\n" * 10)
        elif kind == "silent":
            time.sleep(600)
        else:
            Connection(tls, name, kind).serve()
    except (Closed, OSError, h2.exceptions.ProtocolError):
        pass
    finally:
        tls.close()


def listen(listener, name, kind):
    while True:
        plain, _ = listener.accept()
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=serve, args=(plain, name, kind), daemon=True).start()


certificate, key, log_name, *names = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
context.set_alpn_protocols(["h2"])
old_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
old_context.load_cert_chain(certificate, key)
old_context.set_alpn_protocols(["http/1.1"])
log_file = open(log_name, "w", encoding="utf-8")
listeners = [socket.create_server(("127.0.0.1", 0), backlog=128) for _ in names]
for listener, name in zip(listeners, names):
    threading.Thread(target=listen, args=(listener, *name.split(":")), daemon=True).start()
print("listening on", *(listener.getsockname()[1] for listener in listeners), flush=True)
sys.stdin.read()
