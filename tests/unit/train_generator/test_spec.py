import pytest
from pictures import small_spec

from factory.errors import JobError


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"network.resolution": 24}, "network.resolution: must be a power of two (got 24)"),
        (
            {"network.channel_max": 6},
            "network.channel_max: input should be a multiple of 4 (got 6)",
        ),
        (
            {"network.channel_base": 8},
            "network.channel_base: input should be a multiple of 16 (got 8)",
        ),
        (
            {"network.channel_base": 16, "network.resolution": 32},
            "network.channel_base is 16; it must be at least network.resolution, which is 32",
        ),
        (
            {"schedule.start_resolution": 16},
            "schedule.start_resolution must be 0 or a power of two from 8 to network.resolution",
        ),
        (
            {
                "network.resolution": 16,
                "network.initial": "shipped:blood_cells",
                "schedule.start_resolution": 8,
            },
            "network.initial is a generator of full size; schedule.start_resolution must be 0",
        ),
        (
            {"schedule.batch_size": 6},
            "schedule.batch_size: input should be a multiple of 4 (got 6)",
        ),
    ],
)
def test_settings_that_cannot_be_are_told(tmp_path, overrides, words):
    with pytest.raises(JobError) as caught:
        small_spec(tmp_path, tmp_path, overrides)
    assert words in str(caught.value)
