import json
from pathlib import Path

from small_job import small_job

from factory.cli.schemas import make_schemas, write_schemas

FOLDER = Path(__file__).parents[3] / "schemas"


def test_the_schemas_that_are_kept_are_those_of_the_types():
    kept = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    assert kept == make_schemas(), "run `factory schema`"


def test_every_setting_is_described():
    job = json.loads(make_schemas()["job.schema.json"])
    for model in (job, *job["$defs"].values()):
        for name, setting in model["properties"].items():
            assert setting.get("description"), name
        assert model["additionalProperties"] is False


def test_only_what_changed_is_written(tmp_path):
    names = sorted(make_schemas())
    assert sorted(write_schemas(tmp_path / "schemas")) == names
    assert write_schemas(tmp_path / "schemas") == []
    (tmp_path / "schemas" / names[0]).write_text("stale")
    assert write_schemas(tmp_path / "schemas") == [names[0]]


def test_a_job_s_json_fits_the_names_of_its_schema(tmp_path):
    job = json.loads(make_schemas()["job.schema.json"])
    assert set(small_job(tmp_path).model_dump()) == set(job["properties"])
