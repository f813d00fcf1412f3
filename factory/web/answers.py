"""Error responses, in the same form everywhere: `{"error": "where: found; allowed"}`."""

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


def refuse(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """An error response with a status and a message."""
    return JSONResponse({"error": error}, status, headers)


async def on_http_error(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Exception handler for Starlette's `HTTPException`: its message as an error response."""
    assert isinstance(error, HTTPException)  # it is registered for this one
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def first_problem(error: ValidationError) -> str:
    """The first validation error of a query or a body, in one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"])) or "body"
    # Of our own validators: pydantic puts a prefix before their text.
    ours = problem.get("ctx", {}).get("error")
    rule = str(ours) if isinstance(ours, ValueError) else problem["msg"]
    return f"{where}: {rule[0].lower()}{rule[1:]}"
