# Tries to get out by every way it is given; `{}` means that none led anywhere.
import json, os, socket


def attempt(name, act, reached):
    try:
        reached[name] = repr(act())
    except OSError:
        pass
    except Exception as error:
        reached[name] = "the attempt itself failed: %r" % error


def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as link:
        link.settimeout(3)
        link.connect(address)
        return "connected"


def send(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(1)
        link.sendto(b"from inside", address)
        return link.recv(100)


def ask(gate, head):
    with socket.socket() as link:
        link.settimeout(20)
        link.connect(gate)
        link.sendall((head + "\r\nHost: x\r\n\r\n").encode())
        answer = link.recv(4096).split(b"\r\n")[0].decode()
        status = int(answer.split()[1])
        if status < 400:
            return answer
        raise OSError(answer)


def run(params, logger):
    reached = {}
    for host, port in params["tcp"]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        attempt("tcp %s %s" % (host, port), lambda: connect(family, (host, port)), reached)
    for host, port in params["udp"]:
        attempt("udp %s %s" % (host, port), lambda: send((host, port)), reached)
    attempt("abstract socket", lambda: connect(socket.AF_UNIX, "\0" + params["abstract"]), reached)
    for path in params["paths"]:
        attempt("socket " + path, lambda: connect(socket.AF_UNIX, path), reached)
    for family in ("AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_ALG"):
        attempt(family, lambda: socket.socket(getattr(socket, family), socket.SOCK_RAW), reached)
    attempt("raw", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), reached)
    attempt("a name", lambda: socket.getaddrinfo("example.org", 443), reached)
    proxy = os.environ.get("HTTPS_PROXY")
    if proxy:
        host, port = proxy.rsplit("/", 1)[-1].split(":")
        for head in params["heads"]:
            attempt("gate: " + head, lambda: ask((host, int(port)), head), reached)
    return {"reached": reached, "gate": bool(proxy)}
