"""Processes that do not find each other, or are not of one mind, say so and take no step."""

import socket
import threading
import time

import pytest

from videobert_jax import configuration
from videobert_jax.training import processes, rendezvous


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_coordinator_out_of_reach_is_named_with_the_remedy():
    port = free_port()
    with pytest.raises(processes.ProcessError) as caught:
        processes.join(f"127.0.0.1:{port}", 4, 3, seconds=0.1)
    for part in (f"127.0.0.1:{port}", "process 3", "refused", "process 0", f"TCP port {port}"):
        assert part in str(caught.value)


def test_a_port_that_is_taken_is_an_error():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(processes.ProcessError, match=f"cannot serve at port {port} .*in use"):
            processes.join(f"127.0.0.1:{port}", 2, 0, seconds=0.1)


@pytest.mark.parametrize("address", ["127.0.0.1", "host:", ":80", "host:0", "host:port"])
def test_addresses_are_hosts_with_ports(address: str):
    with pytest.raises(processes.ProcessError, match="expected HOST:PORT"):
        processes.join(address, 2, 1, seconds=0.1)


def test_numbers_of_processes_are_below_their_count():
    with pytest.raises(processes.ProcessError, match="process_id=2.*expected 0 to 1"):
        processes.join("127.0.0.1:80", 2, 2, seconds=0.1)


def test_differences_are_named_with_who_has_what():
    values = [{"seed": 0, "name": "a"}, {"seed": 1, "name": "a", "extra": [2]}, {"seed": 0}]
    assert processes.differences(values) == [
        "extra: nothing in processes 0, 2; [2] in process 1",
        'name: "a" in processes 0, 1; nothing in process 2',
        "seed: 0 in processes 0, 2; 1 in process 1",
    ]
    assert processes.differences([{"seed": 0}, {"seed": 0}]) == []


def test_paths_may_be_each_processs_own_but_nothing_else():
    config = configuration.to_json(configuration.load_file("configs/tiny.py"))
    shared = processes.shared_settings(config)
    assert "data.path" not in shared and "data.sources.main.path" not in shared
    assert shared["seed"] == 0 and shared["mesh.data"] == -1
    assert shared["data.sources.main.split"] == "train"


def meeting(*processes_given: tuple[int, int]) -> list[str]:
    """What each process, given as (number, of how many), ends with; "met" where all is well. The
    first one is process 0."""
    port, deadline = free_port(), time.monotonic() + 1.5
    ended = ["met"] * len(processes_given)

    def run(place: int) -> None:
        number, count = processes_given[place]
        try:
            if place == 0:
                rendezvous.receive(port, count, deadline)
            else:
                rendezvous.announce("127.0.0.1", port, number, count, deadline)
        except rendezvous.ProcessError as error:
            ended[place] = str(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(processes_given))]
    for thread in reversed(threads):  # the others are there first, and wait
        thread.start()
    for thread in threads:
        thread.join()
    with socket.create_server(("", port)):  # free again, for jax
        return ended


def test_processes_that_all_come_meet():
    assert meeting((0, 3), (2, 3), (1, 3)) == ["met"] * 3


def test_who_did_not_come_is_named_to_those_who_did():
    ended = meeting((0, 4), (2, 4))
    assert all("processes 1, 3 of 4 did not come" in said for said in ended)


def test_other_counts_and_doubles_are_named_to_all():
    ended = meeting((0, 3), (1, 2))
    assert all("--num_processes=2, process 0 with --num_processes=3" in said for said in ended)
    ended = meeting((0, 3), (1, 3), (1, 3))
    assert all("process 1 came twice" in said for said in ended)
