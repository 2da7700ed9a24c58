"""Any bytes, to every parser and to the command line: an answer, or an error of ours; nothing else, and no hang.

`python -m lanes.fuzzing --inputs 1000000` shares that many inputs among the targets. Each target runs in a process of its
own, by atheris: it sees which lines an input has reached, and changes those that reach new ones. A failure is told with
its target, its seed and its input. `test_fuzzing.py` tries some hundreds of inputs for each target in every run, by
hypothesis. No corpus is kept: each target has a few inputs to begin with.
Does not guarantee: that a target has no fault left. `planted` has one, and a test that it is found.
"""
