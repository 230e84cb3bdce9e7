"""Packaging of sarigan. Installing needs neither a compiler nor torch at build time.

`pip install --no-build-isolation .` sees the torch that is installed and adds the native operators compiled for it, where
there is a compiler (and, for GPUs, nvcc). Whatever is missing is left to `python -m ops.build` or to the first use.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools import Distribution, find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
DEFAULT_ARCHES = ("7.5", "8.0", "8.6", "8.9", "9.0")  # where nvcc is and no GPU, as when an image is built


class BuildWithOperators(build_py):
    """The Python files, and beside them in ops/prebuilt the operators for the torch that is installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode and torch_is_installed():
            compile_operators(Path(self.build_lib) / "ops" / "prebuilt")


class PlatformDistribution(Distribution):
    """A wheel with compiled operators is for this platform alone."""

    def has_ext_modules(self) -> bool:
        return sys.platform == "linux" and torch_is_installed()


def torch_is_installed() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def compile_operators(place: Path) -> None:
    """Whatever of the operators can be compiled here; what cannot is said (pip shows it with -v) and left out."""
    shutil.rmtree(place, ignore_errors=True)  # what an earlier build of the same tree left
    sys.path.insert(0, str(ROOT))
    import torch

    from ops import build

    wanted = [("cpu", ())]
    if torch.version.cuda is not None:
        listed = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace("+PTX", "")
        wanted.append(("cuda", build.parse_arches(listed) or build.local_arches() or DEFAULT_ARCHES))
    for kind, arches in wanted:
        try:
            build.build_into(place, kind, arches)
        except (build.BuildError, OSError) as error:
            print(f"sarigan: without native operators for {kind}: {error}", file=sys.stderr)


def requirements(name: str) -> list[str]:
    """The packages that a requirements file lists, without those of the files that it includes."""
    lines = (ROOT / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))]


# requirements.txt is for work in the repository, where pytest is needed; the installed package does without.
TEST_RUNNER = [line for line in requirements("requirements.txt") if line.startswith("pytest")]

setup(
    name="sarigan",
    version="0.2.0",
    description="Reference PyTorch codebase for SariGAN: Learning Semantic-aware Normalization for GANs",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["sarigan*", "ops*"]),
    package_data={
        "sarigan": ["shipped/*/*"],
        "sarigan.data.avatars": ["atlas/*"],
        "sarigan.models.feature_networks": ["weights/*"],
        "sarigan.visualization.report": ["*.css", "*.js"],
        "sarigan.editor": ["*.css", "*.js"],
        "ops": ["csrc/*"],
    },
    entry_points={"console_scripts": ["sarigan = sarigan.commands:main"]},
    cmdclass={"build_py": BuildWithOperators},
    distclass=PlatformDistribution,
    install_requires=[line for line in requirements("requirements.txt") if line not in TEST_RUNNER],
    extras_require={
        "dev": TEST_RUNNER
        + requirements("requirements-dev.txt")
        + requirements("requirements-export.txt")
        + requirements("requirements-editor.txt"),
        "distances": ["lpips==0.1.4", "stlpips_pytorch==0.0.2"],  # weights of these versions are read, by their hash
        "editor": requirements("requirements-editor.txt"),
        "export": requirements("requirements-export.txt"),
        "video": ["imageio-ffmpeg>=0.5"],
    },
)
