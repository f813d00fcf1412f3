import pytest
from receipts import a_manifest, a_record

from factory.derive.joined import SEVERAL, join
from factory.derive.rule import Chosen, Rule, Source
from factory.errors import JobError
from factory.store import LocalStore


def source(folder, name="a", **changes):
    return Source(LocalStore(str(folder / name)), a_manifest([a_record(0)], **changes))


def chosen(split="train", count=5):
    return {split: [Chosen(0, a_record(0), i, i) for i in range(count)]}


def joined(sources, picked):
    return join(sources, picked, Rule(), name="new", samples_per_shard=2)


def test_each_split_is_a_round_of_its_own_and_indices_count_through(tmp_path):
    picked = chosen("train", 5) | chosen("val", 1)
    plan = joined([source(tmp_path)], picked).plan
    assert [(t.name, t.split, t.first_index, t.num_samples) for t in plan.tasks()] == [
        ("new-000000", "train", 0, 2),
        ("new-000001", "train", 2, 2),
        ("new-000002", "train", 4, 1),
        ("new-val-000000", "val", 5, 1),
    ]


def test_different_generators_become_several_and_their_classes_one_table(tmp_path):
    first, second = source(tmp_path), source(tmp_path, "b")
    identity = second.manifest.identity | {"generator": {"kind": "x", "weights_sha256": "1"}}
    names = [["cat", "dog"], ["dog", "cow"]]
    manifests = [
        one.manifest.model_copy(
            update={"meaning": one.manifest.meaning.model_copy(update={"generator_classes": given})}
        )
        for one, given in zip((first, second), names, strict=True)
    ]
    manifests[1] = manifests[1].model_copy(update={"identity": identity})
    found = joined(
        [Source(s.store, m) for s, m in zip((first, second), manifests, strict=True)], chosen()
    )
    assert found.identity["generator"] == {"kind": SEVERAL, "weights_sha256": ""}
    assert found.identity["segmenter"]["kind"] == "kmeans"
    assert found.labels.generator_classes == ["cat", "dog", "cow"]
    assert found.generator_class == [{0: 0, 1: 1}, {0: 1, 1: 2}]
    assert [s["identity"] for s in found.identity["derived"]["sources"]] == [
        manifest.identity for manifest in manifests
    ]


def test_other_receipts_of_a_source_are_another_dataset(tmp_path):
    first = source(tmp_path)
    grown = Source(first.store, a_manifest([a_record(0), a_record(1, sha256="ef" * 32)]))
    ids = {joined([one], chosen()).plan.dataset_id for one in (first, grown)}
    assert len(ids) == 2


def test_nothing_chosen_is_told(tmp_path):
    with pytest.raises(JobError, match="no sample obeys it"):
        joined([source(tmp_path)], {"train": []})


def test_how_samples_were_made_is_kept_without_the_digest_of_a_file_that_is_not_copied(tmp_path):
    def with_edit(place, section):
        one = source(tmp_path, place)
        identity = one.manifest.identity | {"edit": section}
        return Source(one.store, one.manifest.model_copy(update={"identity": identity}))

    first = with_edit("a", {"steps": 5, "layouts_sha256": "ab" * 32})
    assert joined([first], chosen()).identity["edit"] == {"steps": 5}
    other = with_edit("b", {"steps": 9})
    assert joined([first, other], chosen()).identity["edit"] == {"kind": SEVERAL}
    with pytest.raises(JobError, match=r"its edited pairs: False; those of .*: True"):
        joined([first, source(tmp_path, "c")], chosen())
    for odd in (None, "x", [1]):  # whatever wrote it
        assert "edit" not in joined([with_edit("d", odd)], chosen()).identity


def test_numbered_clusters_of_different_fits_are_not_one_class(tmp_path):
    def of_fit(name, digest):
        identity = a_manifest().identity
        return source(
            tmp_path,
            name,
            identity=identity | {"segmenter": identity["segmenter"] | {"sha256": digest}},
        )

    labels = a_manifest().meaning.labels
    numbered = [label.model_copy(update={"name": f"cluster_{label.id:02d}"}) for label in labels]

    def unnamed(one):
        meaning = one.manifest.meaning.model_copy(update={"labels": numbered})
        return Source(one.store, one.manifest.model_copy(update={"meaning": meaning}))

    named = [of_fit("a", "11"), of_fit("b", "22")]
    assert joined(named, chosen()).labels.labels == labels
    with pytest.raises(JobError, match=r"fit of classes that nobody named: \['22'\]"):
        joined([unnamed(one) for one in named], chosen())
    alike = [unnamed(of_fit("a", "11")), unnamed(of_fit("b", "11"))]
    copied = joined(alike, chosen())
    manifest = alike[0].manifest.model_copy(update={"identity": copied.identity})
    joined([alike[0], Source(alike[0].store, manifest)], chosen())
