"""Builds the wheel; with WRN_DEPLOY_NATIVE=1 one for this platform, which contains the C++ library of `native/`.

It then needs what `wrn-deploy embed` needs: CMake, a C++17 compiler, ONNX Runtime's C header. CMAKE_INCLUDE_PATH names
the header's folder if the system does not have it. Without the variable the wheel fits every platform.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

__all__: list[str] = []


class BuildWithLibrary(build_py):
    """Adds what CMake installs, which `wrn_deploy/embed/packaged.py` finds."""

    def run(self) -> None:
        """Copies the Python files as usual, then builds the library."""
        super().run()
        if self.editable_mode:  # `embed` builds it when it is asked for
            return
        made = Path(self.build_lib, "wrn_deploy", "embed", "built").resolve()
        with tempfile.TemporaryDirectory() as work:
            for command in (
                ["cmake", "-S", "native", "-B", work, "-DCMAKE_INSTALL_LIBDIR=lib", "-DWRN_TENSORRT=OFF"],
                ["cmake", "--build", work, "--parallel"],
                ["cmake", "--install", work, "--strip", "--prefix", str(made)],
            ):
                subprocess.run(command, check=True)
        for path in made.rglob("*"):
            if path.is_symlink():  # a wheel has no links: `embed` makes them
                path.unlink()


class Compiled(Distribution):
    """Goes where compiled packages go, as the library is one."""

    def has_ext_modules(self) -> bool:
        """It has one, which setuptools did not compile."""
        return True


class PlatformWheel(bdist_wheel):
    """A wheel for any Python on this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """The library uses nothing of Python."""
        return "py3", "none", super().get_tag()[2]


if os.environ.get("WRN_DEPLOY_NATIVE") == "1":
    # In a folder of its own: the next wheel without the library must not find it.
    setup(
        distclass=Compiled,
        cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": PlatformWheel},
        options={"build": {"build_base": "build/native"}},
    )
else:
    setup()
