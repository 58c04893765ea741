"""Cases are drawn once an epoch, by a cursor alone."""

from hpedit.rl.sampler import CaseSampler


def drawn(sampler, number, times):
    return [index for _ in range(times) for index in sampler.draw(number)]


def test_draws_visit_every_case_once_an_epoch():
    sampler = CaseSampler(12, seed=0)
    epoch = drawn(sampler, 4, 3)
    assert sorted(epoch) == list(range(12))
    assert epoch != drawn(sampler, 4, 3)


def test_a_rest_that_is_too_small_is_left_out():
    sampler = CaseSampler(7, seed=0)
    assert all(len(set(sampler.draw(3))) == 3 for _ in range(10))


def test_a_sampler_at_the_same_cursor_goes_on_the_same():
    whole = CaseSampler(7, seed=3)
    whole.draw(3)
    resumed = CaseSampler(7, seed=3, cursor=whole.cursor)
    assert drawn(whole, 2, 9) == drawn(resumed, 2, 9)


def test_seeds_differ():
    assert CaseSampler(50, seed=0).draw(50) != CaseSampler(50, seed=1).draw(50)
