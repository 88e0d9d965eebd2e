"""Datasets written by many processes or machines, through Apache Beam (extra `beam`).

The parts of a dataset depend on their videos alone (data/part.py). What is said of the videos of a
part is a file of its own, a task; any engine then writes the parts, each in a local folder first,
for ArrayRecord writes to local disks only, and their bytes are those that one process would write.
"""
