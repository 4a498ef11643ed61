"""A Slurm of one node with a made-up GPU, on this machine, for as long as a test needs it."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel")
PLACE = Path("/etc/slurm")  # the plugin's jobs look nowhere else


def missing() -> str:
    """What is not there of it; empty where all is."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "not root"


@contextmanager
def one_node(folder: Path) -> Iterator[Path]:
    """Daemons in a folder, their two files linked from ``PLACE``; yields the record of finished jobs."""
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o755)
    (folder / "munge/key").write_bytes(os.urandom(256))
    (folder / "munge/key").chmod(0o400)
    os.mknod(folder / "gpu0", 0o666 | 0o020000, os.makedev(1, 3))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu0\n")
    (folder / "slurm.conf").write_text(_configuration(folder, host))
    (folder / "jobs").touch()
    PLACE.mkdir(exist_ok=True)
    links = [PLACE / name for name in ("slurm.conf", "gres.conf")]
    for link in links:
        link.unlink(missing_ok=True)
        link.symlink_to(folder / link.name)
    munge = folder / "munge"
    files = {"socket": "s", "key-file": "key", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    try:
        _call("munged", "--force", *(f"--{name}={munge}/{file}" for name, file in files.items()))
        _call("slurmctld")
        _call("slurmd")
        for _ in range(100):
            state = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True).stdout
            if state.strip() == "idle":
                break
            time.sleep(0.2)
        else:
            raise RuntimeError((folder / "slurmctld.log").read_text()[-2000:])
        yield folder / "jobs"
    finally:
        for pid in (folder / "slurmd.pid", folder / "slurmctld.pid", munge / "pid"):
            if pid.exists():
                subprocess.run(["kill", pid.read_text().strip()])
        for link in links:
            link.unlink(missing_ok=True)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _configuration(folder: Path, host: str) -> str:
    return f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/munge/s
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=300
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=test Nodes=ALL Default=YES MaxTime=60 DefMemPerCPU=500
"""
