"""``python -m lavalike``"""

import sys

from lavalike.cli import main

sys.exit(main())
