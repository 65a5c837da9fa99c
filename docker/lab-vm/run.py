"""Plays a benchmark: writes its log, one task after the other, for as long as the container runs."""
import signal
import sys
import time

TASKS = 30
STEPS = 5
STEP_SECONDS = 1


def say(log, line):
    log.write(line + "\n")
    log.flush()


def play(log):
    for number in range(1, TASKS + 1):
        say(log, f"Task {number}/{TASKS}: lab")
        say(log, f"Running task: lab_{number:03}")
        for step in range(1, STEPS + 1):
            say(log, f"Step {step}: wait")
            time.sleep(STEP_SECONDS)
        passed = number % 3 != 0
        say(log, f"Task lab_{number:03} completed")
        say(log, f"Result: {'PASS' if passed else 'FAIL'}")
        say(log, f"Score: {float(passed)}")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with open("/tmp/waa_benchmark.log", "w") as log:
    while True:
        play(log)
