"""Costs: arithmetic on an estimate."""

import dataclasses

import pytest
from small_job import small_job

from factory.errors import JobError
from factory.run.estimate import Estimate
from factory.run.price import Prices, price_job, read_prices

ESTIMATE = Estimate(
    name="x", output_uri="out", num_samples=2000, num_shards=8, num_done=1000, num_actors=4,
    resolution_px=64, pairs_per_s=10.0, bytes_in_all=200_000_000, seconds_left=25.0, accepted_share=1.0,
    passes_per_pair=1.0, seconds_per_pair=0.1, search_bytes=0, fit_s=0.0, targets=(),
    warnings=(), device="cpu", worker_bytes=None, gpu_bytes=None,
    workers_per_gpu=None,
)  # fmt: skip
PRICES = Prices(gpu_hour=2.0, cpu_hour=0.1, gb_month=0.02, put_1000=0.005)


def cost(tmp_path, **run):
    settings = {f"run.{name}": value for name, value in run.items()}
    return price_job(
        small_job(tmp_path, {"dataset.samples_per_shard": 250, **settings}), ESTIMATE, PRICES
    )


def test_a_core_makes_36000_pairs_an_hour_at_a_tenth_of_a_second(tmp_path):
    found = cost(tmp_path)
    assert (found.pairs, found.pairs_per_gpu_hour) == (1000, None)
    assert found.pairs_per_cpu_hour == pytest.approx(36_000)
    assert found.compute == pytest.approx(1000 * 0.1 / 3600 * 0.1)


def test_auto_is_the_device_that_was_measured(tmp_path):
    """Whatever devices this machine has: PyTorch may not be able to compute on its GPU."""
    spec = small_job(tmp_path, {"run.gpus_per_actor": "auto"})
    assert price_job(spec, ESTIMATE, PRICES).pairs_per_gpu_hour is None
    on_gpu = dataclasses.replace(ESTIMATE, device="NVIDIA H200", gpu_bytes=2**31)
    found = price_job(spec, on_gpu, PRICES)
    assert found.pairs_per_gpu_hour == pytest.approx(36_000)
    assert found.compute == pytest.approx(1000 * 0.1 / 3600 * (2.0 + 0.1))


def test_two_workers_on_a_gpu_make_twice_as_many_pairs_of_it(tmp_path):
    found = cost(tmp_path, gpus_per_actor=0.5, threads_per_actor=2)
    assert found.pairs_per_gpu_hour == pytest.approx(72_000)
    assert found.pairs_per_cpu_hour == pytest.approx(18_000)
    assert found.compute == pytest.approx(1000 * 0.1 / 3600 * (1.0 + 0.2))


def test_bytes_and_requests_of_a_million(tmp_path):
    found = cost(tmp_path)
    assert found.bytes_per_million == 100_000 * 10**6
    assert found.storage_month == pytest.approx(0.2 * 0.02)
    assert found.requests == pytest.approx(1000 / 250 * 3 * 0.005 / 1000)  # 25 MB: one request each
    assert found.per_million == pytest.approx((found.compute + found.requests) * 1000)


def test_a_tar_in_parts_takes_a_request_each_and_two_more(tmp_path):
    spec = small_job(tmp_path, {"dataset.samples_per_shard": 1000})  # 100 MB: two parts of 64 MiB
    found = price_job(spec, ESTIMATE, PRICES)
    assert found.requests == pytest.approx(1 * (2 + 2 + 2) * 0.005 / 1000)


def test_what_was_not_measured_is_unknown(tmp_path):
    blind = dataclasses.replace(ESTIMATE, seconds_per_pair=None, bytes_in_all=None)
    found = price_job(small_job(tmp_path), blind, PRICES)
    assert dataclasses.asdict(found) == {
        "pairs": 1000, "pairs_per_gpu_hour": None, "pairs_per_cpu_hour": None, "bytes_per_million": None,
        "compute": None, "requests": None, "storage_month": None, "per_million": None,
    }  # fmt: skip


def test_prices_stand_in_one_text_or_several():
    assert read_prices(["gpu_hour=2, cpu_hour=0.1", "put_1000=0.005"]) == Prices(
        2.0, 0.1, 0.0, 0.005
    )


@pytest.mark.parametrize(
    "text", ["", "gpu_hour", "gpu=1", "gpu_hour=-1", "gpu_hour=nan", "gpu_hour=1e9"]
)
def test_what_is_no_price_is_refused(text):
    with pytest.raises(
        JobError, match=r"--price: found .*; NAME=PRICE with one of gpu_hour, cpu_hour"
    ):
        read_prices([text])


def test_a_price_is_given_once():
    with pytest.raises(JobError, match="gives gpu_hour twice"):
        read_prices(["gpu_hour=1,gpu_hour=2"])
