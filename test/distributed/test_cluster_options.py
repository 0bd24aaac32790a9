"""What a user may ask of a cluster, and the sentences for what cannot be."""

import re

import pytest
from pydantic import ValidationError

from micro_sam.cli.automatic_segmentation import main as segment
from micro_sam.cli.precompute_embeddings import main as precompute
from micro_sam.distributed.options import ClusterOptions, Part
from micro_sam.errors import InputError, as_input_error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scheduler": "slrum"}, "no scheduler 'slrum'.*slurm.*tcp://"),
        ({"scheduler": "tcp://node"}, "no scheduler 'tcp://node'"),
        ({"scheduler": "local", "workers": 0}, "--workers must be 1 or more"),
        ({"scheduler": "local", "gpus": -1}, "--gpus must be 1 or more"),
        ({"scheduler": "slurm", "memory": "much"}, "--memory 'much'.*16GB"),
        ({"scheduler": "slurm", "walltime": "tomorrow"}, "--walltime 'tomorrow'.*HH:MM:SS"),
        ({"scheduler": "slurm", "walltime": "00:00:00"}, "--walltime"),
        ({"scheduler": "local", "queue": "gpu"}, "--queue belongs to jobs"),
        ({"scheduler": "tcp://node:8786", "gpus": 2}, "--gpus cannot be chosen for a scheduler that runs already"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(options, words):
    with pytest.raises(ValidationError) as caught:
        ClusterOptions(**options)
    assert re.search(words, str(as_input_error(caught.value, "--")))


def test_there_is_one_worker_for_each_gpu_and_as_many_jobs_as_that_takes():
    assert ClusterOptions(scheduler="slurm", workers=10, gpus=4).jobs == 3
    assert ClusterOptions(scheduler="slurm", gpus=4).jobs == 1
    assert ClusterOptions(scheduler="slurm", workers=10).jobs == 10


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "", "-1/3"])
def test_a_part_that_does_not_exist_is_refused(text):
    with pytest.raises(InputError, match="--part"):
        Part.parse(text)


@pytest.mark.parametrize(("number", "count", "group"), [(10, 3, 1), (10, 16, 1), (37, 4, 8), (0, 2, 1), (5, 1, 2)])
def test_parts_share_everything_out_and_files_have_one_writer(number, count, group):
    things = list(range(number))
    shares = [Part(k, count).of(things, group) for k in range(1, count + 1)]
    assert [thing for share in shares for thing in share] == things
    files = [{thing // group for thing in share} for share in shares]
    assert all(not a & b for k, a in enumerate(files) for b in files[:k])


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--workers", "0"], "--workers belongs to a cluster: say which with --scheduler"),
        (["--workers", "2"], "--workers belongs to a cluster: say which with --scheduler"),
        (["--scheduler", "local", "--part", "1/2"], "leave one of them out"),
        (["--scheduler", "nowhere"], "no scheduler 'nowhere'"),
        (["--scheduler", "slurm", "--walltime", "1h"], "--walltime '1h'"),
    ],
)
@pytest.mark.parametrize("command", [precompute, segment])
def test_commands_refuse_before_anything_is_read(command, more, words, capsys, tmp_path):
    assert command(["-i", str(tmp_path / "no.tif"), "-o", str(tmp_path / "out.tif"), *more]) == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch, capsys, tmp_path):
    real = __import__("importlib").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "dask_jobqueue" else real(name))
    assert precompute(["-i", "no.tif", "-o", str(tmp_path / "out"), "--scheduler", "slurm"]) == 2
    assert "dask_jobqueue" in (said := capsys.readouterr().err) and "pip install 'micro_sam[cluster]'" in said
