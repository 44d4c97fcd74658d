"""``python -m benchmarks``: all of them, one after the other."""

from benchmarks import coldstart, cuba, pilotnet, recurrent, running, values

for module in (recurrent, cuba, values, running, pilotnet, coldstart):
    print(f"== {module.__name__}: {module.__doc__.splitlines()[0]}\n", flush=True)
    try:
        module.main([])
    except SystemExit as e:
        print(e)
    print(flush=True)
