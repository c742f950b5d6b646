"""The core verbs through docker-py: argument 1 is the isolation.

Prints `done` when all that it asserts has held.
"""

import socket
import sys

import docker

isolation = sys.argv[1]
client = docker.from_env(version="auto")
assert client.ping()
assert client.version()["ApiVersion"] == "1.50"


def run(command, **options):
    return client.containers.run("busybox", command, isolation=isolation, **options)


# To the end, with the output as the answer.
assert run(["echo", "hello"], remove=True) == b"hello\n"
both = run(["sh", "-c", "echo out; echo err >&2"], remove=True, stdout=True, stderr=True)
assert sorted(both.splitlines()) == [b"err", b"out"], both

# The command's failure, with its code and words.
try:
    run(["sh", "-c", "echo why >&2; exit 3"], remove=True)
    raise AssertionError("a failure was taken for success")
except docker.errors.ContainerError as error:
    assert error.exit_status == 3 and b"why" in error.stderr, error
try:
    run(["no-such-command"], name="failed")
    raise AssertionError("a failure was taken for success")
except docker.errors.APIError as error:
    assert error.response.status_code == 400, error.response.status_code
    assert "executable file not found in $PATH" in error.explanation, error.explanation
client.containers.get("failed").remove()
try:
    client.containers.get("nobody")
    raise AssertionError("nobody was found")
except docker.errors.NotFound as error:
    assert error.explanation == "No such container: nobody", error.explanation

# In the background.
script = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"
web = run(["sh", "-c", script], name="web", detach=True, labels={"tier": "wall"}, environment={"A": "b"})
assert web.status in ("created", "running") and len(web.id) == 64
logs = web.logs(stream=True, follow=True)
assert next(logs) == b"ready\n"
web.reload()
assert web.status == "running" and web.labels == {"tier": "wall"}
assert web.attrs["HostConfig"]["Isolation"] == isolation
assert [c.name for c in client.containers.list(filters={"label": "tier=wall"})] == ["web"]
assert any("sleep" in " ".join(row) for row in web.top()["Processes"])
try:
    client.containers.create("busybox", name="web", isolation=isolation)
    raise AssertionError("a name was given twice")
except docker.errors.APIError as error:
    assert error.response.status_code == 409, error

# Exec: output, code, both streams apart, input over the connection.
result = web.exec_run(["sh", "-c", "echo $A; exit 4"])
assert (result.exit_code, result.output) == (4, b"b\n"), result
out, err = web.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True).output
assert (out, err) == (b"out\n", b"err\n"), (out, err)
made = client.api.exec_create(web.id, ["cat"], stdin=True)
connection = client.api.exec_start(made["Id"], socket=True)
connection._sock.sendall(b"through\n")
connection._sock.shutdown(socket.SHUT_WR)
assert connection.read(100).endswith(b"through\n")
connection.close()

# Attach, and the end.
events = client.events(decode=True, filters={"container": web.id, "event": "die"})
web.rename("renamed")
web.stop(timeout=20)
die = next(events)
assert (die["Action"], die["Actor"]["Attributes"]["exitCode"]) == ("die", "9"), die
events.close()
assert web.wait()["StatusCode"] == 9
assert web.logs() == b"ready\n"
web.start()
web.kill()
assert web.wait()["StatusCode"] == 137
web.remove()
assert client.containers.list(all=True) == []
print("done")
