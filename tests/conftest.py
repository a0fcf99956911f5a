"""One thread a worker: the models of the tests are small, and threads that wait spin."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
