"""What a link learns from its requests, on links of which the truth is known."""

import os
import threading
from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
from simulated_link import SimulatedLink

from blobread.transfer import link as link_module
from blobread.transfer import links
from blobread.transfer.link import Link

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture(autouse=True)
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_links", type(links._links)())


def test_a_new_link_assumes_an_object_store_nearby() -> None:
    link = Link("new")
    assert (link.ttfb, link.bandwidth, link.hole) == (0.02, 50 * MIB, MIB)
    assert (link.part_size(1 << 40), link.connections, link.small_connections) == (8 * MIB, 32, 128)
    assert (link.known, link.samples, link.in_flight) == (False, 0, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [1e6, 50e6, 2e9])
@pytest.mark.parametrize("ttfb", [0.0002, 0.01, 0.15])
def test_ttfb_and_bandwidth_are_known_within_64_mib(ttfb: float, rate: float, seed: int) -> None:
    simulated = SimulatedLink(ttfb=ttfb, rate=rate, noise=0.1, seed=seed)
    simulated.read(64 * MIB)
    assert simulated.link.ttfb == pytest.approx(ttfb, rel=0.2)
    assert simulated.link.bandwidth == pytest.approx(rate, rel=0.2)
    assert simulated.link.hole == int(
        min(max(simulated.link.ttfb * simulated.link.bandwidth, 16 * KIB), 16 * MIB)
    )


@pytest.mark.parametrize("factor", [0.1, 10])
def test_a_change_by_ten_is_followed_within_five_requests(factor: float) -> None:
    simulated = SimulatedLink(ttfb=0.02, rate=50e6)
    simulated.read(64 * MIB)
    simulated.ttfb *= factor
    simulated.rate *= factor
    for _ in range(5):
        simulated.request(2 * MIB)
    assert simulated.link.ttfb == pytest.approx(0.02 * factor)
    assert simulated.link.bandwidth == pytest.approx(50e6 * factor, rel=1e-3)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_one_odd_request_in_five_changes_nothing(factor: float) -> None:
    simulated = SimulatedLink(ttfb=0.02, rate=50e6)
    for at in range(20):
        odd = factor if at % 5 == 4 else 1
        simulated.ttfb, simulated.rate = 0.02 / odd, 50e6 * odd
        simulated.request(2 * MIB)
    assert simulated.link.ttfb == pytest.approx(0.02)
    assert simulated.link.bandwidth == pytest.approx(50e6, rel=1e-3)


def test_tiny_requests_tell_the_ttfb_and_nothing_of_the_bandwidth() -> None:
    simulated = SimulatedLink(ttfb=0.004, rate=3e6)
    for _ in range(20):
        simulated.request(16 * KIB)
    assert simulated.link.ttfb == pytest.approx(0.004)
    assert (simulated.link.known, simulated.link.bandwidth) == (False, 50 * MIB)
    assert simulated.link.connections == 32
    assert simulated.link.small_connections == 40


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ttfb", [0.0003, 0.01, 0.05])
def test_a_link_that_no_number_of_connections_fills_gets_all_of_them(
    ttfb: float, seed: int
) -> None:
    simulated = SimulatedLink(ttfb=ttfb, rate=50e6, noise=0.05, seed=seed)
    simulated.request(4 * KIB)
    counts = []
    for _ in range(12):
        simulated.read(256 * MIB)
        counts.append(simulated.link.connections)
    assert sorted(counts)[3] == 32
    assert min(counts) >= 16  # fewer are tried now and then


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rate", [50e6, 100e6])
def test_a_link_of_100_mb_per_second_in_all_comes_to_use_few_connections_and_stays_full(
    rate: float, seed: int
) -> None:
    simulated = SimulatedLink(ttfb=0.01, rate=rate, total=100e6, noise=0.05, seed=seed)
    counts = []
    for _ in range(20):
        assert simulated.read(256 * MIB) <= 1.1 * 256 * MIB / 100e6
        counts.append(simulated.link.connections)
    assert median(counts[-10:]) <= 10  # more are tried now and then


def test_a_link_that_was_read_in_order_before_uses_few_connections_at_once() -> None:
    simulated = SimulatedLink(ttfb=0.01, rate=50e6, total=100e6, noise=0.05)
    for connections in (1, 2, 4):
        simulated.read(16 * MIB, part=MIB, connections=connections)
    simulated.read(64 * MIB)
    assert simulated.link.connections <= 5


@pytest.mark.parametrize(("rate", "total"), [(2e9, 2e9), (2e9, 2.6e9), (0.8e9, 1.5e9)])
def test_loopback_is_left_to_one_to_three_connections_from_the_start(
    rate: float, total: float
) -> None:
    simulated = SimulatedLink(ttfb=0.0002, rate=rate, total=total, noise=0.05)
    simulated.request(4 * KIB)
    assert simulated.link.connections == 2
    for _ in range(8):
        simulated.read(256 * MIB)
        assert simulated.link.connections <= 3


def test_a_fast_machine_without_a_limit_gets_more_connections_step_by_step() -> None:
    simulated = SimulatedLink(ttfb=0.0002, rate=1e9, noise=0.05)
    simulated.request(4 * KIB)
    for _ in range(20):
        simulated.read(256 * MIB)
    assert simulated.link.connections >= 16


def test_a_link_that_is_slow_of_a_sudden_is_not_taken_for_one_that_is_full() -> None:
    simulated = SimulatedLink(ttfb=0.01, rate=50e6, noise=0.05)
    for connections in (1, 2, 4, 32):
        simulated.read(64 * MIB, part=MIB, connections=connections)
    simulated.rate = 5e6
    for _ in range(8):
        simulated.read(64 * MIB)
    assert simulated.link.connections >= 20


def test_a_limit_that_falls_or_rises_is_found_again() -> None:
    simulated = SimulatedLink(ttfb=0.01, rate=50e6, total=100e6, noise=0.05)
    for total, fewest, most in ((100e6, 1, 12), (1e15, 32, 32), (100e6, 1, 12)):
        simulated.total = total
        counts = []
        for _ in range(32):
            simulated.read(128 * MIB)
            counts.append(simulated.link.connections)
        assert fewest <= median(counts[-16:]) <= most  # others are tried now and then


@pytest.mark.parametrize(
    ("ttfb", "rate", "wanted", "expected"),
    [
        (0.01, 50e6, 1 << 40, 4.5e6),  # 9 * TTFB * bandwidth
        (0.0001, 50e6, 1 << 40, MIB),
        (0.15, 500e6, 1 << 40, 16 * MIB),
        (0.01, 50e6, 96 * MIB, 3 * MIB),  # what 32 connections share
        (0.01, 50e6, 10, MIB),
    ],
)
def test_a_part_is_nine_times_the_gap_or_what_the_connections_share(
    ttfb: float, rate: float, wanted: int, expected: float
) -> None:
    simulated = SimulatedLink(ttfb=ttfb, rate=rate)
    simulated.request(2 * MIB)
    size = simulated.link.part_size(wanted)
    assert expected <= size + 1 and size < expected + 64 * KIB
    assert size % (64 * KIB) == 0


def test_a_request_without_an_answer_counts_only_as_over() -> None:
    link = Link("dead")
    link.started()
    assert link.in_flight == 1
    link.finished(None, 0, 30.0)
    assert (link.in_flight, link.samples, link.ttfb) == (0, 0, 0.02)


def test_requests_that_never_finish_are_forgotten_in_the_end() -> None:
    link = Link("careless")
    for _ in range(5000):
        link.started()
    assert link.in_flight <= 1024


def test_a_stream_that_waited_for_its_reader_says_nothing_of_the_connections() -> None:
    simulated = SimulatedLink(ttfb=0.01, rate=50e6)
    for _ in range(10):
        simulated.link.started()
        simulated.now += 100.0
        simulated.link.finished(0.01, 2 * MIB, 0.04)
    assert simulated.link.bandwidth == pytest.approx(2 * MIB / 0.04)
    assert simulated.link.connections == 32
    assert simulated.link._sharing._levels == {}


def test_many_threads_note_their_requests_and_none_is_lost() -> None:
    link = Link("shared")
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        for _ in range(500):
            link.started()
            assert link.connections >= 1 and link.part_size(1 << 30) >= MIB
            link.finished(0.01, MIB, 0.02)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (link.samples, link.in_flight) == (4000, 0)


def test_the_readers_of_one_origin_share_its_link_and_no_other() -> None:
    assert links.of("http://a:1") is links.of("http://a:1")
    assert links.of("http://a:1") is not links.of("http://a:2")


def test_a_thousand_links_are_kept_and_the_one_asked_for_longest_ago_goes() -> None:
    first, second = links.of("0"), links.of("1")
    for at in range(2, 1024):
        links.of(str(at))
    links.of("0")
    links.of("1024")
    assert links.of("0") is first
    assert links.of("1") is not second
    assert len(links._links) == 1024


def test_a_description_tells_what_is_known_and_none_where_nothing_is() -> None:
    unknown = links.describe("http://a:1")
    assert unknown == ("http://a:1", None, None, 32, 8 * MIB, MIB, 0)
    assert not links._links  # to look at a link does not make one
    link = links.of("http://a:1")
    link.started()
    link.finished(0.01, 0, 0.0)
    assert links.describe("http://a:1")[:3] == ("http://a:1", 0.01, None)
    link.started()
    link.finished(0.01, MIB, 0.01)
    known = links.describe("http://a:1")
    assert (known.ttfb, known.bandwidth, known.samples) == (0.01, MIB / 0.01, 2)
    assert (known.hole, known.part_size) == (link.hole, link.part_size(1 << 40))


def in_child(check: Callable[[], Any]) -> bool:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_knows_what_was_learnt_and_has_no_request_in_flight() -> None:
    link = links.of("http://a:1")
    link.started()
    link.finished(0.003, 0, 0.0)
    link.started()

    def check() -> bool:
        link.started()
        link.finished(0.003, 0, 0.0)
        mine = links.of("http://a:1")
        return (mine.ttfb, mine.samples, mine.in_flight) == (0.003, 2, 0)

    with link_module._lock, links._lock:  # another thread of the parent might hold them
        assert in_child(check)
    assert link.in_flight == 1


def test_near_link_is_fast_until_one_connection_alone_has_shown_that_it_is_not() -> None:
    now = [0.0]
    link = Link("near", clock=lambda: now[0])
    assert not link.is_fast

    def request(count: int, seconds: float) -> None:
        link.started()
        now[0] += 0.0001 + seconds
        link.finished(0.0001, count, seconds)

    request(0, 0.0)
    assert link.is_fast
    for _ in range(9):
        request(MIB, MIB / 50e6)
    assert not link.is_fast
    for _ in range(9):
        request(MIB, MIB / 2e9)
    assert link.is_fast
