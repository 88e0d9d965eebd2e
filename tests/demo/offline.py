"""`python offline.py EXPORT`: the demo page of a model where there is no network, as JSON.

Run it in a network namespace of its own (`unshare -rn`), whose loopback device it switches on.
"""

import fcntl
import json
import re
import signal
import socket
import struct
import subprocess
import sys
import urllib.request

GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1  # of netdevice(7)


def switch_loopback_on() -> None:
    with socket.socket() as any_socket:
        asked = struct.pack("16sH14s", b"lo", 0, b"")
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, GET_FLAGS, asked))
        fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sH14s", b"lo", flags | UP, b""))


def ask(address: str, question: dict | None = None):
    data = None if question is None else json.dumps(question).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer)


def main(export: str) -> None:
    switch_loopback_on()
    words = ["demo", f"--checkpoint={export}", "--platform=cpu", "--port=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "videobert_jax", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        address = re.findall(r"http://127\.0\.0\.1:\d+/", line)[0]
        question = {"text": "crack the egg into the bowl"}
        found = {
            "devices": [name for _, name in socket.if_nameindex()],
            "about": ask(f"{address}about"),
            "hits": ask(f"{address}search", question)["hits"],
        }
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
    print(json.dumps({**found, "code": code}))


if __name__ == "__main__":
    main(sys.argv[1])
