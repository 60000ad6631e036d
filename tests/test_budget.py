"""The budget: how much is read ahead into, by whom, and what becomes of what is given back."""

import gc
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from forked import in_child, needs_fork
from together import together

import blobread
from blobread.transfer import allowance, machine
from blobread.transfer._block import Block
from blobread.transfer.budget import BUDGET, LEAST, Budget, memory_budget, set_memory_budget
from blobread.transfer.machine import memory_of_groups, memory_of_machine

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
UNLIMITED_V1 = 9223372036854771712  # what the kernel writes for no limit


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def taken(budget: Budget, size: int, *, least: bool = False) -> Block:
    block = budget.take(size, least=least)
    assert block is not None
    return block


def write(block: Block, value: int) -> None:
    with block.view(0, block.size, readonly=False) as view:
        view[:] = bytes([value]) * block.size


def is_all(view: memoryview, value: int) -> bool:
    return bytes(view) == bytes([value]) * len(view)


# ---- take and give -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 16 * KIB, 16 * KIB + 1, 100_000, 5 * MIB, 16 * MIB, 17 * MIB])
def test_block_has_the_size_asked_for_and_counts_at_most_a_quarter_more(size: int) -> None:
    budget = Budget(64 * MIB)
    block = taken(budget, size)
    assert block.size == size
    assert size <= budget.used <= max(16 * KIB, size * 5 // 4)
    budget.give(block)
    assert budget.used == 0


def test_nothing_is_given_beyond_the_limit_and_more_is_when_some_came_back() -> None:
    budget = Budget(4 * MIB)
    blocks = [taken(budget, MIB) for _ in range(4)]
    assert budget.take(MIB) is None
    assert budget.take(1) is None
    budget.give(blocks.pop())
    assert taken(budget, MIB).size == MIB


def test_a_quarter_is_left_to_those_who_hold_nothing() -> None:
    budget = Budget(4 * MIB)
    blocks = [taken(budget, MIB)]
    while (block := budget.take(MIB, holding=len(blocks) * MIB)) is not None:
        blocks.append(block)
    assert budget.used == 3 * MIB
    blocks.append(taken(budget, MIB))
    assert budget.used == budget.limit


def test_memory_that_waits_is_no_way_around_the_quarter() -> None:
    budget = Budget(4 * MIB)
    blocks = [taken(budget, MIB) for _ in range(4)]
    budget.give(blocks.pop())
    assert budget.free == MIB
    assert budget.take(MIB, holding=MIB) is None
    assert budget.free == MIB, "it is kept for a newcomer"
    assert budget.take(MIB) is not None


def test_a_reader_gets_its_least_when_there_is_nothing_left_and_it_is_counted() -> None:
    budget = Budget(MIB)
    blocks = [taken(budget, MIB)]
    assert budget.take(LEAST) is None
    blocks.append(taken(budget, LEAST, least=True))
    assert budget.used == MIB + LEAST
    for block in blocks:
        budget.give(block)
    assert budget.used == 0


@pytest.mark.parametrize(("size", "least"), [(0, False), (-1, False), (0, True), (LEAST + 1, True)])
def test_size_that_no_block_has_is_a_value_error(size: int, least: bool) -> None:
    budget = Budget(MIB)
    with pytest.raises(ValueError, match="no size of a block"):
        budget.take(size, least=least)
    assert (budget.used, budget.free) == (0, 0)


def test_memory_that_the_system_does_not_have_is_none() -> None:
    budget = Budget(sys.maxsize)
    assert budget.take(sys.maxsize // 2) is None
    assert budget.used == 0


def test_block_that_is_given_twice_is_a_value_error() -> None:
    budget = Budget(MIB)
    for view in (False, True):
        block = taken(budget, 1000)
        held = block.view(0, 10) if view else None
        budget.give(block)
        with pytest.raises(ValueError, match="given back before"):
            budget.give(block)
        del held


def test_block_that_is_lost_without_being_given_back_no_longer_counts() -> None:
    budget = Budget(MIB)
    for _ in range(10):
        assert budget.take(MIB) is not None
    assert (budget.used, budget.free) == (0, 0)


def test_block_of_another_budget_is_not_kept() -> None:
    budget, other = Budget(MIB), Budget(MIB)
    block = taken(other, 1000)
    budget.give(block)
    assert (budget.used, budget.free) == (0, 0)
    del block
    assert (other.used, other.free) == (0, 0)


# ---- reuse ---------------------------------------------------------------------------------------


def test_memory_that_came_back_is_used_again_last_first() -> None:
    budget = Budget(64 * MIB)
    blocks = [taken(budget, MIB - i) for i in range(3)]
    for value, block in enumerate(blocks):
        write(block, value)
        budget.give(block)
    assert (budget.used, budget.free) == (0, 3 * MIB)
    for value in (2, 1, 0):
        block = taken(budget, 1000_000)
        assert is_all(block.view(0, 1000_000), value)
        blocks.append(block)
    assert (budget.used, budget.free) == (3 * MIB, 0)


@pytest.mark.parametrize("size", [20 * KIB, 2 * MIB])
def test_memory_is_no_other_blocks_while_a_view_is_alive_and_counts_meanwhile(size: int) -> None:
    budget = Budget(64 * MIB)
    block = taken(budget, size)
    write(block, 1)
    view = block.view(size // 2, size)
    budget.give(block)
    assert budget.used == size
    other = taken(budget, size)
    write(other, 2)
    assert is_all(view, 1)
    view.release()
    again = taken(budget, size)
    assert is_all(again.view(0, size), 1), "it is used again as soon as nobody sees it"
    assert (budget.used, budget.free) == (2 * size, 0)


def test_many_views_that_outlive_their_blocks_are_counted_until_they_end() -> None:
    budget = Budget(64 * MIB)
    views = []
    for value in range(100):
        block = taken(budget, 16 * KIB)
        write(block, value)
        views.append(block.view(0, 16 * KIB))
        budget.give(block)
    del block
    assert budget.used == 100 * 16 * KIB
    assert all(is_all(view, value) for value, view in enumerate(views))
    del views
    budget.trim(0)
    assert (budget.used, budget.free) == (0, 0)


def test_memory_of_other_sizes_is_freed_when_the_limit_asks_for_it() -> None:
    budget = Budget(8 * MIB)
    for block in [taken(budget, 32 * KIB) for _ in range(100)]:
        budget.give(block)
    assert budget.free == 100 * 32 * KIB
    del block
    assert taken(budget, 7 * MIB).size == 7 * MIB
    assert budget.free <= MIB


def test_no_more_than_64_mib_wait_for_their_next_use() -> None:
    budget = Budget(GIB)
    for block in [taken(budget, 8 * MIB) for _ in range(20)]:
        budget.give(block)
    del block
    assert budget.free == 64 * MIB


def test_memory_that_is_larger_than_any_part_is_not_kept() -> None:
    budget = Budget(GIB)
    budget.give(taken(budget, 17 * MIB))
    assert (budget.used, budget.free) == (0, 0)


def test_memory_that_nobody_used_for_five_seconds_is_freed_by_trim() -> None:
    clock = Clock()
    budget = Budget(64 * MIB, clock=clock)
    first, second = taken(budget, MIB), taken(budget, MIB)
    budget.give(first)
    clock.now += 3
    budget.give(second)
    clock.now += 1.9
    budget.trim()
    assert budget.free == 2 * MIB
    clock.now += 0.1
    budget.trim()
    assert budget.free == MIB
    clock.now += 3
    budget.trim()
    assert budget.free == 0


def test_memory_that_nobody_used_is_freed_when_others_take_and_give() -> None:
    clock = Clock()
    budget = Budget(64 * MIB, clock=clock)
    budget.give(taken(budget, MIB))
    clock.now += 6.5
    block = taken(budget, 16 * KIB)
    assert budget.free == 0
    budget.give(taken(budget, MIB))
    clock.now += 6.5
    budget.give(block)
    assert budget.free == 16 * KIB


def test_memory_whose_last_view_ended_is_freed_by_trim() -> None:
    clock = Clock()
    budget = Budget(64 * MIB, clock=clock)
    block = taken(budget, MIB)
    view = block.view(0, 10)
    budget.give(block)
    del block
    view.release()
    assert budget.used == MIB
    budget.trim()
    assert (budget.used, budget.free) == (0, MIB)
    clock.now += 5
    budget.trim()
    assert budget.free == 0


# ---- many readers, many threads ------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only where /proc/self/statm is")
def test_a_thousand_readers_that_read_a_little_stay_under_64_mib() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    budget = Budget(MIB)  # however small it is
    before = resident()
    blocks = [taken(budget, LEAST, least=True) for _ in range(1000)]
    for block in blocks:
        write(block, 1)
    assert budget.used == 1000 * LEAST
    assert resident() - before < 64 * MIB
    for block in blocks:
        budget.give(block)
    assert budget.used == 0


@pytest.mark.parametrize("seed", range(3))
def test_eight_threads_never_share_memory_nor_pass_the_limit(seed: int) -> None:
    budget = Budget(4 * MIB)
    beyond: list[int] = []

    def hammer(mark: int) -> None:
        chance = random.Random(seed * 100 + mark)
        held: list[tuple[Block, memoryview]] = []
        late: list[memoryview] = []
        for _ in range(300):
            size = chance.choice((16 * KIB, 50_000, 200_000, MIB))
            block = budget.take(size, holding=len(held))
            if block is not None:
                write(block, mark)
                held.append((block, block.view(0, size)))
            total = budget._tally.total
            if total > budget.limit:
                beyond.append(total)
            if held and (block is None or chance.random() < 0.5):
                block, view = held.pop(chance.randrange(len(held)))
                assert is_all(view, mark)
                if chance.random() < 0.5:
                    view.release()
                else:
                    late.append(view)
                budget.give(block)
            if late and chance.random() < 0.6:
                view = late.pop(0)
                assert is_all(view, mark)
                view.release()
        for block, view in held:
            assert is_all(view, mark)
            view.release()
            budget.give(block)
        assert all(is_all(view, mark) for view in late)

    together(*[lambda mark=mark: hammer(mark) for mark in range(1, 9)])
    assert not beyond
    budget.trim(0)
    assert (budget.used, budget.free) == (0, 0)


def test_all_that_exists_is_within_the_limit_while_sizes_change() -> None:
    budget = Budget(4 * MIB)
    beyond: list[int] = []
    tally = budget._tally

    def change(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(500):
            block = budget.take(chance.choice((16 * KIB, 300_000, MIB, 3 * MIB)))
            total = tally.total
            if total > budget.limit:
                beyond.append(total)
            if block is not None:
                budget.give(block)

    together(*[lambda seed=seed: change(seed) for seed in range(4)])
    assert not beyond
    assert budget.free <= budget.limit


# ---- limits --------------------------------------------------------------------------------------


def test_limit_that_is_set_is_the_limit_and_frees_what_waits_beyond_it() -> None:
    budget = Budget(64 * MIB)
    blocks = [taken(budget, MIB) for _ in range(8)]
    for block in blocks[4:]:
        budget.give(block)
    budget.set_limit(5 * MIB)
    assert (budget.limit, budget.used, budget.free) == (5 * MIB, 4 * MIB, MIB)
    budget.set_limit(MIB)
    assert (budget.limit, budget.used, budget.free) == (MIB, 4 * MIB, 0)
    assert budget.take(16 * KIB) is None
    budget.set_limit(2**80)
    assert budget.take(16 * KIB) is not None


@pytest.mark.parametrize(("size", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_limit_that_is_no_positive_int_is_an_error(size: int, kind: type[Exception]) -> None:
    budget = Budget(MIB)
    with pytest.raises(kind):
        budget.set_limit(size)
    assert budget.limit == MIB


def test_budget_of_the_process_is_what_was_set() -> None:
    before = memory_budget()
    try:
        set_memory_budget(10 * MIB)
        assert memory_budget() == BUDGET.limit == 10 * MIB
    finally:
        set_memory_budget(before)


@pytest.mark.parametrize(
    ("allowed", "limit"),
    [(None, 512 * MIB), (GIB, 128 * MIB), (100 * GIB, 512 * MIB), (64 * MIB, 8 * MIB), (4, 1)],
)
def test_default_is_an_eighth_of_the_memory_and_at_most_512_mib(
    monkeypatch: pytest.MonkeyPatch, allowed: int | None, limit: int
) -> None:
    monkeypatch.delenv("BLOBREAD_MEMORY_BUDGET", raising=False)
    monkeypatch.setattr(allowance, "memory_allowed", lambda: allowed)
    assert Budget().limit == limit


@pytest.mark.parametrize(
    ("said", "limit"),
    [("64MiB", 64 * MIB), ("1GiB", GIB), ("1048576", MIB), (" 64k ", 64 * KIB), ("2G", 2 * GIB)],
)
def test_environment_sets_the_limit(monkeypatch: pytest.MonkeyPatch, said: str, limit: int) -> None:
    monkeypatch.setenv("BLOBREAD_MEMORY_BUDGET", said)
    assert Budget().limit == limit


@pytest.mark.parametrize("said", ["", "much", "-1", "0", "1.5GiB", "64 bananas"])
def test_environment_that_says_no_size_is_warned_of_and_ignored(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("BLOBREAD_MEMORY_BUDGET", said)
    monkeypatch.setattr(allowance, "memory_allowed", lambda: GIB)
    budget = Budget()
    with pytest.warns(RuntimeWarning, match="BLOBREAD_MEMORY_BUDGET is ignored"):
        assert budget.limit == 128 * MIB
    assert budget.limit == 128 * MIB, "it is warned of once"


def test_machine_says_how_much_memory_it_has() -> None:
    memory = memory_of_machine()
    assert memory is not None
    assert 64 * MIB < memory < 1 << 50


def test_the_tighter_of_machine_and_groups_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    for of_machine, of_groups, allowed in [
        (GIB, MIB, MIB),
        (MIB, GIB, MIB),
        (None, MIB, MIB),
        (MIB, None, MIB),
        (None, None, None),
    ]:
        monkeypatch.setattr(machine, "memory_of_machine", lambda of=of_machine: of)
        monkeypatch.setattr(machine, "memory_of_groups", lambda of=of_groups: of)
        assert machine.memory_allowed() == allowed


# ---- control groups ------------------------------------------------------------------------------


def groups(root: Path, own: str, limits: dict[str, str]) -> int | None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(own)
    for name, limit in limits.items():
        file = root / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(limit)
    return memory_of_groups(root)


V2 = "0::/user.slice/job.scope\n"
V1 = "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n"


@pytest.mark.parametrize(
    ("own", "limits", "limit"),
    [
        (V2, {"user.slice/job.scope/memory.max": "1000\n"}, 1000),
        (V2, {"user.slice/memory.max": "900\n", "user.slice/job.scope/memory.max": "1000\n"}, 900),
        (V2, {"user.slice/memory.max": "900\n", "user.slice/job.scope/memory.max": "max\n"}, 900),
        (V2, {"user.slice/job.scope/memory.max": "max\n"}, None),
        (V2, {"user.slice/memory.high": "800\n", "user.slice/memory.max": "900\n"}, 800),
        (V2, {"user.slice/other/memory.max": "10\n"}, None),
        ("0::/\n", {"memory.max": "700\n"}, 700),
        ("0::/../../host\n", {"memory.max": "700\n"}, 700),
        ("0::/with:colon\n", {"with:colon/memory.max": "600\n"}, 600),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": "500\n"}, 500),
        (V1, {"memory/memory.limit_in_bytes": "400\n"}, 400),
        (V1, {"memory/memory.limit_in_bytes": f"{UNLIMITED_V1}\n"}, UNLIMITED_V1),
        (V1, {"cpu/docker/abc/memory.limit_in_bytes": "1\n"}, None),
        (V1 + "0::/\n", {"unified/memory.max": "300\n", "memory/memory.limit_in_bytes": "4"}, 4),
        (V2, {"user.slice/job.scope/memory.max": "rubbish"}, None),
        ("rubbish\n\n:::", {"memory.max": "1"}, None),
        ("", {}, None),
    ],
)
def test_limit_of_control_groups_is_the_tightest_of_the_own_and_those_around_it(
    tmp_path: Path, own: str, limits: dict[str, str], limit: int | None
) -> None:
    assert groups(tmp_path, own, limits) == limit


def test_limit_where_there_are_no_control_groups_is_none(tmp_path: Path) -> None:
    assert memory_of_groups(tmp_path) is None


# ---- other processes -----------------------------------------------------------------------------


@needs_fork
def test_forked_child_begins_with_nothing_and_a_quarter_of_the_limit() -> None:
    limit = memory_budget()
    block, free = taken(BUDGET, MIB), taken(BUDGET, 2 * MIB)
    write(block, 1)
    view = block.view(0, MIB)
    BUDGET.give(free)
    used = BUDGET.used

    def child() -> None:
        assert (BUDGET.used, BUDGET.free, memory_budget()) == (0, 0, limit // 4)
        BUDGET.give(block)
        assert (BUDGET.used, BUDGET.free) == (0, 0)
        write(taken(BUDGET, MIB), 2)
        assert is_all(view, 1)
        in_child(grandchild)
        set_memory_budget(MIB)
        assert memory_budget() == MIB

    def grandchild() -> None:
        assert memory_budget() == limit // 4

    try:
        in_child(child)
        assert (BUDGET.used, memory_budget()) == (used, limit)
        assert is_all(view, 1)
    finally:
        BUDGET.give(block)
        view.release()
        BUDGET.trim(0)


@needs_fork
def test_child_that_was_forked_in_the_midst_of_others_takes_and_gives() -> None:
    over = threading.Event()

    def take_and_give() -> None:
        while not over.is_set():
            block = BUDGET.take(MIB)
            if block is not None:
                BUDGET.give(block)

    def child() -> None:
        for _ in range(10):
            BUDGET.give(taken(BUDGET, 100_000))
        assert BUDGET.used == 0

    threads = [threading.Thread(target=take_and_give) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(child)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        BUDGET.trim(0)
    assert BUDGET.used == 0


WORKER = """\
import multiprocessing
from blobread.transfer.budget import memory_budget

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(memory_budget(), pool.apply(memory_budget))
"""


def test_process_that_multiprocessing_started_has_a_quarter(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WORKER)
    told = run_python(str(program))
    own, workers = map(int, told.split())
    assert (own, workers) == (memory_budget(), own // 4)


def run_python(*arguments: str) -> str:
    """What another interpreter prints, which finds the same blobread."""
    path = os.pathsep.join([str(Path(blobread.__file__).parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_import_looks_up_no_limit_and_imports_no_multiprocessing() -> None:
    text = (
        "import sys\n"
        "from blobread.transfer.budget import BUDGET\n"
        "assert BUDGET._whole is None\n"
        "assert BUDGET.take(1000) is not None\n"
        "assert 'multiprocessing' not in sys.modules and 'ctypes' not in sys.modules\n"
    )
    run_python("-c", text)


def test_finalizer_that_gives_back_in_the_midst_of_a_take_neither_hangs_nor_confuses() -> None:
    budget = Budget(16 * MIB)

    class Holder:
        def __init__(self) -> None:
            self.block = taken(budget, 16 * KIB)
            self.me = self  # only the collector ends it

        def __del__(self) -> None:
            budget.give(self.block)

    for _ in range(5000):
        Holder()
        budget.give(taken(budget, 16 * KIB))
    gc.collect()
    assert budget.used == 0
