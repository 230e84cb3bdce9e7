"""Packaging of sarigan. Pure Python: installing needs neither a compiler nor torch at build time."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    lines = (ROOT / name).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith(("#", "-r"))]


setup(
    name="sarigan",
    version="0.1.0",
    description="Reference PyTorch codebase for SariGAN: Learning Semantic-aware Normalization for GANs",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["sarigan*", "ops*"]),
    package_data={"sarigan.data": ["atlas/*"]},
    install_requires=requirements("requirements.txt"),
    extras_require={"dev": requirements("requirements-dev.txt")},
)
