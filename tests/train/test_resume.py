"""A run that is killed and continued is the run that was not."""

import random
import shutil
import signal

import pytest
from ranks import RanksFailed, run_ranks
from runs import read_steps, write_run

from vl.checkpoints.consolidate import consolidate
from vl.train.checkpoint_folder import list_checkpoints


def fit(file, *words):
    from vl.train.cli import main

    main(["fit", "--config", str(file), *words])


def parallel(ranks, strategy="ddp"):
    return [f"--trainer.strategy={strategy}", f"--trainer.devices={ranks}"] if ranks > 1 else []


def kill(**arguments):
    return {"class_path": "runs.Kill", "init_args": arguments}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The steps of uninterrupted runs, by number of ranks."""
    folder, steps = tmp_path_factory.mktemp("whole"), {}
    for ranks in (1, 2):
        file = write_run(folder / str(ranks))
        run_ranks(fit, file, *parallel(ranks), ranks=ranks)
        steps[ranks] = read_steps(folder / str(ranks))
    return steps


def test_global_batches_do_not_depend_on_ranks(whole):
    assert [sorted(keys) for _, keys in whole[1].values()] == [sorted(keys) for _, keys in whole[2].values()]
    assert [keys for _, keys in whole[1].values()] == [keys for _, keys in whole[2].values()]
    assert len({key for _, keys in whole[1].values() for key in keys}) == 64


@pytest.mark.parametrize("ranks", [1, 2])
def test_killed_at_a_random_step_and_resumed(tmp_path, whole, ranks):
    step = random.randint(3, 7)
    file = write_run(tmp_path, kill(step=step, rank=ranks - 1))
    with pytest.raises(RanksFailed) as failed:
        run_ranks(fit, file, *parallel(ranks), ranks=ranks)
    assert failed.value.errors[ranks - 1] == "ended with exit code -9"
    assert max(read_steps(tmp_path)) in (step - 1, step)  # the log is written on rank 0, which the news may reach first
    run_ranks(fit, write_run(tmp_path), "--ckpt_path=last", *parallel(ranks), ranks=ranks)
    assert read_steps(tmp_path) == whole[ranks], f"killed after step {step}"


@pytest.mark.parametrize(
    ("before", "after", "strategy"), [(1, 2, "ddp"), pytest.param(2, 1, "fsdp2", marks=pytest.mark.slow)]
)
def test_resumed_with_other_ranks(tmp_path, whole, before, after, strategy):
    file = write_run(tmp_path)
    run_ranks(fit, file, "--trainer.max_steps=4", *parallel(before, strategy), ranks=before)
    alone = ["--trainer.strategy=fsdp2", "--trainer.devices=1"] if strategy == "fsdp2" else parallel(after)
    run_ranks(fit, file, "--ckpt_path=last", *alone, ranks=after)
    assert [keys for _, keys in read_steps(tmp_path).values()] == [keys for _, keys in whole[1].values()]


def test_a_sharded_checkpoint_made_one_file_resumes_on_one_process_elsewhere(tmp_path, whole):
    here, there = tmp_path / "here", tmp_path / "there"
    run_ranks(fit, write_run(here), "--trainer.max_steps=4", *parallel(2, "fsdp2"), ranks=2)
    one = consolidate(here / "run/checkpoints/step_00000004.ckpt", tmp_path / "one.ckpt")
    shutil.rmtree(here / "run")
    here.rename(there)
    run_ranks(fit, write_run(there), f"--ckpt_path={one}", ranks=1)
    assert [keys for _, keys in read_steps(there).values()] == [keys for _, keys in whole[1].values()][4:]


def test_kill_during_a_save_leaves_the_checkpoint_before(tmp_path, whole):
    file = write_run(tmp_path, kill(step=6, saving=True))
    with pytest.raises(RanksFailed, match="ended with exit code -9"):
        run_ranks(fit, file, ranks=1)
    folder = tmp_path / "run/checkpoints"
    assert [path.name for path in list_checkpoints(folder)] == ["step_00000002.ckpt", "step_00000004.ckpt"]
    assert (folder / "step_00000006.ckpt.tmp").exists()
    run_ranks(fit, write_run(tmp_path), "--ckpt_path=last", ranks=1)
    assert read_steps(tmp_path) == whole[1]
    assert sorted(path.name for path in folder.iterdir()) == ["step_00000006.ckpt", "step_00000008.ckpt"]


@pytest.mark.parametrize("ranks", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_sigterm_on_one_rank_saves_and_ends_all(tmp_path, whole, ranks):
    file = write_run(tmp_path, kill(step=3, rank=ranks - 1, number=int(signal.SIGTERM)))
    with pytest.raises(RanksFailed) as failed:
        run_ranks(fit, file, *parallel(ranks), ranks=ranks)
    assert "SystemExit: 143" in failed.value.errors[0]
    assert len(list_checkpoints(tmp_path / "run/checkpoints")) == 2
    run_ranks(fit, write_run(tmp_path), "--ckpt_path=last", *parallel(ranks), ranks=ranks)
    assert read_steps(tmp_path) == whole[ranks]
