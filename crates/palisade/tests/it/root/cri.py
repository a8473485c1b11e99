#!/usr/bin/env python3
"""Speaks containerd's Kubernetes interface (CRI, runtime.v1), as far as a pod with containers needs it.

usage: cri.py SOCKET version
       cri.py SOCKET pod HANDLER NAME CGROUP [host | privileged]...
                                                         starts its sandbox, prints its id
       cri.py SOCKET container POD NAME CGROUP IMAGE [cap=NAME | privileged | host]... -- COMMAND...
                                                         creates and starts it, prints its id
       cri.py SOCKET exec CONTAINER COMMAND...           prints what it printed, ends with its code
       cri.py SOCKET remove POD

Messages are written and read by field numbers (k8s.io/cri-api, pkg/apis/runtime/v1/api.proto).
"""

import sys

import grpc


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(*fields):
    """Fields as (number, value): a whole number, a text, or a message."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
            continue
        value = value.encode() if isinstance(value, str) else value
        out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def fields_of(data):
    """The fields of a message: whole numbers and bytes by their number, the last of each."""
    def number_at(at):
        value = shift = 0
        while True:
            byte = data[at]
            value |= (byte & 127) << shift
            at, shift = at + 1, shift + 7
            if byte < 128:
                return value, at

    found, at = {}, 0
    while at < len(data):
        key, at = number_at(at)
        if key & 7 == 0:
            found[key >> 3], at = number_at(at)
        elif key & 7 == 2:
            length, at = number_at(at)
            found[key >> 3], at = data[at:at + length], at + length
        else:
            sys.exit(f"error: field {key >> 3} is of a kind that is not read")
    return found


class Runtime:
    def __init__(self, socket):
        self.channel = grpc.insecure_channel(f"unix:{socket}")

    def call(self, method, *fields):
        call = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        try:
            return fields_of(call(message(*fields), timeout=60))
        except grpc.RpcError as error:
            sys.exit(f"error: {method}: {error.details()}")


HOST_NETWORK = message((1, 2))


def sandbox(name, cgroup, asked):
    metadata = message((1, name), (2, f"uid-{name}"), (3, "default"))
    security, config = [], [(1, metadata)]
    if "host" in asked:
        security.append((1, HOST_NETWORK))
    else:
        # On the host's network the name is the host's as well.
        config.append((2, name))
    if "privileged" in asked:
        security.append((6, 1))
    config.append((8, message((1, cgroup), (2, message(*security)))))
    return message(*config)


def start(runtime, pod, name, cgroup, image, rest):
    at = rest.index("--")
    asked, command = rest[:at], rest[at + 1:]
    security = [(1, message(*[(1, word[4:]) for word in asked if word.startswith("cap=")]))]
    if "privileged" in asked:
        security.append((2, 1))
    if "host" in asked:
        security.append((3, HOST_NETWORK))
    # CRI-O asks what the user called the image.
    config = [(1, message((1, name))), (2, message((1, image), (18, image)))]
    config += [(3, word) for word in command]
    config.append((15, message((2, message(*security)))))
    pod_config = sandbox(pod[:8], cgroup, asked)
    created = runtime.call("CreateContainer", (1, pod), (2, message(*config)), (3, pod_config))
    container = created[1].decode()
    runtime.call("StartContainer", (1, container))
    print(container)


def main(socket, what, *rest):
    runtime = Runtime(socket)
    if what == "version":
        print(runtime.call("Version")[3].decode())
    elif what == "pod":
        handler, name, cgroup, *more = rest
        made = runtime.call("RunPodSandbox", (1, sandbox(name, cgroup, more)), (2, handler))
        print(made[1].decode())
    elif what == "container":
        start(runtime, *rest[:4], list(rest[4:]))
    elif what == "exec":
        done = runtime.call("ExecSync", (1, rest[0]), *[(2, word) for word in rest[1:]], (3, 30))
        sys.stdout.write(done.get(1, b"").decode())
        sys.stderr.write(done.get(2, b"").decode())
        sys.exit(done.get(3, 0))
    elif what == "remove":
        runtime.call("StopPodSandbox", (1, rest[0]))
        runtime.call("RemovePodSandbox", (1, rest[0]))
    else:
        sys.exit(__doc__)


main(*sys.argv[1:])
