"""Builds hold what git tracks and nothing else, whatever lies about in a checkout: keys, caches, an editor's copies.

The project's addresses stand here, since setup.cfg cannot make one of another. All else that setuptools needs is there.
"""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HOME = "https://example.invalid/airflow-provider-crewai"  # a placeholder until the project has a public home
PAGES = {
    "Source": HOME,
    "Changelog": f"{HOME}/blob/main/CHANGELOG.md",
    "Security": f"{HOME}/blob/main/SECURITY.md",
    "Issues": f"{HOME}/issues",
}
HERE = Path(__file__).resolve().parent
TRUST = f"safe.directory={HERE}"


def tracked() -> "set[Path] | None":
    """Return what git tracks; None where this is no checkout, but an unpacked sdist, which holds nothing else.

    :raises SystemExit: git cannot be asked.
    """
    if not (HERE / ".git").exists():
        return None
    try:
        command = ["git", "-c", TRUST, "ls-files", "-z"]
        listed = subprocess.run(command, cwd=HERE, check=True, capture_output=True, text=True)  # noqa: S603 - git
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"git does not say which files belong into a build: {error}") from error
    return {HERE / name for name in listed.stdout.split("\0") if name}


def left_out(files: "list[str]") -> "set[str]":
    """Return the files that git does not track, and say so."""
    known = tracked()
    strange = set() if known is None else {each for each in files if (HERE / each).absolute() not in known}
    for each in sorted(strange):
        print(f"{each} is left out, since git does not track it")  # noqa: T201 - a build speaks
    return strange


class Sdist(sdist):
    """An sdist."""

    def make_release_tree(self, base_dir: str, files: "list[str]") -> None:
        """Copy the files that it holds, with the metadata that were made of them."""
        if (known := tracked()) is not None:
            metadata = [each for each in files if ".egg-info/" in each]
            files = metadata + sorted(str(each.relative_to(HERE)) for each in known if each.is_file())
        super().make_release_tree(base_dir, files)


class BuildPy(build_py):
    """The packages of a wheel."""

    def find_package_modules(self, package: str, package_dir: str) -> "list[tuple[str, str, str]]":
        """Return the modules of a package."""
        modules = super().find_package_modules(package, package_dir)
        strange = left_out([file for _, _, file in modules])
        return [module for module in modules if module[2] not in strange]

    def find_data_files(self, package: str, src_dir: str) -> "list[str]":
        """Return the other files of a package."""
        files = super().find_data_files(package, src_dir)
        strange = left_out(files)
        return [file for file in files if file not in strange]


setup(url=HOME, project_urls=PAGES, cmdclass={"sdist": Sdist, "build_py": BuildPy})
