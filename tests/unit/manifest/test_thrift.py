"""Thrift's compact structs: what is read of them, and what is refused."""

import pytest

from factory.manifest.thrift import ThriftReader


def read(data: bytes) -> dict:
    return ThriftReader(data, 0, len(data)).read_struct()


def test_numbers_lists_and_structs_are_read_and_texts_passed_over() -> None:
    data = bytes(
        [
            *(0x15, 0x06),  # field 1: an integer, 3
            *(0x15, 0x05),  # field 2: -3
            *(0x18, 0x02, 0x61, 0x62),  # field 3: a text
            *(0x11,),  # field 4: true
            *(0x19, 0x25, 0x02, 0x80, 0x01),  # field 5: a list of 1 and 64
            *(0x1C, 0x12, 0x00),  # field 6: a struct with field 1: false
            *(0x05, 0x50, 0x00),  # field 40, given in full: 0
            *(0x17, 1, 2, 3, 4, 5, 6, 7, 8),  # field 41: a double
            *(0x19, 0x12, 0x01),  # field 42: a list of one boolean
            0x00,
        ]
    )
    reader = ThriftReader(data + b"more", 0, len(data) + 4)
    assert reader.read_struct() == {
        1: 3,
        2: -3,
        3: None,
        4: True,
        5: [1, 64],
        6: {1: False},
        40: 0,
        41: None,
        42: [None],
    }
    assert reader.place == len(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "no end": b"\x15\x02",
        "a number that never ends": b"\x15" + b"\xff" * 20,
        "a text beyond the end": b"\x18\xff\xff\x03a\x00",
        "a list beyond the end": b"\x19\xf5\xff\xff\xff\x0f\x00",
        "a map": b"\x1b\x00\x00",
        "nested without end": b"\x1c" * 1000,
        "lists in lists without end": b"\x19" * 1000,
        "more values than a footer has": b"\x19\xf3" + b"\x80\x80\x10" + bytes(2**18) + b"\x00",
    }.items(),
    ids=lambda pair: pair[0],
)
def test_what_is_damaged_or_endless_is_refused(data: tuple[str, bytes]) -> None:
    with pytest.raises(ValueError, match="a damaged header at byte"):
        read(data[1])
