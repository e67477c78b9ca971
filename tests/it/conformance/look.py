"""What a script finds around it, and how far it comes."""
import os
import socket


def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=2).close()
        return True
    except OSError:
        return False


def gate(request):
    """The first line of what the gate answers."""
    host, port = os.environ["HTTPS_PROXY"].split("//")[1].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as gate:
        gate.sendall((request + "\r\n\r\n").encode())
        return gate.recv(200).decode().split("\r\n")[0]


def writes(path):
    try:
        with open(path, "w") as file:
            file.write("x")
        return True
    except OSError:
        return False


def look(params):
    capabilities = [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")]
    privileges = [line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")]
    network = socket.gethostbyname(socket.gethostname()).rsplit(".", 1)[0]
    return {
        "env": dict(os.environ),
        "capabilities": int(capabilities[0], 16),
        "privileges": privileges,
        "writes": {path: writes(path) for path in ("/etc/x", "/usr/x", "/script/x", "/work/x", "/tmp/x")},
        "reaches": {
            f"{host}:{port}": connects(host, port)
            for host, port in [*params["hosts"], (network + ".1", params["hosts"][0][1]), ("169.254.169.254", 80)]
        },
        "gate": {
            "private": gate("CONNECT 10.0.0.1:443 HTTP/1.1"),
            "metadata": gate("CONNECT 169.254.169.254:443 HTTP/1.1"),
            "loopback": gate("CONNECT localhost:443 HTTP/1.1"),
            "public": gate("CONNECT example.org:443 HTTP/1.1"),
            "plain": gate("GET http://example.org/ HTTP/1.1"),
            "api": gate(f"GET {os.environ['API_URL']}/api-health HTTP/1.1"),
        },
    }
