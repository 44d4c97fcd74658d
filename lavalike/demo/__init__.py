"""The main job as a command: train, export, load, run, swap."""
