"""The scripts that are submitted for each job, compared with expected ones; no scheduler is needed."""

import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("dask_jobqueue")

from micro_sam.distributed.clusters import Cluster, job_script
from micro_sam.distributed.options import ClusterOptions

ASKED = {
    "workers": 8,
    "cores": 8,
    "memory": "64GB",
    "gpus": 4,
    "queue": "gpu",
    "walltime": "1-02:00:00",
    "job_script_prologue": ("module load cuda", "conda activate sam"),
}

HEADERS = {
    "slurm": """\
#SBATCH -J micro_sam
#SBATCH -p gpu
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=60G
#SBATCH -t 1-02:00:00
#SBATCH --gres=gpu:4
#SBATCH EXTRA""",
    "lsf": """\
#BSUB -J micro_sam
#BSUB -q gpu
#BSUB -n 8
#BSUB -R "span[hosts=1]"
#BSUB -M 64000000
#BSUB -W 26:00
#BSUB -gpu "num=4"
#BSUB EXTRA""",
    "pbs": """\
#PBS -N micro_sam
#PBS -q gpu
#PBS -l select=1:ncpus=8:mem=64gb:ngpus=4
#PBS -l walltime=26:00:00
#PBS EXTRA""",
    "sge": """\
#$ -N micro_sam
#$ -q gpu
#$ -l h_vmem=8192M,gpu=4
#$ -l h_rt=26:00:00
#$ -cwd
#$ -j y
#$ -pe smp 8
#$ EXTRA""",
}

REST = """
export OMP_NUM_THREADS=2
export MKL_NUM_THREADS=2
export OPENBLAS_NUM_THREADS=2
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False
export DASK_DISTRIBUTED__ADMIN__TICK__INTERVAL=1s
module load cuda
conda activate sam
export DASK_DISTRIBUTED__WORKER__LIFETIME__DURATION=93300s
export DASK_DISTRIBUTED__WORKER__LIFETIME__STAGGER=150s
PYTHON -m distributed.cli.dask_worker tcp://SCHEDULER:PORT --name NAME --nthreads 2 --memory-limit 14.90GiB \
--nworkers 4 --nanny --death-timeout 60 --nthreads 1 --no-dashboard
"""


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch):
    """Neither files of this machine (lsf.conf) nor dask-cuda change the scripts."""
    monkeypatch.delenv("LSF_ENVDIR", raising=False)
    monkeypatch.delenv("LSF_CONFDIR", raising=False)


@pytest.mark.parametrize("scheduler", HEADERS)
def test_job_script_asks_for_what_the_user_asked_for(scheduler):
    script = job_script(ClusterOptions(scheduler=scheduler, **ASKED, job_extra=("EXTRA",)))
    expected = "#!/usr/bin/env bash\n\n" + HEADERS[scheduler] + REST.replace("PYTHON", sys.executable)
    assert script == expected


@pytest.mark.parametrize("scheduler", HEADERS)
def test_job_without_gpus_or_walltime_names_neither(scheduler):
    script = job_script(ClusterOptions(scheduler=scheduler, workers=3, cores=2, memory="8GB"))
    assert "gpu" not in script and "LIFETIME" not in script and "--nworkers" not in script
    assert "export OMP_NUM_THREADS=2" in script
    memory = {"slurm": "--mem=8G", "lsf": "-M 8000000", "pbs": "mem=8gb", "sge": "h_vmem=4096M"}[scheduler]
    assert memory in script


def test_with_dask_cuda_its_workers_are_started(monkeypatch):
    real = __import__("importlib").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if name == "dask_cuda" else real(name))
    script = job_script(ClusterOptions(scheduler="slurm", **ASKED))
    assert f"{sys.executable} -m dask cuda worker tcp://SCHEDULER:PORT" in script
    assert "--nworkers" not in script and "--nanny" not in script and "--lifetime" not in script


class Jobs:
    """In place of a cluster of dask-jobqueue: two jobs of two workers."""

    def __init__(self) -> None:
        self.worker_spec = {"job-0": {"group": ["-0", "-1"]}, "job-1": {"group": ["-0", "-1"]}}
        self.asked: list[int] = []

    def scale(self, jobs: int) -> None:
        self.asked.append(jobs)
        while len(self.worker_spec) < jobs:
            self.worker_spec[f"job-{len(self.asked) + 1}"] = {"group": ["-0", "-1"]}


def test_jobs_that_ended_are_submitted_again_and_those_that_wait_are_not():
    names = ["job-0-0", "job-0-1"]  # job-1 waits in the queue
    client = SimpleNamespace(scheduler_info=lambda n_workers: {"workers": {n: {"name": n} for n in names}})
    jobs = Jobs()
    cluster = Cluster(client, jobs, ClusterOptions(scheduler="slurm", workers=4, gpus=2))
    cluster.refill()
    names.clear()  # its time is over, or its workers are started anew
    cluster.refill()
    assert set(jobs.worker_spec) == {"job-0", "job-1"}
    names.append("job-0-1")
    cluster.refill()
    names.clear()
    cluster.refill(), cluster.refill()
    assert "job-0" not in jobs.worker_spec and "job-1" in jobs.worker_spec and len(jobs.worker_spec) == 2
    assert jobs.asked == [2] * 5
