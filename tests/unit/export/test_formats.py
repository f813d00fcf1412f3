import inspect
import re

from factory.cli.export import export
from factory.export.formats import FORMATS


def test_the_command_s_help_names_every_format_and_all_say_what_they_are():
    (about,) = inspect.signature(export).parameters["layout"].annotation.__metadata__
    names = set(re.findall(r"`([a-z-]+)`", about.help))
    assert names == {"coco", *FORMATS}
    assert all(one.help for one in FORMATS.values())
