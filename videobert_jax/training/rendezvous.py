"""How processes meet before jax does: who did not come is said, where jax's own client ends the
process in C++.

Process 0 listens at the port that jax's coordinator will have. Each other process says who it is
and of how many, and waits; when all have come, or time is up, it hears "go", or what is wrong.
"""

import contextlib
import socket
import time
from collections.abc import Iterator

_RETRY_SECONDS = 0.5  # between two tries to reach process 0
_GREETING_SECONDS = 5.0  # for a line that takes no time to say
_GO = "go"
_LONGEST = 2**12  # bytes of a line


class ProcessError(ValueError):
    """Processes that do not find each other, or differ where they must not."""


def receive(port: int, num_processes: int, deadline: float) -> None:
    """Process 0's part: returns once all others have come, and the port is free again.

    deadline: by `time.monotonic`. Raises ProcessError where the port is taken, where some process
    does not come, where one counts otherwise or two are the same.
    """
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(_listening(port, num_processes))
        came: dict[int, socket.socket] = {}
        problem = ""
        while len(came) < num_processes - 1 and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection = stack.enter_context(server.accept()[0])
            except TimeoutError:
                missing = sorted(set(range(1, num_processes)) - came.keys())
                problem = (
                    f"processes {', '.join(map(str, missing))} of {num_processes} did not come to "
                    f"port {port} of process 0 in time. Start every process from 0 to "
                    f"{num_processes - 1}, with the same --coordinator and --num_processes, and "
                    "leave the port open between the hosts."
                )
                break
            problem = _greet(connection, num_processes, came)
        for connection in came.values():
            _answer(connection, problem or _GO)
        if problem:
            raise ProcessError(problem)


def announce(host: str, port: int, process_id: int, num_processes: int, deadline: float) -> None:
    """The part of any other process: returns once all have come.

    Raises ProcessError where process 0 is out of reach, or says what is wrong.
    """
    begun = time.monotonic()
    while True:
        try:
            left = max(deadline - time.monotonic(), 0.01)
            with socket.create_connection(
                (host, port), timeout=min(left, _GREETING_SECONDS)
            ) as own:
                own.sendall(f"{process_id} {num_processes}\n".encode())
                own.settimeout(max(deadline - time.monotonic(), 0.01) + _GREETING_SECONDS)
                answer = _line_of(own)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"process {process_id} cannot reach the coordinator {host}:{port} within "
                    f"{time.monotonic() - begun:.0f} s ({error.strerror or error}). It is process "
                    "0, and must run there: look whether it has started, whether this host knows "
                    f"the name, and whether a firewall leaves TCP port {port} open between the "
                    "hosts."
                ) from error
        time.sleep(_RETRY_SECONDS)
    if answer != _GO:
        said = answer or "something else than process 0 of this run listens there"
        raise ProcessError(f"process {process_id} at {host}:{port}: {said}")


@contextlib.contextmanager
def _listening(port: int, backlog: int) -> Iterator[socket.socket]:
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        server = socket.create_server(
            ("", port), family=family, backlog=backlog, dualstack_ipv6=dual
        )
    except OSError as error:
        raise ProcessError(
            f"process 0 cannot serve at port {port} ({error.strerror}); say another port in "
            "--coordinator, or end the program that has it."
        ) from error
    with server:
        yield server


def _greet(connection: socket.socket, num_processes: int, came: dict[int, socket.socket]) -> str:
    """Adds who has come to `came`; gives what is wrong with it, or nothing. Who says no number is
    none of ours, such as a probe of the port."""
    connection.settimeout(_GREETING_SECONDS)
    try:
        number, _, count = _line_of(connection).partition(" ")
    except OSError:
        return ""
    if not (number.isdigit() and count.isdigit()):
        return ""
    problem = ""
    if int(count) != num_processes:
        problem = (
            f"process {number} was started with --num_processes={count}, process 0 with "
            f"--num_processes={num_processes}; say the same to all."
        )
    elif int(number) in came or not 0 < int(number) < num_processes:
        problem = (
            f"process {number} came twice; give each process its own --process_id, from 0 to "
            f"{num_processes - 1}."
        )
    if problem:
        _answer(connection, problem)
        return problem
    came[int(number)] = connection
    return ""


def _answer(connection: socket.socket, text: str) -> None:
    """Says a line, and waits for the other to close, so that the port is free at once."""
    with contextlib.suppress(OSError):
        connection.settimeout(_GREETING_SECONDS)
        connection.sendall(f"{text}\n".encode())
        connection.recv(1)


def _line_of(connection: socket.socket) -> str:
    """What the other says up to the end of a line, or to its end."""
    said = b""
    while not said.endswith(b"\n") and len(said) < _LONGEST:
        part = connection.recv(_LONGEST)
        if not part:
            break
        said += part
    return said.decode("utf-8", "replace").strip()
