"""Tries, from inside a sandbox, what a unit must not be able to do; leaves what happened as its result.

Every value is [kept, detail]: kept is true if the attempt failed as it must.
"""
import json
import os
import socket
import subprocess
import sys

given = json.loads(os.environ["PROBE"])
results = {}


def must_fail(name, attempt):
    try:
        detail = attempt()
    except Exception as error:
        results[name] = [True, str(error)[:300]]
    else:
        results[name] = [False, str(detail or "it worked")[:300]]


def read_key():
    with open(given["key"]) as file:
        return "read %d characters" % len(file.read())


def write_usr():
    path = "/usr/trends-earth-probe"
    with open(path, "w"):
        pass
    os.unlink(path)
    return path + " was written"


def connect(host, port):
    def attempt():
        socket.create_connection((host, port), 3).close()
        return "connected"

    return attempt


def abstract():
    with socket.socket(socket.AF_UNIX) as own:
        own.connect("\0" + given["abstract"])
    return "connected"


def path_socket():
    # From its folder, because an address holds 108 bytes.
    before = os.getcwd()
    os.chdir(os.path.dirname(given["path"]))
    try:
        with socket.socket(socket.AF_UNIX) as own:
            own.connect(os.path.basename(given["path"]))
    finally:
        os.chdir(before)
    return "connected"


def netlink():
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()
    return "opened"


def send_datagram():
    # Whether it arrives, only the other side can say.
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"probe", ("127.0.0.1", given["udp"]))
    except OSError:
        pass


def ask_gate():
    # A gate that is not there at all refuses nobody: only its own word counts.
    host, port = os.environ["HTTPS_PROXY"].split("//")[1].split(":")
    try:
        with socket.create_connection((host, int(port)), 5) as own:
            own.sendall(b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n")
            answer = own.makefile().read()
    except OSError as error:
        return False, str(error)
    return "the address is not public" in answer, answer.split("\n\n")[-1] or "no answer"


def limit_watcher():
    import resource

    resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE, (1024, 1024))
    return "allowed"


def disk():
    import time

    for number in range(64):
        with open("%d" % number, "wb") as file:
            file.write(b"x" * (1 << 19))
    time.sleep(10)


def namespace():
    try:
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(0x10000000):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    except ImportError:
        done = subprocess.run(["unshare", "-U", "true"], stderr=subprocess.PIPE)
        if done.returncode:
            raise OSError(done.stderr.decode(errors="replace").strip())
    return "made"


def signal_server():
    os.kill(given["pid"], 0)
    with open("/proc/%d/cmdline" % given["pid"]) as file:
        if not file.read().startswith(given["program"]):
            raise OSError("the process of that number is another one")
    return "allowed"


def fork():
    children = []
    try:
        while len(children) < given["processes"] * 2 + 64:
            pid = os.fork()
            if not pid:
                import time

                time.sleep(30)
                os._exit(0)
            children.append(pid)
    except OSError as error:
        return True, "%d children, then: %s" % (len(children), error)
    finally:
        for pid in children:
            os.kill(pid, 9)
    return False, "%d children" % len(children)


def memory():
    held = []
    while len(held) < given["memory"] * 4 >> 20:
        held.append(bytearray(b"x" * (1 << 20)))
    import time

    time.sleep(2)
    print("held %d MiB" % len(held))


if sys.argv[1] == "memory":
    memory()
elif sys.argv[1] == "disk":
    disk()
else:
    must_fail("key file", read_key)
    must_fail("write /usr", write_usr)
    must_fail("loopback", connect("127.0.0.1", given["port"]))
    must_fail("metadata address", connect("169.254.169.254", 80))
    must_fail("abstract socket", abstract)
    must_fail("path socket", path_socket)
    must_fail("ipv6", connect("::1", given["port6"]))
    must_fail("netlink", netlink)
    send_datagram()
    results["gate"] = ask_gate()
    must_fail("user namespace", namespace)
    must_fail("signal the server", signal_server)
    must_fail("limits of the watcher", limit_watcher)
    results["fork"] = fork()
    with open(os.environ["PROBE_RESULT"], "w") as file:
        json.dump(results, file)
