"""Workers are asked without waiting: who does not answer holds nobody up."""

from small_job import Witness

from factory.run.underway import AskedWorkers


class Told(Witness):
    """Also wants to know of samples in unfinished shards."""

    def __init__(self):
        super().__init__()
        self.counts = []

    def underway(self, num_samples):
        self.counts.append(num_samples)


class Workers:
    """Calls are numbers; those in `answers` have returned."""

    def __init__(self):
        self.calls = []
        self.answers = {}

    def of(self, *names):
        return {name: lambda name=name: self._call(name) for name in names}

    def _call(self, name):
        self.calls.append(name)
        return len(self.calls) - 1

    def poll(self, calls):
        return [(call, self.answers.pop(call)) for call in calls if call in self.answers]


def test_answers_add_up_and_one_without_an_answer_is_not_asked_again():
    observer, workers = Told(), Workers()
    asked = AskedWorkers(observer, workers.poll)
    asked.ask(workers.of(7, 8))
    workers.answers = {0: 5}
    asked.ask(workers.of(7, 8))
    assert workers.calls == [7, 8, 7]
    workers.answers = {1: 4, 2: 6}
    asked.ask(workers.of(7, 8))
    assert observer.counts == [0, 5, 10]


def test_what_a_worker_had_that_is_gone_does_not_count():
    observer, workers = Told(), Workers()
    asked = AskedWorkers(observer, workers.poll)
    asked.ask(workers.of(7, 8))
    workers.answers = {0: 5, 1: 4}
    asked.ask(workers.of(8))
    assert observer.counts == [0, 4]


def test_nobody_is_asked_for_an_observer_that_counts_shards_alone():
    workers = Workers()
    AskedWorkers(Witness(), workers.poll).ask(workers.of(7))
    assert workers.calls == []
