"""python -m my_project"""

import numpy as np

import lavalike as lv
from my_project.process import example


def main() -> None:
    leaky = example()
    drive = np.full((4, 20), 0.3) * np.arange(1, 5)[:, None]  # (neurons, time)
    rec = lv.simulate(leaky, {"a_in": drive})
    print(rec["s_out"].astype(int))


if __name__ == "__main__":
    main()
