"""The container for the QUIC interop runner, as far as it can be tried without one: run_endpoint.sh below a root of its own, and
all that the Dockerfile names, looked for in this tree and in its build. Each check returns what is wrong, as sentences."""

import fnmatch
import glob
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
RUNNER, TREE = HERE / "runner", HERE.parent.parent
BUILT = "/weft/build/release/"  # of the preset release, in the container
# What every system with glibc has, of the libraries that a program may ask for.
SYSTEM = ("linux-vdso.", "ld-linux", "libc.", "libm.", "libpthread.", "libdl.", "librt.")


def run_endpoint(build, directory):
    """A case that is played, one that is not, and no role."""
    fake = directory / "endpoint"
    fake.mkdir()
    for name in ("setup.sh", "wait-for-it.sh"):
        (fake / name).write_text(f'#!/bin/sh\necho "$@" >{fake}/{name}.called\n')
        (fake / name).chmod(0o755)
    wrong = []
    for role, case, code, called in (
        ("client", "http3", 127, True),
        ("server", "http3", 127, True),
        ("client", "transfer", 2, True),  # REQUESTS is missing
        ("nobody", "transfer", 127, False),
    ):
        environment = {"PATH": f"{build}:{os.environ['PATH']}", "RUNNER_ROOT": str(fake), "ROLE": role, "TESTCASE": case}
        done = subprocess.run([RUNNER / "run_endpoint.sh"], env=environment, stderr=subprocess.DEVNULL)
        if done.returncode != code:
            wrong.append(f"run_endpoint.sh, {role}, {case}: code {done.returncode}, not {code}")
        if called and not (fake / "logs" / "weft.txt").read_text():
            wrong.append(f"run_endpoint.sh, {role}, {case}: nothing was logged")
    for name, words in (("setup.sh", ""), ("wait-for-it.sh", "sim:57832")):
        called = fake / f"{name}.called"
        if not called.exists() or words not in called.read_text():
            wrong.append(f"run_endpoint.sh did not call {name} {words}")
    return wrong


def instructions(text):
    """The Dockerfile's, as (word, words)."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def command_is_wrong(words):
    """One command of a RUN."""
    program, *rest = words
    if not (os.access(TREE / program, os.X_OK) if "/" in program else shutil.which(program)):
        return f"there is no {program}"
    if program == "scripts/setup.sh":
        groups = re.findall(r"^        (\w+)\)", (TREE / program).read_text(), re.MULTILINE)
        return None if set(rest) <= set(groups) else f"{program} has no group {rest}"
    if program == "cmake":
        presets = json.loads((TREE / "CMakePresets.json").read_text())
        kind = "buildPresets" if "--build" in rest else "configurePresets"
        preset = rest[rest.index("--preset") + 1]
        if preset not in [entry["name"] for entry in presets[kind]]:
            return f"CMakePresets.json has no {preset} among its {kind}"
        for option in (word[2:].split("=")[0] for word in rest if word.startswith("-D")):
            if f"option({option} " not in (TREE / "CMakeLists.txt").read_text():
                return f"CMakeLists.txt has no option {option}"
    return None


def source_is_wrong(build, source, stage):
    """One source of a COPY."""
    if not stage:
        return None if (TREE / source).exists() else f"{source} is not in the tree"
    path = source.replace(BUILT, f"{build}/", 1) if source.startswith(BUILT) else source
    return None if glob.glob(path) else f"there is no {path}"


def libraries(program):
    """Those of a program that the endpoint's system may not have."""
    lines = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout.splitlines()
    names = [pathlib.PurePath(line.split()[0]).name for line in lines if line.strip()]
    return [name for name in names if not name.startswith(SYSTEM)]


def dockerfile(build, text=None):
    """Every file, program, preset and option that it names exists, and what the command needs is copied."""
    wrong, copied, entries = [], [], []
    for word, rest in instructions((RUNNER / "Dockerfile").read_text() if text is None else text):
        if word == "RUN":
            wrong += [command_is_wrong(shlex.split(command)) for command in rest.split("&&")]
        elif word == "COPY":
            words = rest.split()
            stage = words.pop(0) if words[0].startswith("--from=") else None
            *sources, target = words
            wrong += [source_is_wrong(build, source, stage) for source in sources]
            copied += [(source, target) for source in sources]
        elif word == "ENTRYPOINT":
            entries += json.loads(rest)[:1]
        elif word not in ("FROM", "WORKDIR"):
            wrong.append(f"what is {word}?")
    patterns = [pathlib.PurePath(source).name for source, _ in copied]
    for name in libraries(build / "weft"):
        if not any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            wrong.append(f"weft needs {name}, which is not copied")
    for entry in entries:
        sources = [source for source, target in copied if target == entry]
        if not sources or not os.access(TREE / sources[0], os.X_OK):
            wrong.append(f"{entry} is not copied, or is no program")
    if not entries or not any(target.endswith("/bin/weft") for _, target in copied):
        wrong.append("there is no entry point, or no weft")
    return [f"Dockerfile: {sentence}" for sentence in wrong if sentence]


def notices(build):
    """That the check above finds what it is for: the Dockerfile with one thing wrong at a time."""
    text = (RUNNER / "Dockerfile").read_text()
    changes = (
        ("setup.sh build", "setup.sh built"), ("--preset release -D", "--preset shipped -D"), ("WEFT_BUILD_TESTS", "WEFT_TESTS"),
        ("release/weft ", "release/waft "), ("libuv.so.1*", "libuw.so.1*"), ("RUN ldconfig", "RUN ldconfog"),
        ("runner/run_endpoint.sh", "runner/start.sh"), ("COPY tests/interop/runner/run_endpoint.sh /run_endpoint.sh\n", ""),
    )  # fmt: skip
    wrong = [f"nothing is found wrong with {new!r}" for old, new in changes if not dockerfile(build, text.replace(old, new, 1))]
    return wrong


def check(build, directory):
    return run_endpoint(build, directory) + dockerfile(build) + notices(build)
