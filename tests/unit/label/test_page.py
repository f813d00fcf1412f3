"""What the label page shows: the tree's drawing, and masks of any cut."""

import json
import re
from dataclasses import replace

import torch
from small_label import small_material

from factory.label.page import kept_page

CPU = torch.device("cpu")


def test_the_kept_page_names_no_address():
    text = kept_page(small_material()).decode()
    assert "$" not in re.sub(r"\$\{", "", text.split('id="facts"')[0])
    assert not re.findall(r"(?:src|href)=\"(?!data:)", text)
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', text)[1])
    assert sorted(map(int, facts["masks"])) == list(range(2, 13))


def test_a_name_cannot_end_the_script_it_stands_in():
    text = kept_page(replace(small_material(), name="</script><b>")).decode()
    assert "</script><b>" not in text
