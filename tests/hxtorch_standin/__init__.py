"""Stand-ins for hxtorch: its documented names and signatures in its three spellings, and nothing
more.

Each folder holds a package ``hxtorch`` for the front of ``sys.path``. A chip answers where the
environment has HXTORCH_STANDIN_CHIP.
"""
