"""GPUs by NVML: a library of the same functions, compiled here, stands for NVIDIA's. No GPU takes part."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lepton_kit.machine import gpus, nvml
from lepton_kit.machine.nvml import Gpu

FAKE = r"""
#include <stdio.h>
#include <string.h>
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
typedef struct { unsigned int pid; unsigned long long used; unsigned int a, b; } process_t;
static int numbers[2] = {0, 1};
int nvmlInit_v2(void) { return REFUSAL; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int k, void **handle) { *handle = &numbers[k]; return 0; }
int nvmlDeviceGetName(void *handle, char *name, unsigned int length) {
  snprintf(name, length, "Fake %d", *(int *)handle); return 0; }
int nvmlDeviceGetUUID(void *handle, char *name, unsigned int length) {
  snprintf(name, length, "GPU-%d%d", *(int *)handle, *(int *)handle); return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, memory_t *memory) {
  if (*(int *)handle) return 3;
  memory->total = 16000000000ull; memory->free = 6000000000ull; memory->used = 10000000000ull; return 0; }
int nvmlDeviceGetUtilizationRates(void *handle, utilization_t *rates) { rates->gpu = 25; rates->memory = 5; return *(int *)handle ? 3 : 0; }
#ifdef PROCESSES
int nvmlDeviceGetTotalEnergyConsumption(void *handle, unsigned long long *counted) {
  *counted = 123456ull; return *(int *)handle ? 3 : 0; }
int nvmlDeviceGetComputeRunningProcesses_v3(void *handle, unsigned int *count, process_t *found) {
  memset(found, 0, sizeof(process_t) * 2);
  found[0].pid = 41; found[0].used = 5000; found[1].pid = 42; found[1].used = ~0ull; *count = 2; return 0; }
int nvmlDeviceGetCpuAffinity(void *handle, unsigned int size, unsigned long *set) {
  memset(set, 0, size * sizeof(long)); set[0] = 3; set[1] = 1; return 0; }
#endif
"""


def library(folder: Path, *settings: str) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("g++")
    assert compiler, "set-up needs a compiler"
    (folder / "fake.c").write_text(FAKE)
    made = folder / "libfake-nvml.so"
    command = [compiler, "-shared", "-fPIC", *settings, "-x", "c", str(folder / "fake.c"), "-o", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return str(made)


def test_what_the_library_tells_is_read_and_what_it_does_not_stays_unknown(tmp_path: Path):
    found = nvml.read(library(tmp_path, "-DREFUSAL=0", "-DPROCESSES"))
    processes = {41: 5000, 42: None}
    assert found == [
        Gpu(0, "Fake 0", "GPU-00", 16 * 10**9, 6 * 10**9, 0.25, processes, (0, 1, 64), 123456),
        Gpu(1, "Fake 1", "GPU-11", None, None, None, processes, (0, 1, 64)),
    ]


def test_an_older_library_without_some_functions_is_read_too(tmp_path: Path):
    found = nvml.read(library(tmp_path, "-DREFUSAL=0"))
    assert found is not None
    assert [(one.processes, one.cores, one.millijoules) for one in found] == [(None, (), None)] * 2


def test_a_library_that_is_missing_refuses_or_is_another_has_no_gpus(tmp_path: Path):
    assert nvml.read(library(tmp_path, "-DREFUSAL=9")) is None
    assert nvml.read(str(tmp_path / "nothing.so")) is None
    assert nvml.read("libc.so.6") is None


TWO = [Gpu(0, "a", "GPU-1a"), Gpu(1, "b", "GPU-2b")]


@pytest.mark.parametrize(
    ("setting", "numbers"),
    [
        (None, [0, 1]),
        ("", []),
        ("-1", []),
        ("1", [1]),
        ("1,0", [0, 1]),
        ("GPU-2", [1]),
        ("0,7,1", [0]),
        ("NoDevFiles", []),
        ("GPU-", []),
        ("1,1", [1]),
        (" 0 , GPU-1a", [0]),
    ],
)
def test_the_environment_hides_gpus(setting: str | None, numbers: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nvml, "read", lambda: TWO)
    environment = {} if setting is None else {"CUDA_VISIBLE_DEVICES": setting}
    assert [one.number for one in gpus.found(environment)] == numbers


def test_the_cpu_stands_in_for_as_many_gpus_as_are_asked_for():
    assert [one.number for one in gpus.found({"LEPTON_GPU_STAND_IN": "2"})] == [0, 1]
    assert gpus.stand_ins({"LEPTON_GPU_STAND_IN": "many"}) == 0
