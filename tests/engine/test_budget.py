import fcntl
import os
import random
import signal
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InputError, StateError
from engine.venues import budget as room
from engine.venues.budget import BUSY_NS, EDGE_NS, FILE_BYTES, NS_PER_MINUTE, Budget, budget_path

SECOND = 10**9
MINUTE = 29_000_000  # some minute of 2025
START = MINUTE * NS_PER_MINUTE
MIDDLE = START + 30 * SECOND
NEXT = START + NS_PER_MINUTE


@pytest.fixture
def path(tmp_path):
    return budget_path(tmp_path, "https://api.binance.com")


def opened(path, limit=100, share=0.2):
    return Budget.open(path, limit_per_minute=limit, reserved_share=share)


def test_file_carries_the_host_and_no_two_hosts_share_one(tmp_path):
    origins = [
        "https://api.binance.com",
        "https://fapi.binance.com",
        "http://127.0.0.1:8001",
        "http://[::1]:1",
    ]
    paths = [budget_path(tmp_path, origin) for origin in origins]
    assert paths[0].name == "weight-api.binance.com"
    assert len(set(paths)) == len(origins)
    assert all(one.parent == tmp_path for one in paths)


@pytest.mark.parametrize("is_private", [True, False])
def test_regular_requests_leave_the_reserved_share(path, is_private):
    budget = opened(None if is_private else path)
    assert (budget.limit_per_minute, budget.regular_limit) == (100, 80)
    assert [budget.take(20, MIDDLE) for _ in range(4)] == [0, 0, 0, 0]
    assert budget.take(1, MIDDLE) == NEXT + EDGE_NS - MIDDLE
    assert budget.take(0, MIDDLE) == 0
    assert budget.take(20, MIDDLE, is_urgent=True) == 0
    assert budget.take(1, MIDDLE, is_urgent=True) == NEXT + EDGE_NS - MIDDLE
    assert budget.used(MIDDLE) == 100
    assert budget.used(NEXT) == 0
    budget.close()
    budget.close()


def test_waiting_as_told_is_enough(path):
    budget = opened(path)
    assert budget.take(80, MIDDLE) == 0
    wait_ns = budget.take(30, MIDDLE)
    assert budget.take(30, MIDDLE + wait_ns - 1) == 1
    assert budget.take(30, MIDDLE + wait_ns) == 0


def test_charge_near_the_edge_of_a_minute_counts_to_both(path):
    budget = opened(path)
    assert budget.take(30, NEXT - EDGE_NS - 1) == 0
    assert budget.take(40, NEXT - 1) == 0
    assert budget.used(NEXT) == 40
    # What is asked in the first two seconds may still count to the minute before, which has 70 already.
    assert budget.take(11, NEXT) == EDGE_NS
    assert budget.take(10, NEXT) == 0
    assert budget.take(1, NEXT + 1) == EDGE_NS - 1
    assert budget.take(30, NEXT + EDGE_NS) == 0
    assert budget.take(1, NEXT + EDGE_NS) == NS_PER_MINUTE
    assert budget.used(NEXT + NS_PER_MINUTE) == 0


@pytest.mark.parametrize("weight", [-1, 81])
def test_weight_that_no_minute_allows_is_an_error(path, weight):
    with pytest.raises(ValueError, match=f"from 0 to 80, found {weight}"):
        opened(path).take(weight, MIDDLE)


@pytest.mark.parametrize(("limit", "share"), [(0, 0.2), (10, 1.0), (10, -0.1)])
def test_bounds_of_limit_and_share(path, limit, share):
    with pytest.raises(ValueError, match="Expected a limit of at least 1"):
        opened(path, limit, share)


def test_what_the_venue_says_counts_if_it_is_more(path):
    budget, other = opened(path), opened(path)
    budget.take(10, MIDDLE)
    budget.learn(70, MIDDLE)
    budget.learn(40, MIDDLE)
    assert other.used(MIDDLE) == 70
    assert other.take(11, MIDDLE) > 0
    assert other.take(10, MIDDLE) == 0
    other.learn(10**30, MIDDLE)
    assert budget.take(1, MIDDLE, is_urgent=True) > 0


def test_what_is_told_at_the_start_of_a_minute_is_of_the_one_before(path):
    budget = opened(path)
    budget.take(1, MIDDLE)
    budget.learn(79, NEXT + EDGE_NS - 1)
    assert budget.used(NEXT) == 0
    assert budget.take(2, NEXT) == EDGE_NS
    assert budget.take(1, NEXT) == 0
    budget.learn(60, MIDDLE)  # an answer that took long
    assert budget.used(NEXT) == 1
    budget.learn(60, NEXT + EDGE_NS)
    assert budget.used(NEXT + EDGE_NS) == 60


def test_ban_holds_for_everybody_and_outlives_them(path):
    budget, other = opened(path), opened(path)
    assert budget.banned_until_ns == 0
    until_ns = MIDDLE + 120 * SECOND
    budget.ban(until_ns)
    budget.ban(until_ns - 5)
    budget.close()
    assert other.banned_until_ns == until_ns
    assert other.take(1, MIDDLE, is_urgent=True) == 120 * SECOND
    other.close()
    again = opened(path)
    assert again.take(1, until_ns - 1) == 1
    assert again.take(1, until_ns) == 0
    assert again.notice == ""


def test_clock_behind_the_one_of_another_process_does_not_reopen_a_minute(path):
    budget, other = opened(path), opened(path)
    assert budget.take(80, NEXT + EDGE_NS) == 0
    assert other.take(1, NEXT - 1) == NS_PER_MINUTE + EDGE_NS + 1


def test_count_of_a_clock_far_ahead_is_begun_anew_but_for_a_ban_of_now(path):
    budget, other = opened(path), opened(path)
    year_ns = 365 * 24 * 60 * NS_PER_MINUTE
    assert budget.take(80, MIDDLE + year_ns) == 0
    budget.ban(MIDDLE + SECOND)
    assert other.take(80, MIDDLE) == SECOND
    assert other.take(80, MIDDLE + SECOND) == 0
    assert "clock that is ahead: begun anew" in other.notice
    budget.take(80, MIDDLE + year_ns)
    budget.ban(MIDDLE + year_ns)
    assert other.take(80, MIDDLE) == 0


@pytest.mark.parametrize(
    "content", [b"x", b"\0" * 300 + b"x", b"RMRWGT01" * 64, bytes(range(256)) * 16, b"\xff" * FILE_BYTES]
)
def test_damaged_file_is_begun_anew_and_told(path, content):
    path.write_bytes(content)
    budget = opened(path)
    if any(content[:FILE_BYTES]):
        assert f"in {path}, found other bytes: begun anew" in budget.notice
    assert budget.used(MIDDLE) == 0
    assert budget.take(80, MIDDLE) == 0
    again = opened(path)
    assert (again.used(MIDDLE), again.notice) == (80, "")


def test_file_damaged_or_cut_under_us_is_begun_anew_and_told(path):
    budget = opened(path)
    budget.take(80, MIDDLE)
    path.write_bytes(b"")
    assert budget.take(70, MIDDLE) == 0
    assert "found fewer: begun anew" in budget.notice
    with path.open("r+b") as file:
        file.write(b"!" * FILE_BYTES)
    assert budget.take(60, MIDDLE) == 0
    assert "found other bytes: begun anew" in budget.notice
    assert opened(path).used(MIDDLE) == 60


def test_file_removed_under_us_is_made_again_with_what_we_know(path):
    budget, other = opened(path), opened(path)
    budget.take(70, MIDDLE)
    budget.ban(MIDDLE + 1)
    path.unlink()
    fresh = opened(path)
    fresh.take(10, MIDDLE)
    assert budget.take(1, MIDDLE) == 1
    assert "found it removed" in budget.notice
    assert (fresh.used(MIDDLE), fresh.banned_until_ns) == (70, MIDDLE + 1)
    assert other.take(10, MIDDLE + 1) == 0
    assert fresh.take(1, MIDDLE + 1) > 0


def test_removed_directory_leaves_us_counting_alone(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    budget = opened(budget_path(folder, "https://h"))
    budget.take(70, MIDDLE)
    (folder / "weight-h").unlink()
    folder.rmdir()
    assert budget.take(11, MIDDLE) > 0
    assert "No such file" in budget.notice


def test_path_that_cannot_be_had_is_refused(tmp_path):
    with pytest.raises(InputError, match="found: No such file or directory"):
        opened(tmp_path / "none" / "weight")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(InputError, match="symbolic link"):
        opened(tmp_path / "link")


@pytest.mark.slow
def test_every_flipped_byte_costs_at_most_the_last_charge(path):
    budget = opened(path)
    budget.take(30, MIDDLE)
    budget.take(40, MIDDLE)
    whole = path.read_bytes()
    for place in range(FILE_BYTES):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        found = opened(path)
        assert found.used(MIDDLE) in (30, 70)
        found.close()


@pytest.mark.slow
def test_charge_torn_at_any_byte_is_made_or_not_made(path):
    budget = opened(path)
    for _ in range(2):
        before = path.read_bytes()
        known = budget.used(MIDDLE)
        budget.take(30, MIDDLE)
        after = path.read_bytes()
        for place in range(FILE_BYTES + 1):
            for torn in (after[:place] + before[place:], before[:place] + after[place:]):
                path.write_bytes(torn)
                found = opened(path)
                assert found.used(MIDDLE) in (known, known + 30)
                assert found.notice == ""
                found.close()
        path.write_bytes(after)
        budget.close()
        budget = opened(path)


def in_child(work):
    """Run `work` in a process of its own, which must not come back; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


@pytest.mark.slow
def test_process_killed_at_any_line_of_a_charge_loses_at_most_that_charge(path):
    seen, lines = set(), 0
    for wanted in range(1, 200):
        path.unlink(missing_ok=True)
        budget = opened(path)
        budget.take(30, MIDDLE)

        def work(wanted=wanted):
            count = 0

            def tracer(frame, event, _):
                nonlocal count
                if frame.f_code.co_filename == room.__file__ and event == "line":
                    count += 1
                    if count == wanted:
                        os.kill(os.getpid(), signal.SIGKILL)
                return tracer

            mine = opened(path)
            sys.settrace(tracer)
            mine.take(20, MIDDLE)
            sys.settrace(None)

        status = os.waitpid(in_child(work), 0)[1]
        used = budget.used(MIDDLE)
        assert used in (30, 50)
        seen.add(used)
        # Whoever comes next is neither held up nor told of a damage.
        assert budget.take(10, MIDDLE) == 0
        assert (budget.used(MIDDLE), budget.notice) == (used + 10, "")
        budget.close()
        if not os.WIFSIGNALED(status):
            assert (os.WEXITSTATUS(status), used) == (0, 50)
            break
        lines = wanted
    else:
        pytest.fail("a charge has fewer lines than that")
    assert seen == {30, 50}
    assert lines > 20


@pytest.mark.slow
def test_processes_killed_at_random_never_spend_more_than_the_limit(path):
    rng = random.Random(5)
    limit, children = 2000, 16
    told, killed = 0, 0
    readers = {}

    def start(number):
        reader, writer = os.pipe()

        def work():
            os.close(reader)
            mine, luck = opened(path, limit, 0.2), random.Random(number)
            for _ in range(400):
                weight = luck.randrange(1, 10)
                if mine.take(weight, MIDDLE, is_urgent=number % 4 == 0) == 0:
                    os.write(writer, bytes([weight]))

        pid = in_child(work)
        os.close(writer)
        readers[pid] = reader

    for number in range(children):
        start(number)
    victims = rng.sample(sorted(readers), 8)
    for pid, reader in list(readers.items()):
        if pid in victims:
            told += sum(os.read(reader, rng.randrange(1, 60)))
            os.kill(pid, signal.SIGKILL)
            killed += 1
        while chunk := os.read(reader, 4096):
            told += sum(chunk)
        os.close(reader)
        os.waitpid(pid, 0)
    budget = opened(path, limit, 0.2)
    used = budget.used(MIDDLE)
    assert budget.notice == ""
    assert told <= used <= min(limit, told + 9 * killed)
    # All the same, everybody together came to what is there to spend.
    assert used > limit - 10


def test_lock_that_is_held_delays_a_charge_and_loses_nothing(path):
    budget, other = opened(path), opened(path)
    holder = os.open(path, os.O_RDWR)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert budget.take(10, MIDDLE) == BUSY_NS
    budget.learn(55, MIDDLE)
    budget.learn(40, MIDDLE)
    budget.ban(MIDDLE + 7)
    budget.ban(MIDDLE + 5)
    assert budget.banned_until_ns == MIDDLE + 7
    assert opened(path).take(10, MIDDLE) == BUSY_NS
    os.close(holder)
    assert other.used(MIDDLE) == 0
    assert budget.take(10, MIDDLE) == 7
    assert (other.used(MIDDLE), other.banned_until_ns) == (55, MIDDLE + 7)


def test_budget_inherited_by_a_fork_is_refused(path):
    budget = opened(path)

    def work():
        try:
            budget.take(1, MIDDLE)
        except StateError:
            os._exit(7)

    assert os.WEXITSTATUS(os.waitpid(in_child(work), 0)[1]) == 7


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),  # which process
        st.one_of(st.sampled_from([0, SECOND, EDGE_NS, 57 * SECOND]), st.integers(0, 70 * SECOND)),
        st.integers(0, 40),  # weight
        st.booleans(),
        st.integers(-300, 300),  # ms by which the clock of this process differs
    ),
    max_size=60,
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(steps=STEPS, share=st.sampled_from([0.0, 0.2, 0.5]))
def test_no_minute_of_the_venue_sees_more_than_the_limit(tmp_path_factory, steps, share):
    path = tmp_path_factory.mktemp("weight") / "w"
    budgets = [opened(path, 100, share) for _ in range(3)]
    reserve = 100 - budgets[0].regular_limit
    charges = []
    base_ns = MIDDLE

    def near(minute, *, only_urgent):
        """Return the most weight that the venue may have counted to a minute."""
        low, high = minute * NS_PER_MINUTE - EDGE_NS, (minute + 1) * NS_PER_MINUTE + EDGE_NS
        return sum(
            weight
            for stamp, weight, is_urgent in charges
            if low <= stamp < high and (is_urgent or not only_urgent)
        )

    latest_ns = 0
    for process, pause_ns, wanted, is_urgent, skew_ms in steps:
        base_ns += pause_ns
        now_ns = base_ns + skew_ms * 10**6
        weight = min(wanted, 100 if is_urgent else budgets[0].regular_limit)
        wait_ns = budgets[process].take(weight, now_ns, is_urgent=is_urgent)
        assert 0 <= wait_ns <= 2 * NS_PER_MINUTE + EDGE_NS
        latest_ns = max(latest_ns, now_ns)
        if wait_ns == 0:
            charges.append((now_ns, weight, is_urgent))
        elif is_urgent:
            # Refused only if urgent requests alone have spent what is theirs, in a minute it may count to.
            minutes = {(max(now_ns, latest_ns) + off) // NS_PER_MINUTE for off in (-EDGE_NS, 0, EDGE_NS)}
            minutes |= {now_ns // NS_PER_MINUTE}
            assert any(near(minute, only_urgent=True) + weight > reserve for minute in minutes)
        else:
            minutes = {(max(now_ns, latest_ns) + off) // NS_PER_MINUTE for off in (-EDGE_NS, 0, EDGE_NS)}
            minutes |= {now_ns // NS_PER_MINUTE}
            assert any(near(minute, only_urgent=False) + weight > 100 - reserve for minute in minutes)
    for stamp, _, _ in charges:
        for minute in (stamp // NS_PER_MINUTE + off for off in (-1, 0, 1)):
            assert near(minute, only_urgent=False) <= 100
    assert [one.notice for one in budgets] == ["", "", ""]
    for one in budgets:
        one.close()
