"""Answers that say why there is no other: `{"error": "where: found; allowed"}`, the same everywhere."""

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def refuse(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """The answer with a status, and why."""
    return JSONResponse({"error": error}, status, headers)


async def refuse_as_told(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Starlette's handler of `HTTPException`: its words, in the form of `refuse`."""
    assert isinstance(error, HTTPException)  # it is registered for this one
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def first_problem(error: ValidationError) -> str:
    """The first of the problems that pydantic has with a query or a body, in one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"])) or "body"
    ours = problem.get("ctx", {}).get("error")  # a rule of ours, to whose text pydantic adds words
    rule = str(ours) if isinstance(ours, ValueError) else problem["msg"]
    return f"{where}: {rule[0].lower()}{rule[1:]}"
