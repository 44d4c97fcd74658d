"""``python -m lavalike``"""

import sys

from lavalike.cli import main

if __name__ == "__main__":  # worker processes import it
    sys.exit(main())
