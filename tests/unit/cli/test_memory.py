"""Errors of a limited address space are told apart from others, also where only their text does."""

import errno
import resource
import subprocess
import sys

import pytest
import torch

from factory.cli.memory import explain_address_space, wants_memory


def error_of(call):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever the library raises
        call()
    return caught.value


def test_what_the_installed_torch_says_when_memory_runs_out_is_known():
    error = error_of(lambda: torch.empty(2**46))
    assert type(error) is RuntimeError, "if it has a class of its own, read that, and not its text"
    assert wants_memory(error)
    assert wants_memory(torch.OutOfMemoryError("of a GPU"))


def test_what_the_installed_python_says_when_no_thread_can_start_is_known():
    code = (
        "import resource, threading\n"
        "from factory.cli.memory import explain_address_space\n"
        "threading.stack_size(2**28)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**28, 2**28))\n"
        "try:\n    threading.Thread(target=print).start()\n"
        "except RuntimeError as error:\n    print(explain_address_space(error))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == (
        "out of memory: this process may use 256 MiB of addresses (ulimit -v): "
        "can't start new thread; raise the limit, or lift it with `ulimit -v unlimited`\n"
    )


def test_other_errors_of_torch_and_of_files_are_not_of_memory():
    assert not wants_memory(error_of(lambda: torch.ones(2) @ torch.ones(3)))
    assert not wants_memory(RuntimeError("a job cannot allocate its classes"))
    assert not wants_memory(FileNotFoundError(errno.ENOENT, "gone"))
    assert wants_memory(OSError(errno.ENOMEM, "no memory"))
    assert wants_memory(MemoryError())


def test_without_a_limit_nothing_is_explained_by_it():
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert explain_address_space(MemoryError()) == ""
