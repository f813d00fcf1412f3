"""What went wrong far away, told from the errors that Ray wraps around it. It does not know Ray."""

from factory.errors import FactoryError, JobError


def constructor_error(error: Exception) -> Exception:
    """What a worker raised while it was being built: wrong for one, wrong for all."""
    cause = error.__cause__ or error.__context__
    text = str(error)
    if isinstance(cause, FactoryError):
        return cause
    lines = [line for line in text.splitlines() if line.strip()]
    for line in reversed(lines):
        kind, _, message = line.strip().partition(": ")
        name = kind.rsplit(".", 1)[-1]
        if name.endswith("Error") and kind.startswith("factory.errors."):
            return _ERRORS.get(name, FactoryError)(message)
    return FactoryError(f"a worker could not start: {lines[-1] if lines else 'no message'}")


_ERRORS: dict[str, type[FactoryError]] = {
    kind.__name__: kind for kind in [*JobError.__subclasses__(), *FactoryError.__subclasses__()]
}


def reason_of_death(error: BaseException) -> str:
    """Why an actor is gone, as far as Ray knows: it cannot tell a kill from a lack of memory."""
    if "SIGKILL" in str(error) or "OOM" in str(error):
        return "killed, or out of memory"
    return type(error).__name__
