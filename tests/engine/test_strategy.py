import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from engine.signals import VetoReason
from engine.strategy import Funnel, Stage


def test_stage_implies_those_before_it_and_counts_once():
    funnel = Funnel(is_cost_gated=True)
    funnel.reach(1, Stage.COST)
    funnel.reach(1, Stage.ALIGNED)
    funnel.reach(1, Stage.COST)
    funnel.reach(2, Stage.IMBALANCE)
    counts = funnel.counts()
    assert (counts.imbalance, counts.aligned, counts.cost, counts.entries, counts.n_open) == (2, 1, 1, 0, 2)


def test_veto_is_new_the_first_time_only():
    funnel = Funnel(is_cost_gated=True)
    given = [VetoReason.COST, VetoReason.COST, VetoReason.NOT_ALIGNED, VetoReason.COST]
    assert [funnel.veto(1, reason) for reason in given] == [True, False, True, False]
    assert funnel.veto(2, VetoReason.COST)


def test_episode_that_comes_back_is_taken_out_of_the_vetoes():
    funnel = Funnel(is_cost_gated=True)
    funnel.veto(1, VetoReason.COST)
    funnel.expire(None)
    over = funnel.counts()
    assert (dict(over.vetoes)[VetoReason.COST], over.n_open) == (1, 0)
    funnel.reach(1, Stage.ENTRIES)
    entered = funnel.counts()
    assert (dict(entered.vetoes)[VetoReason.COST], entered.entries, entered.imbalance) == (0, 1, 1)


def test_vetoes_list_every_reason_in_the_order_of_the_checks():
    counts = Funnel(is_cost_gated=False).counts()
    assert counts.vetoes == tuple((reason, 0) for reason in VetoReason)
    assert not counts.is_cost_gated


class FunnelMachine(RuleBasedStateMachine):
    """Against a model that forgets nothing."""

    def __init__(self):
        super().__init__()
        self.funnel = Funnel(is_cost_gated=True)
        self.stages, self.reasons, self.over = {}, {}, set()
        self.newest = 1

    def seen(self, episode):
        self.stages.setdefault(episode, Stage.IMBALANCE)
        self.over.discard(episode)

    def recent(self, back):
        return max(self.newest - back, 1)

    @rule()
    def come(self):
        self.newest += 1

    @rule(back=st.integers(0, 2), stage=st.sampled_from(Stage))
    def reach(self, back, stage):
        episode = self.recent(back)
        self.seen(episode)
        self.stages[episode] = max(self.stages[episode], stage)
        self.funnel.reach(episode, stage)

    @rule(back=st.integers(0, 2), reason=st.sampled_from(VetoReason))
    def veto(self, back, reason):
        episode = self.recent(back)
        self.seen(episode)
        self.reasons[episode] = reason
        self.funnel.veto(episode, reason)

    @rule(back=st.integers(0, 2))
    def expire(self, back):
        alive = self.recent(back)
        self.over |= self.stages.keys() - {alive}
        self.funnel.expire(alive)

    @invariant()
    def counts_agree(self):
        counts = self.funnel.counts()
        at_least = [sum(reached >= stage for reached in self.stages.values()) for stage in Stage]
        assert [counts.imbalance, counts.aligned, counts.cost, counts.entries] == at_least
        assert counts.imbalance == counts.entries + counts.n_open + sum(n for _, n in counts.vetoes)


FunnelMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=25)
TestFunnelMachine = pytest.mark.slow(FunnelMachine.TestCase)


def test_long_run_keeps_few_and_counts_all():
    funnel = Funnel(is_cost_gated=True)
    for episode in range(1, 1001):
        funnel.veto(episode, VetoReason.NOT_ALIGNED if episode % 2 else VetoReason.COST)
        if episode % 4 == 0:
            funnel.reach(episode, Stage.ENTRIES)
        funnel.expire(None)
    counts = funnel.counts()
    assert (counts.imbalance, counts.entries, counts.n_open) == (1000, 250, 0)
    assert {reason: n for reason, n in counts.vetoes if n} == {
        VetoReason.NOT_ALIGNED: 500,
        VetoReason.COST: 250,
    }
