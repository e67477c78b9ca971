# What a process sees of the machine: read, written, told. It is handed the names of what it looks for backwards.
import json, os, sys


def look(given):
    wanted = [word[::-1].encode() for word in given["backwards"]]
    hits, seen, writable = [], [], []

    def search(path):
        try:
            with open(path, "rb") as file:
                data = file.read(4 << 20)
        except OSError:
            return
        seen.append(path)
        hits.extend([path, word.decode()] for word in wanted if word in data)

    # What is known to be secret, by its name on the host.
    for path in given["paths"]:
        search(path)
        try:
            seen.extend(os.path.join(path, name) for name in os.listdir(path))
        except OSError:
            pass
    told = list(seen)
    # What can be found by walking; the system itself and the interpreter are no secret.
    skipped = {"/usr", "/proc", "/sys", "/dev", os.path.realpath(sys.base_prefix)}
    for folder, names, files in os.walk("/"):
        names[:] = [name for name in names if os.path.join(folder, name) not in skipped]
        for name in files:
            search(os.path.join(folder, name))
        probe = os.path.join(folder, "written-by-a-script")
        try:
            with open(probe, "w"):
                writable.append(folder)
            os.unlink(probe)
        except OSError:
            pass
    for folder in ("/usr", "/usr/bin", "/proc", "/proc/sys", "/proc/sys/kernel", "/sys", "/dev", sys.base_prefix):
        try:
            open(os.path.join(folder, "written-by-a-script"), "w").close()
            writable.append(folder)
        except OSError:
            pass
    for name in os.listdir("/proc"):
        if name.isdigit():
            for file in ("environ", "cmdline", "mountinfo"):
                search(f"/proc/{name}/{file}")
    for word in wanted:
        if any(word in (name + "=" + value).encode() for name, value in os.environ.items()):
            hits.append(["the environment", word.decode()])
    commands = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with open(f"/proc/{name}/cmdline") as file:
                commands[name] = file.read().replace("\0", " ")
    return {"hits": hits, "told": told, "writable": sorted(writable), "environment": sorted(os.environ), "commands": commands}
