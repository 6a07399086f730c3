"""What a broker writes into its state folder, and how to end and remove it from that alone."""

import secrets
import shutil
from pathlib import Path

from toolchain import process
from toolchain.process import Process


def home(state: Path) -> Path:
    """Return the home folder of the broker's processes and tools."""
    return state / "home"


def epmd_record(state: Path) -> Path:
    """Return the file that names the process of epmd, Erlang's port mapper."""
    return state / "epmd.pid"


def node_folder(state: Path, index: int) -> Path:
    """Return the folder of a node, counted from 0."""
    return state / f"rabbit{index + 1}"


def node_record(folder: Path) -> Path:
    """Return the file that names the process of the node with that folder."""
    return folder / "pid"


def write_cookie(state: Path) -> None:
    """Make the home folder with the secret that nodes and tools of one broker share."""
    home(state).mkdir(parents=True, exist_ok=True)
    cookie = home(state) / ".erlang.cookie"
    if not cookie.exists():
        cookie.touch(mode=0o600)
        cookie.write_text(secrets.token_hex(20))
        # Erlang refuses one that others can read.
        cookie.chmod(0o400)


def end(state: Path, grace: float) -> int:
    """End every process that is recorded; return how many ran. See `process.stop` for `grace`."""
    records = [node_record(folder) for folder in _node_folders(state)]
    nodes = [one for one in map(Process.read, records) if one and one.alive()]
    process.stop(nodes, grace)
    # Last, since a node that ends in order still talks to it; it has nothing to save itself.
    mapper = Process.read(epmd_record(state))
    if not mapper or not mapper.alive():
        return len(nodes)
    process.stop([mapper], grace=0)
    return len(nodes) + 1


def remove(state: Path) -> None:
    """Remove what a broker wrote, and nothing else that is in the folder."""
    for folder in [home(state), *_node_folders(state)]:
        shutil.rmtree(folder, ignore_errors=True)
    for file in state.glob("epmd.*"):
        file.unlink(missing_ok=True)


def _node_folders(state: Path) -> list[Path]:
    return list(state.glob("rabbit[0-9]*"))
