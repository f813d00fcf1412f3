"""Masks in the files of labelling tools: LabelMe, COCO, Label Studio, CVAT."""

import itertools
import json

import numpy as np
import pytest
from painted import NUMBERS, exact_masks, pictures_folder
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from small_job import small_job

from factory.data import IGNORE
from factory.errors import JobError
from factory.fit.annotations import json_files
from factory.fit.annotations.brush import decode_brush
from factory.fit.annotations.canvas import Canvas, decode_coco_text, read_points
from factory.fit.annotations.classes import make_classes, make_labels
from factory.fit.annotations.cvat import read_cvat
from factory.fit.annotations.folder import read_painted
from factory.fit.annotations.json_files import stem_of
from factory.fit.annotations.pictures_file import read_pictures_file
from factory.generate.shapes import PARTS
from factory.pack.image import encode_mask
from factory.spec.linear import PaintedClass

CLASSES = make_classes(make_labels([PaintedClass(name=name) for name in PARTS]))
SQUARE = [[4, 6], [20, 6], [20, 16], [4, 16]]


def square(value=1, side=32):
    mask = np.full((side, side), IGNORE, np.uint8)
    mask[6:16, 4:20] = value
    return mask


@pytest.fixture
def folder(tmp_path):
    return pictures_folder(tmp_path / "p")


def read(folder):
    found = read_painted(folder, read_pictures_file(folder), CLASSES)
    return {one.picture.number: one.mask for one in found}


def write(folder, name, document):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text(text)


def problem(folder):
    with pytest.raises(JobError) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pixels_are_inside_an_outline_if_their_centres_are():
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = rng.uniform(-10, 42, (rng.integers(3, 9), 2))
        found = Canvas(32).polygon(points)
        rows, columns = np.indices((32, 32)) + 0.5
        wanted = np.zeros((32, 32), bool)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            crosses = (y0 > rows) != (y1 > rows)
            with np.errstate(divide="ignore", invalid="ignore"):
                wanted ^= crosses & (columns > x0 + (rows - y0) * (x1 - x0) / (y1 - y0))
        assert np.array_equal(found, wanted)


def test_an_outline_covers_about_what_a_drawing_library_covers():
    points = [(5.0, 4.0), (27.0, 9.0), (19.0, 28.0), (6.0, 21.0)]
    large = Image.new("1", (320, 320))
    ImageDraw.Draw(large).polygon([(x * 10, y * 10) for x, y in points], fill=1)
    share = np.asarray(large).reshape(32, 10, 32, 10).mean(axis=(1, 3))
    assert (Canvas(32).polygon(np.array(points)) != (share > 0.5)).mean() < 0.01


def labelme(**changes):
    shape = {"label": "square", "points": SQUARE, "shape_type": "polygon"}
    plain = {"imagePath": "..\\pictures\\000003.png", "imageWidth": 32, "imageHeight": 32}
    return plain | {"shapes": [shape]} | changes


def shapes(**changes):
    return {"shapes": [{"label": "square", "points": SQUARE, "shape_type": "polygon"} | changes]}


def test_labelme_s_shapes_lie_over_each_other_in_their_order(folder):
    inner = {"label": "core", "points": [[8, 8], [12, 12]], "shape_type": "rectangle"}
    erased = {"label": "ignore", "points": [[9, 9], [9, 10]], "shape_type": "circle"}
    document = labelme()
    document["shapes"] += [inner, erased]
    write(folder, "pictures/000003.json", document)
    mask = read(folder)[3]
    wanted = square()
    wanted[8:12, 8:12] = 3
    assert np.array_equal(mask[12:], wanted[12:])
    assert mask[11, 11] == 3
    assert mask[9, 9] == IGNORE
    assert mask[0, 0] == IGNORE, "what nobody painted is no class"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (shapes(label="sqare"), "paints 'sqare'; the job's classes are ground, square, disc, core, "
         "ignore; did you mean 'square'?"),
        (shapes(label=["a"]), "paints \"['a']\"; the job's classes are"),
        (shapes(shape_type="line"), "has a shape 'line'; polygon, rectangle and circle are areas"),
        (shapes(points=[[1, 2]]), "has an outline of 1 points; 3 to 10,000 make one"),
        (shapes(points=[[1, 2], [3, 4], [5, "x"]]), "has an outline that is no list of points (x, y)"),
        (shapes(points=[[1, 2], [3, 4], [5, 1e300]]), "has an outline that is no list of points"),
        ({"imageWidth": 64}, "says that 000003 is 64 x 32 px; it is 32 x 32: paint on the picture"),
        ({"imagePath": "cat.png"}, "has a mask of 'cat', which is no picture here; they are 000003"),
        ({"shapes": []}, "has no painted pixel; paint it, or remove it"),
        ({"shapes": [3]}, "has no list `shapes`"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_labelme_file_is_told_in_a_line(changes, message, folder):
    write(folder, "pictures/000003.json", labelme(**changes))
    assert problem(folder).startswith(f"{folder}/pictures/000003.json: {message}")


@pytest.mark.parametrize("text", ["{", '{"shapes": [', "[" * 100_000, "\udcff", "3", '{"a": 1}'])
def test_json_that_is_cut_short_or_of_no_tool_is_told(text, folder):
    (folder / "a.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert "is no whole JSON" in problem(folder) or "is JSON of no known tool" in problem(folder)


def coco(segmentation, **changes):
    return {
        "images": [{"id": 7, "file_name": "000003.png", "width": 32, "height": 32}],
        "categories": [{"id": 5, "name": "square"}, {"id": 6, "name": "never used"}],
        "annotations": [{"image_id": 7, "category_id": 5, "segmentation": segmentation}],
    } | changes


def column_runs(mask):
    """COCO's plain run lengths, down the columns, unset ones first."""
    flat = mask.T.ravel().tolist()
    return [0] * flat[0] + [len(list(run)) for _, run in itertools.groupby(flat)]


def test_coco_s_outlines_and_run_lengths_plain_and_compressed_are_read(folder):
    is_square = square() == 1
    packed = coco_mask.encode(np.asfortranarray(is_square.astype(np.uint8)))
    for segmentation in (
        [[number for point in SQUARE for number in point]],
        {"size": [32, 32], "counts": column_runs(is_square)},
        {"size": [32, 32], "counts": packed["counts"].decode()},
    ):
        write(folder, "instances.json", coco(segmentation))
        assert np.array_equal(read(folder)[3], square())


def test_compressed_run_lengths_are_those_of_coco_s_own_library():
    rng = np.random.default_rng(1)
    for share in (0.02, 0.5, 0.98):
        mask = rng.random((40, 40)) < share
        packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert np.array_equal(Canvas(40).column_runs(decode_coco_text(packed, 1600)), mask)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (
            coco({"size": [64, 64], "counts": []}),
            "has run lengths of size [64, 64]; its picture is [32",
        ),
        (
            coco({"size": [32, 32], "counts": [5]}),
            "has run lengths of 5 pixels, where 1024 are covered",
        ),
        (
            coco({"size": [32, 32], "counts": [-1, 1025]}),
            "has run lengths that are no counts of pixels",
        ),
        (coco({"size": [32, 32], "counts": [True] * 1024}), "has run lengths that are no counts"),
        (coco({"size": [32, 32], "counts": "PPP~"}), "has compressed run lengths that are damaged"),
        (
            coco({"size": [32, 32], "counts": "o" * 40}),
            "has compressed run lengths that are damaged",
        ),
        (coco({"size": [32, 32], "counts": "P"}), "has compressed run lengths that are cut short"),
        (coco(None), "has an annotation that is neither outlines nor run lengths"),
        (coco([[1, 2, 3, 4, 5]]), "has an outline that is no list of points (x, y)"),
        (
            coco([SQUARE], images=[]),
            "has an annotation of picture 7 and category 5, which it does not",
        ),
        (coco([SQUARE], images=3), "has no list `images`"),
    ],
)
def test_what_is_wrong_with_a_coco_file_is_told_in_a_line(document, message, folder):
    write(folder, "instances.json", document)
    assert problem(folder).startswith(f"{folder}/instances.json: {message}")


def pack_brush(rgba):
    """Label Studio's brush format, literal blocks and runs in turns."""
    bits = [f"{len(rgba):032b}", f"{7:05b}", *(f"{width - 1:04b}" for width in (3, 4, 8, 16))]
    at = 0
    while at < len(rgba):
        run = 1
        while at + run < len(rgba) and rgba[at + run] == rgba[at] and run < 2**16:
            run += 1
        if run > 2:
            bits.append(f"1{3:02b}{run - 1:016b}{rgba[at]:08b}")
        else:
            run = min(2, len(rgba) - at)
            bits.append(f"0{0:02b}{run - 1:03b}" + "".join(f"{v:08b}" for v in rgba[at : at + run]))
        at += run
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def label_studio(kind, value, **changes):
    result = {
        "type": kind,
        "original_width": 32,
        "original_height": 32,
        "value": {kind: ["square"], **value},
    } | changes
    image = "/data/upload/1/ab12cd34-000003.png"
    return [{"data": {"image": image}, "annotations": [{"result": [result]}]}]


def test_label_studio_s_brush_and_outlines_are_read(folder):
    painted = (square() == 1).astype(np.uint8) * 255
    rgba = np.stack([painted, np.roll(painted, 1), painted, painted], axis=2).ravel().tolist()
    write(folder, "export.json", label_studio("brushlabels", {"rle": pack_brush(rgba)}))
    assert np.array_equal(read(folder)[3], square())
    points = [[x * 100 / 32, y * 100 / 32] for x, y in SQUARE]
    write(folder, "export.json", label_studio("polygonlabels", {"points": points}))
    assert np.array_equal(read(folder)[3], square())


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (label_studio("brushlabels", {"rle": []}), "has a brush whose `rle` is cut short"),
        (
            label_studio("brushlabels", {"rle": [0, 0, 1, 0]}),
            "has a brush that is not of its picture's",
        ),
        (
            label_studio("brushlabels", {"rle": [0, 0, 16, 0]}),
            "has a brush whose `rle` is cut short",
        ),
        (
            label_studio("brushlabels", {"rle": [300]}),
            "has a brush whose `rle` is no list of bytes",
        ),
        (label_studio("keypointlabels", {}), "has a shape 'keypointlabels'; polygonlabels and"),
        (label_studio("polygonlabels", {}, original_width=64), "says that 000003 is 64 x 32 px"),
        (
            label_studio("polygonlabels", {"polygonlabels": []}),
            "has a shape 'polygonlabels' without",
        ),
        (
            [{"image": "000003.png"}],
            "has a task without `data` and `annotations`; export it as JSON",
        ),
    ],
)
def test_what_is_wrong_with_a_label_studio_file_is_told_in_a_line(document, message, folder):
    write(folder, "export.json", document)
    assert problem(folder).startswith(f"{folder}/export.json: {message}")


def test_a_brush_cannot_be_longer_than_its_picture():
    whole = pack_brush([255] * (32 * 32 * 4))
    assert decode_brush(whole, 32).all()
    longer = f"{4 * 32 * 32:032b}{7:05b}" + f"{15:04b}" * 4 + f"1{3:02b}{65535:016b}{255:08b}"
    longer += "0" * (-len(longer) % 8)
    packed = [int(longer[at : at + 8], 2) for at in range(0, len(longer), 8)]
    with pytest.raises(ValueError, match="is longer than its picture"):
        decode_brush(packed, 32)


def cvat(inside, size='width="32" height="32"'):
    return f'<annotations><image id="0" name="a/000003.png" {size}>{inside}</image></annotations>'


POLYGON = '<polygon label="square" points="4,6;20,6;20,16;4,16" z_order="0"/>'


def test_cvat_s_polygons_masks_and_boxes_are_drawn_by_z_order(folder):
    mask = '<mask label="core" rle="0, 2, 1, 1" left="8" top="8" width="2" height="2" z_order="2"/>'
    box = '<box label="disc" xtl="8" ytl="8" xbr="10" ybr="10" z_order="1"/>'
    write(folder, "annotations.xml", cvat(mask + box + POLYGON))
    wanted = square()
    wanted[8, 8:10], wanted[9, 8], wanted[9, 9] = 3, 2, 3
    assert np.array_equal(read(folder)[3], wanted)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("<annotations><image", "is no whole XML file; save it again, or remove it"),
        ("<other/>", "is no XML of CVAT; export `CVAT for images`, or masks"),
        (
            '<!DOCTYPE a [<!ENTITY b "c">]><annotations/>',
            "declares a document type, as no file of CVAT",
        ),
        (cvat(POLYGON.replace("square", "cat")), "paints 'cat'; the job's classes are"),
        (cvat(POLYGON.replace("4,6;", "4,x;")), "has 'x' in place of a number"),
        (
            cvat(POLYGON.replace("4,6;", "4,nan;")),
            "has an outline that is no list of points (x, y)",
        ),
        (
            cvat('<polyline label="square" points="1,2"/>'),
            "has a shape 'polyline'; polygon, mask and",
        ),
        (cvat(POLYGON, 'width="9" height="32"'), "says that 000003 is 9 x 32 px; it is 32 x 32"),
        (
            cvat('<mask label="core" rle="4" left="31" top="0" width="2" height="2"/>'),
            "has a mask at (31, 0, 2, 2), outside of its picture of 32 px",
        ),
        (
            cvat('<mask label="core" rle="3" left="0" top="0" width="2" height="2"/>'),
            "has run lengths of 3 pixels, where 4 are covered",
        ),
    ],
)
def test_what_is_wrong_with_a_cvat_file_is_told_in_a_line(document, message, folder):
    write(folder, "annotations.xml", document)
    assert problem(folder).startswith(f"{folder}/annotations.xml: {message}")


def test_cvat_s_exported_masks_are_read_by_the_colours_of_their_label_map(folder):
    truth = exact_masks(small_job(folder).dataset, NUMBERS)[0]
    colours = np.array([[0, 0, 0], [250, 50, 83], [36, 179, 83], [51, 221, 255]], np.uint8)
    (folder / "SegmentationClass").mkdir()
    Image.fromarray(colours[truth]).save(folder / "SegmentationClass" / "000003.png")
    (folder / "SegmentationObject").mkdir()
    Image.fromarray(colours[truth][::-1]).save(folder / "SegmentationObject" / "000003.png")
    rows = ["# label:color_rgb:parts:actions", "ground:0,0,0::", "square:250,50,83::"]
    rows += ["disc:36,179,83::", "core:51,221,255::", "unused:1,2,3::"]
    (folder / "labelmap.txt").write_text("\n".join(rows) + "\n")
    found = read(folder)[3]
    assert np.array_equal(found[truth > 0], truth[truth > 0])
    assert (found[truth == 0] == IGNORE).all(), "what CVAT leaves black was not painted"
    (folder / "labelmap.txt").write_text("square = red\n")
    assert "is no label map" in problem(folder)


def test_a_picture_that_two_tools_painted_is_told(folder):
    write(folder, "annotations.xml", cvat(POLYGON))
    (folder / "000003.mask.png").write_bytes(encode_mask(square()))
    assert problem(folder) == (
        f"{folder}/annotations.xml: paints 000003, as 000003.mask.png does; keep one of them"
    )


def test_too_many_shapes_of_a_picture_are_refused(monkeypatch):
    monkeypatch.setattr("factory.fit.annotations.canvas.MOST_SHAPES", 1)
    canvas = Canvas(32)
    canvas.paint(canvas.polygon(read_points(SQUARE)), 1)
    with pytest.raises(ValueError, match="has more than 1 shapes in one picture"):
        canvas.paint(canvas.polygon(read_points(SQUARE)), 1)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("..\\pictures\\000003.png", "000003"), ("/data/a.b/000003.png?d=1", "000003"), ("a", "a")],
)
def test_a_picture_is_known_by_its_name_alone(name, stem):
    assert stem_of(name) == stem
    with pytest.raises(ValueError, match="names no picture"):
        stem_of(3)


def test_a_picture_without_areas_is_not_painted_yet():
    data = cvat('<tag label="seen"/>').encode()
    assert list(read_cvat(data, CLASSES, 32)) == []


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e308", "2000000"])
@pytest.mark.filterwarnings("error")
def test_a_box_of_cvat_has_corners_that_are_places(number, folder):
    write(folder, "a.xml", cvat(f'<box label="disc" xtl="{number}" ytl="8" xbr="10" ybr="10"/>'))
    assert problem(folder) == f"{folder}/a.xml: has an outline that is no list of points (x, y)"


def test_a_box_of_cvat_that_is_turned_is_drawn_turned(folder):
    # A box of 16 x 10 about (12, 11), turned by a right angle, is one of 10 x 16.
    turned = '<box label="square" xtl="4" ytl="6" xbr="20" ybr="16" rotation="90"/>'
    write(folder, "a.xml", cvat(turned))
    wanted = np.full((32, 32), IGNORE, np.uint8)
    wanted[3:19, 7:17] = 1
    assert np.array_equal(read(folder)[3], wanted)
    clockwise = '<box label="square" xtl="2" ytl="14" xbr="30" ybr="16" rotation="30"/>'
    write(folder, "a.xml", cvat(clockwise))
    rows, columns = np.nonzero(read(folder)[3] == 1)
    assert np.corrcoef(rows, columns)[0, 1] > 0.9, "downwards to the right"
    write(folder, "a.xml", cvat(turned.replace("90", "nan")))
    assert "has a box turned by nan, which is no angle" in problem(folder)


def test_tracks_of_a_video_are_told(folder):
    track = '<annotations><track id="0" label="square"><box frame="0"/></track></annotations>'
    write(folder, "a.xml", track)
    assert "a.xml: holds tracks of a video; export `CVAT for images`, or masks" in problem(folder)


def test_a_project_of_coco_may_list_far_more_pictures_than_are_painted(folder, monkeypatch):
    document = coco([[4, 6, 20, 6, 20, 16, 4, 16]])
    first = document["images"][0]
    document["images"] += [first | {"id": number} for number in range(100, 5000)]
    made = []
    monkeypatch.setattr(json_files, "Canvas", lambda side: made.append(Canvas(side)) or made[-1])
    write(folder, "coco.json", document)
    assert np.array_equal(read(folder)[3], square())
    assert len(made) == 1, "memory for those that are painted only"


def test_two_pictures_of_coco_with_one_id_are_told(folder):
    document = coco([[4, 6, 20, 6, 20, 16, 4, 16]])
    document["images"] *= 2
    write(folder, "coco.json", document)
    assert "coco.json: lists two pictures with id " in problem(folder)


def test_outlines_of_one_annotation_are_added_one_by_one_and_counted(folder, monkeypatch):
    parts = [[4, 6, 20, 6, 20, 11, 4, 11], [4, 11, 20, 11, 20, 16, 4, 16]]
    canvas = Canvas(32)
    assert np.array_equal(canvas.polygons(parts), square() == 1)
    monkeypatch.setattr("factory.fit.annotations.canvas.MOST_SHAPES", 50)
    write(folder, "coco.json", coco(parts * 30))
    assert "has more than 50 shapes in one picture" in problem(folder)


def test_compressed_run_lengths_longer_than_their_picture_are_not_unpacked():
    assert decode_coco_text("0" * 7 * 1025, 1024) == [0] * 7 * 1025
    with pytest.raises(ValueError, match="that are longer than their picture"):
        decode_coco_text("0" * (7 * 1025 + 1), 1024)


def test_a_rectangle_of_four_corners_is_an_outline(folder):
    shape = {"label": "square", "shape_type": "rectangle", "points": SQUARE}
    write(folder, "000003.json", labelme(shapes=[shape]))
    assert np.array_equal(read(folder)[3], square())


def test_pictures_of_label_studio_s_local_storage_are_known(folder):
    points = [[x * 100 / 32, y * 100 / 32] for x, y in SQUARE]
    tasks = label_studio("polygonlabels", {"points": points})
    tasks[0]["data"]["image"] = "/data/local-files/?d=painted%2Fpictures%2F000003.png"
    write(folder, "export.json", tasks)
    assert np.array_equal(read(folder)[3], square())


def test_what_label_studio_asks_of_a_whole_picture_is_no_shape(folder):
    points = [[x * 100 / 32, y * 100 / 32] for x, y in SQUARE]
    tasks = label_studio("polygonlabels", {"points": points})
    results = tasks[0]["annotations"][0]["result"]
    results.append({"type": "choices", "value": {"choices": ["good"]}})
    write(folder, "export.json", tasks)
    assert np.array_equal(read(folder)[3], square())
    results[0]["image_rotation"] = 90
    write(folder, "export.json", tasks)
    assert "has shapes of a picture that was turned" in problem(folder)


@pytest.mark.parametrize("name", ["000003.jpg", "masks/000003_mask.tif", "000003.npy"])
def test_a_mask_in_another_format_is_not_left_out_silently(name, folder):
    write(folder, name, "x")
    assert problem(folder) == (
        f"{folder}/{name}: is named as a mask, and is no PNG; save it as PNG, or remove it"
    )


def test_what_is_no_picture_is_told_in_words(folder):
    (folder / "masks").mkdir()
    file = folder / "masks" / "000003.png"
    file.write_bytes(b"BM of another format")
    assert problem(folder) == f"{file}: not a whole image (no PNG, WebP or JPEG)"
    file.write_bytes(encode_mask(square())[:-20])
    assert problem(folder) == f"{file}: not a whole image (cut short)"
