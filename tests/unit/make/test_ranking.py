import numpy as np

from factory.data import Sample, ShardTask, Steering
from factory.generate.latents import _steered_labels
from factory.make.ranking import TopSamples
from factory.pack.packing import encode_sample
from factory.spec import EncodeSpec


def an_encoded(index, px, label=0):
    image, mask = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    sample = Sample(index, image, mask, label, 0.5, (20 - px, px))
    return encode_sample(sample, EncodeSpec(), dataset_id="d", class_names=())


def kept(pool):
    return [sample.facts.index for sample in pool.close()]


def test_the_best_stay_in_the_order_of_their_indices_and_the_others_are_counted():
    pool = TopSamples(2, 1)
    assert pool.add([an_encoded(0, 3, 7), an_encoded(1, 9)]) == {}
    assert pool.add([an_encoded(2, 5), an_encoded(3, 1, 4)]) == {7: 1, 4: 1}
    assert kept(pool) == [1, 2]


def test_of_equal_ones_the_earlier_stays_however_batches_fall():
    samples = [an_encoded(index, 4) for index in range(5)]
    whole, parts = TopSamples(2, 1), TopSamples(2, 1)
    whole.add(samples)
    for sample in samples:
        parts.add([sample])
    assert kept(whole) == kept(parts) == [0, 1]


def a_task(turn, classes, first_index=100):
    steering = Steering(goal="x", classes=classes)
    return ShardTask("d", "n", 1, 3, first_index, 50, 5, steering, turn)


def test_a_turn_visits_every_class_as_often_as_asked_for_and_spreads_them():
    task = a_task(0, {2: 4, 5: 2})
    labels = _steered_labels(task, range(100, 106))
    assert sorted(labels) == [2, 2, 2, 2, 5, 5]
    assert labels not in ([2, 2, 2, 2, 5, 5], [5, 5, 2, 2, 2, 2])
    assert _steered_labels(task, range(106, 112)) == labels


def test_a_shard_goes_on_where_the_one_before_it_stopped_keeping():
    whole = _steered_labels(a_task(0, {0: 1, 1: 2}), range(100, 109))
    later = _steered_labels(a_task(4, {0: 1, 1: 2}, first_index=700), range(700, 705))
    assert later == whole[4:9]


def test_without_classes_of_its_own_a_round_visits_the_dataset_s():
    assert _steered_labels(a_task(0, {}), range(100, 104)) is None
    assert _steered_labels(ShardTask("d", "n", 1, 3, 0, 4, 4), range(4)) is None
