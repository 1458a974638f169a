"""What each process of a run with several runs: `python train_on_ranks.py OUT OVERRIDE…`."""

import sys

from runs import make_spec

from lipflow_core.training import train

if __name__ == "__main__":
    train(make_spec("dam", *sys.argv[2:]), sys.argv[1])
