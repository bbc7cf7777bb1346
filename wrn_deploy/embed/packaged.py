"""The C++ library that a wheel for one platform contains: whether it runs here, and its copy; no heavy libraries."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from wrn_deploy.embed.build import LIBRARY, LINK, NO_SUCH_RUNNER
from wrn_deploy.process.children import run_child
from wrn_deploy.progress import Progress
from wrn_deploy.version import __version__

__all__ = ["find_packaged", "install_packaged"]

BUILT = Path(__file__).with_name("built")  # what setup.py puts there
# Loads the library in a process of its own, and opens a bundle that does not exist.
TRY = f"""
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.wrn_version.restype = library.wrn_last_error.restype = ctypes.c_char_p
runner = ctypes.c_uint64()
status = library.wrn_open(b"{NO_SUCH_RUNNER}", None, ctypes.byref(runner))
print(library.wrn_version().decode(), status, library.wrn_last_error().decode())
"""


def find_packaged(progress: Progress) -> Path | None:
    """The folder with the wheel's library; None if the wheel has none, or it cannot be used, which is noted."""
    library = BUILT / "lib" / LIBRARY
    if not library.is_file():
        return None
    done = run_child([sys.executable, "-I", "-c", TRY, library])
    said = (done.stdout.strip() or done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
    if said.startswith(f"{__version__} 1 ") and NO_SUCH_RUNNER in said:
        return BUILT
    progress.note(f"{library} cannot be used here ({said}): the library is built instead")
    return None


def install_packaged(packaged: Path, folder: Path) -> None:
    """Copies header, library, CMake package and pkg-config file into `folder`, and adds the link that a wheel lacks."""
    shutil.copytree(packaged, folder, dirs_exist_ok=True)
    (folder / "lib" / LINK).symlink_to(LIBRARY)
