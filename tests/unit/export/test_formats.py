from factory.cli.export import ExportFormat
from factory.export.formats import FORMATS


def test_the_command_offers_every_format_and_no_other():
    assert {name.value for name in ExportFormat} == {"coco", *FORMATS}
    assert all(one.help for one in FORMATS.values())
