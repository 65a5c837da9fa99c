"""Stands where the benchmark's run.py stands: a process that runs until it is told to end."""
import os
import signal
import sys
import time

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open("/lab/starting", "w") as file:
    file.write(f"{os.getpid()}\n")
os.rename("/lab/starting", "/lab/benchmark.pid")
while True:
    time.sleep(3600)
