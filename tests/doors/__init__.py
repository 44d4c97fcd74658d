"""Rows of the doors' test, a file a room; see :mod:`tests.doors.table`."""
