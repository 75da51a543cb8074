"""Beside other programs, threads wait without spinning, for which the program starts itself anew."""
import contextlib
import os
import pathlib
import subprocess

import pytest

import cli_program

CORES = len(os.sched_getaffinity(0))


@contextlib.contextmanager
def busy_cpu():
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(2 * os.cpu_count())]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def starts(**environment):
    """How often OpenMP's runtime was loaded, which tells of it on stderr."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    finished = subprocess.run([cli_program.PROGRAM, "--version"], capture_output=True, text=True, timeout=60,
                              env=inherited | {"OMP_DISPLAY_ENV": "TRUE"} | environment)
    assert finished.returncode == 0 and finished.stdout.count("\n") == 1
    return finished.stderr.count("OPENMP DISPLAY ENVIRONMENT BEGIN")


@pytest.mark.skipif(CORES < 2, reason="one core has one thread")
def test_starts_anew_where_other_programs_keep_the_cores_busy():
    with busy_cpu():
        assert starts(OMP_NUM_THREADS=str(CORES)) == 2


@pytest.mark.parametrize("environment", [{"OMP_NUM_THREADS": "1"}, {"OMP_WAIT_POLICY": "ACTIVE"},
                                         {"GOMP_SPINCOUNT": "1000"}], ids=["one thread", "a policy", "a count"])
def test_stays_if_the_environment_says_how_to_wait_or_nothing_waits(environment):
    with busy_cpu():
        assert starts(**{"OMP_NUM_THREADS": str(CORES)} | environment) == 1


def test_started_by_the_dynamic_loader():
    """Whose name /proc/self/exe then has: it would be started anew, and not the program."""
    loader = next(iter(sorted(pathlib.Path("/lib64").glob("ld-linux-*.so.*"))), None)
    if loader is None:
        pytest.skip("no dynamic loader where x86-64 has it")
    inherited = {key: value for key, value in os.environ.items() if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    plain = subprocess.run([cli_program.PROGRAM, "--version"], capture_output=True, text=True, timeout=60)
    with busy_cpu():
        loaded = subprocess.run([loader, cli_program.PROGRAM, "--version"], capture_output=True, text=True, timeout=60,
                                env=inherited | {"OMP_NUM_THREADS": str(CORES)})
    assert loaded.returncode == 0 and loaded.stdout == plain.stdout
