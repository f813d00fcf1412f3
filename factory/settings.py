"""What every part of a job file is: frozen, and strict about its keys."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen part of the job file that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
