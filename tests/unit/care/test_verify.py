import io
import json
import shutil

import numpy as np
import pytest
from damage import TAR, change_receipt, replaced, rewrite
from PIL import Image
from small_job import make_small

from factory.care.verify import verify_dataset
from factory.errors import JobError, Problem, StoreError
from factory.identity import digest_of_file
from factory.pack.image import encode_mask
from factory.pack.tar import read_members
from factory.store import open_store

KEY = "000000005"


def problems_of(root, deep=True):
    found = verify_dataset(open_store(str(root)), deep=deep).problems
    assert all(problem.path for problem in found)
    return [str(problem) for problem in found]


def test_rewriting_a_shard_as_it_was_is_no_damage(root):
    before = digest_of_file(root / TAR)
    rewrite(root, lambda members: members)
    assert digest_of_file(root / TAR) == before
    assert problems_of(root) == []


def test_a_missing_shard_is_found(root):
    (root / TAR).unlink()
    assert problems_of(root) == [f"{TAR}: missing, though its receipt is there"]


def test_a_cut_shard_is_found_by_its_size(root):
    data = (root / TAR).read_bytes()
    (root / TAR).write_bytes(data[:-512])
    assert problems_of(root) == [f"{TAR}: {len(data) - 512} bytes, its receipt says {len(data)}"]


def test_a_cut_shard_is_found_even_if_its_receipt_agrees(root):
    data = (root / TAR).read_bytes()[:1500]
    (root / TAR).write_bytes(data)
    change_receipt(root, sha256=digest_of_file(root / TAR), size_bytes=len(data))
    (problem,) = problems_of(root)
    assert "not a whole tar" in problem or "ends after" in problem


@pytest.mark.parametrize("place", [3, 600, -2000, -1])
def test_a_flipped_bit_anywhere_is_found_by_the_digest(root, place):
    data = bytearray((root / TAR).read_bytes())
    data[place] ^= 1
    (root / TAR).write_bytes(data)
    (problem,) = problems_of(root)
    assert problem.startswith(f"{TAR}: sha256 {digest_of_file(root / TAR)[:16]}, its receipt says ")


@pytest.mark.parametrize("ending", ["image.png", "mask.png"])
def test_a_picture_that_does_not_open_is_found_even_if_its_receipt_agrees(root, ending):
    rewrite(
        root, lambda ms: [(n, d[: len(d) // 2] if n == f"{KEY}.{ending}" else d) for n, d in ms]
    )
    (problem,) = problems_of(root)
    assert problem.startswith(f"{TAR}: sample {KEY}: not a whole image (")


def test_a_missing_mask_is_found(root):
    rewrite(root, lambda members: [m for m in members if m[0] != f"{KEY}.mask.png"])
    assert problems_of(root) == [
        f"{TAR}: sample {KEY}: holds image.png, json; expected image.png, mask.png, json, in this "
        "order"
    ]


def test_files_of_a_sample_in_another_order_are_found(root):
    rewrite(root, lambda members: [members[1], members[0], *members[2:]])
    assert problems_of(root) == [
        f"{TAR}: sample {KEY}: holds mask.png, image.png, json; expected image.png, mask.png, json, "
        "in this order"
    ]


def test_a_missing_sample_is_found_by_the_count(root):
    rewrite(root, lambda members: members[:-3])
    assert problems_of(root) == [f"{TAR}: 4 samples inside, its receipt says 5"]


def test_another_number_of_files_than_the_receipt_says_is_found(root):
    change_receipt(root, num_members=14)
    assert problems_of(root) == [f"{TAR}: 15 files inside, its receipt says 14"]


def change_facts(root, **changes):
    def change(members):
        return [
            (n, json.dumps(json.loads(d) | changes).encode() if n == f"{KEY}.json" else d)
            for n, d in members
        ]

    rewrite(root, change)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dataset_id": "f" * 16}, f"of dataset {'f' * 16}, this is "),
        ({"index": 6}, f"its facts name it {KEY} with index 6"),
        ({"key": "000000006"}, "its facts name it 000000006 with index 5"),
        ({"class_px": [1, 2, 3, 4]}, "its facts count other pixels per class than its mask holds"),
        ({"colour": 1}, "its facts have 1 problem"),
        ({"confidence": None}, "its facts have 1 problem"),
    ],
)
def test_facts_that_do_not_fit_are_found(root, changes, text):
    change_facts(root, **changes)
    (problem,) = problems_of(root)
    assert problem.startswith(f"{TAR}: sample {KEY}: {text}")


def test_a_sample_of_another_shard_s_range_is_found(root):
    other = list(read_members(root / "data/train/tiny-000000.tar"))[:3]
    rewrite(root, lambda members: [*other, *members[3:]])
    assert problems_of(root) == [f"{TAR}: sample 000000000: index 0 lies outside its shard's range"]


def test_a_label_that_is_no_class_is_found(root):
    mask = np.zeros((32, 32), np.uint8)
    mask[0, 0] = 4
    rewrite(root, replaced(f"{KEY}.mask.png", encode_mask(mask)))
    assert problems_of(root) == [
        f"{TAR}: sample {KEY}: mask holds label 4; allowed: 0 to 3, and 255"
    ]


def test_a_mask_of_another_size_is_found(root):
    rewrite(root, replaced(f"{KEY}.mask.png", encode_mask(np.zeros((16, 16), np.uint8))))
    problems = problems_of(root)
    assert problems[0] == f"{TAR}: sample {KEY}: image (32, 32) and mask (16, 16) differ in size"


def test_a_palette_mask_is_found(root):
    sink = io.BytesIO()
    Image.new("P", (32, 32)).save(sink, "PNG")
    rewrite(root, replaced(f"{KEY}.mask.png", sink.getvalue()))
    assert problems_of(root) == [f"{TAR}: sample {KEY}: found PNG mode P; masks are PNG mode L"]


def test_a_tar_without_a_receipt_is_found(root):
    shutil.copy(root / TAR, root / "data/train/tiny-000099.tar")
    assert problems_of(root) == [
        "data/train/tiny-000099.tar: no receipt names it; run the job again to commit it, or "
        "`factory gc` removes it"
    ]


def test_a_problem_has_its_parts_as_fields(root):
    rewrite(root, lambda members: [m for m in members if m[0] != f"{KEY}.mask.png"])
    (root / "data/train/tiny-000000.tar").unlink()
    (root / "data/train/a: b; c.tar").touch()
    assert verify_dataset(open_store(str(root)), deep=True).problems == (
        Problem("data/train/tiny-000000.tar", "missing", "missing, though its receipt is there"),
        Problem(
            TAR,
            "contents",
            "holds image.png, json; expected image.png, mask.png, json, in this order",
            sample=KEY,
        ),
        Problem(
            "data/train/a: b; c.tar",
            "no_receipt",
            "no receipt names it",
            "run the job again to commit it, or `factory gc` removes it",
        ),
    )


def test_a_receipt_that_no_round_plans_is_found(root):
    change_receipt(root, shard_index=77)
    (root / "receipts/0000/000001.json").rename(root / "receipts/0000/000077.json")
    assert problems_of(root) == [
        "receipts/0000/000077.json: names another tar, range or number of samples than the plan; "
        "`factory repair` removes it, and the next run writes it anew",
        f"{TAR}: no receipt names it; run the job again to commit it, or `factory gc` removes it",
    ]


def test_every_problem_of_every_shard_is_told(root):
    (root / TAR).unlink()
    (root / "data/train/tiny-000000.tar").write_bytes(b"")
    problems = problems_of(root)
    assert len(problems) == 2
    assert problems[1] == f"{TAR}: missing, though its receipt is there"


def test_what_verify_says_to_do_about_damage_mends_it(root):
    (root / TAR).write_bytes(b"x")
    (root / TAR).unlink()
    (root / "receipts/0000/000001.json").unlink()
    make_small(root.parent)
    assert problems_of(root) == []


def test_an_unreadable_receipt_is_told_with_its_name(root):
    (root / "receipts/0000/000001.json").write_text("{")
    assert problems_of(root) == [
        "receipts/0000/000001.json: not a receipt (1 problem); `factory repair` removes it, and the "
        "next run writes it anew"
    ]


def test_a_folder_without_a_dataset_is_told(tmp_path):
    with pytest.raises(StoreError) as caught:
        problems_of(tmp_path)
    assert str(caught.value) == f"{tmp_path}: no dataset here; make one with `factory run JOB`"


def test_a_sample_that_is_there_twice_in_place_of_another_is_found(root):
    rewrite(root, lambda members: [*members[:3], *members[:3], *members[6:]])
    assert problems_of(root) == [f"{TAR}: 4 samples inside, its receipt says 5"]


def test_two_samples_that_changed_places_are_found(root):
    rewrite(root, lambda members: [*members[3:6], *members[:3], *members[6:]])
    assert problems_of(root) != []


def test_a_receipt_filed_under_another_shard_is_found(root):
    shutil.copy(root / "receipts/0000/000000.json", root / "receipts/0000/000001.json")
    assert problems_of(root) == [
        "receipts/0000/000001.json: the receipt of shard 0, filed under another name; `factory repair` "
        "removes it, and the next run writes it anew"
    ]


def test_a_negative_number_of_samples_to_make_again_is_refused(root):
    with pytest.raises(JobError, match=r"^regenerate: found -1; 0 or more samples$"):
        verify_dataset(str(root), regenerate=-1)
