"""Train one run; killed and started again it continues where its last resume state was."""

import argparse
from pathlib import Path

import _cli
import torch
import yaml

from equidyn import sealed, tasks
from equidyn.config import resolve_device
from equidyn.models import registry
from equidyn.training import loop


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the run (YAML)")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--code", default="", help="digest of the code; another one discards the resume state")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    settings = yaml.safe_load(args.config.read_text())
    device = resolve_device(settings["device"])
    print(f"device: {device}", flush=True)
    task = tasks.build(settings["task"], str(args.data), settings, device)
    model = registry.build(settings["model"]["architecture"], settings["model"]["size"], settings["seed"], **settings["model"].get("options", {})).to(device)
    identity = "\n".join([args.config.read_text(), args.code, torch.__version__, str(args.threads), device, sealed.digest(args.data)])
    loop.train(model, task, settings["training"], args.out, identity, settings["seed"])


if __name__ == "__main__":
    _cli.run(main)
