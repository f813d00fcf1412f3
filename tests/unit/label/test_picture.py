import io
from dataclasses import replace

import numpy as np
from PIL import Image
from small_label import small_material

from factory.label.gallery import Gallery
from factory.label.layout import place_nodes
from factory.label.page import make_facts
from factory.label.picture import draw_picture
from factory.segment.tree.hierarchy import Hierarchy
from factory.segment.tree.suggest import suggest_cuts


def test_the_picture_shows_the_tree_and_four_cuts_of_eight_samples():
    picture = Image.open(io.BytesIO(draw_picture(small_material())))
    assert picture.format == "PNG"
    assert picture.width == 8 * 136 + 8
    pixels = np.asarray(picture.convert("RGB"))
    nodes = place_nodes(small_material().tree)
    cut = small_material().tree.flat_cut(suggest_cuts(small_material().tree).num_classes)
    for node in cut:
        colour = list(bytes.fromhex(nodes[node].colour[1:]))
        assert (pixels[30:280] == colour).all(axis=2).sum() > 100


def test_a_tree_of_two_clusters_is_shown_as_well():
    tree, gallery = small_material().tree, small_material().gallery
    pair = Hierarchy(tree.planes[:2], tree.sizes[:2], tree.history[:0], tree.margins[:1])
    drawn = Gallery(gallery.images, gallery.scores[:2])
    material = replace(small_material(), name="two", tree=pair, gallery=drawn)
    assert make_facts(material)["cuts"] == [
        {"k": 2, "iou": None, "ecos": None, "agreement": None, "doubts": []}
    ]
    assert Image.open(io.BytesIO(draw_picture(material))).width == 1096
