from factory.pack import fact_kinds
from factory.pack.fact_kinds import EditFacts, LayoutFacts, SampleFacts


def test_kinds_that_exclude_each_other_are_told_apart_by_their_keys():
    own = [
        kind.model_fields.keys() - SampleFacts.model_fields.keys()
        for kind in (LayoutFacts, EditFacts, fact_kinds.InstanceFacts)
    ]
    for one in own:
        assert not any(one <= other for other in own if other is not one)
