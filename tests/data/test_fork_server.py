import subprocess
import sys
from pathlib import Path

import vl

SCRIPT = """
from vl.data.fork_server import fork_server

def where(queue):
    import vl
    queue.put(vl.__file__)

if __name__ == "__main__":
    context = fork_server("vl.data.fork_server")
    queue = context.Queue()
    process = context.Process(target=where, args=(queue,))
    process.start()
    print(queue.get(timeout=60))
    process.join()
"""


def test_workers_import_what_their_parent_imports(tmp_path):
    other = tmp_path / "checkout/vl"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py")]
    root = str(Path(vl.__file__).parents[1])
    found = subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=other.parent, env={"PYTHONPATH": root}, check=True
    )
    assert Path(found.stdout.strip()) == Path(vl.__file__)
